"""Several processes do together what one does alone."""

import copy
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import updates
from image_classifier import networks
from image_classifier.contract import Layout, Settings
from image_classifier.errors import UserError
from image_classifier.training import batch_norm, hyperparameters, pretrained
from image_classifier.training.distributed import ALONE, World
from image_classifier.training.features import Extractor
from image_classifier.training.job import Job
from image_classifier.training.sources import PictureSource
from image_classifier.training.stopping import Stop, Stopped
from together import together

INPUTS = torch.randn(7, 3, 5, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
TARGETS = torch.tensor([0, 1, 2, 0, 1, 2, 0])


def make_network() -> nn.Module:
    torch.manual_seed(1)
    parts = [nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Sequential(nn.Conv2d(4, 3, 1), nn.BatchNorm2d(3))]
    return nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 3)).double()


def train(world: World) -> dict[str, torch.Tensor]:
    network = make_network()
    if world.size > 1:
        batch_norm.synchronize(network)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.5, momentum=0.9)
    for batch in (range(7), range(3), range(1, 2)):  # the last gives one process nothing
        rows = list(world.share(batch))
        loss = nn.functional.cross_entropy(network(INPUTS[rows]), TARGETS[rows], reduction="sum") / len(batch)
        optimizer.zero_grad()
        loss.backward()
        world.sum_gradients(network.parameters())
        optimizer.step()
    return network.state_dict()


def learn_meet_and_stop(world: World, folder: Path) -> None:
    torch.save(train(world), folder / f"{world.rank}.pt")
    assert world.gather(world.rank) == [0, 1, 2]
    assert world.from_main(f"from {world.rank}") == "from 0"
    stop = Stop()
    assert world.agree(stop, 1, world.rank) == (3, 3)
    if world.rank == 1:
        stop.request()
    with pytest.raises(Stopped):
        world.agree(stop, 1)

    def items() -> Iterator[int]:
        yield 1
        stop.check()

    with pytest.raises(Stopped):
        world.all_of(items())
    assert world.all_of([world.rank, 7]) == [0, 7, 1, 7, 2, 7]


def test_three_processes_learn_what_one_learns_with_the_whole_batch_and_stop_together(tmp_path: Path) -> None:
    together(3, "test_distributed:learn_meet_and_stop", tmp_path)
    alone = train(ALONE)
    for rank in range(3):
        learnt = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        assert learnt.keys() == alone.keys()
        for name, value in alone.items():
            torch.testing.assert_close(learnt[name], value, rtol=1e-9, atol=1e-12, msg=name)


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("side", [5, 190])  # 2 x 190 x 190 samples are more than float16 can count
def test_batch_norm_learns_in_mixed_precision_what_torch_s_own_layer_learns(
    monkeypatch: pytest.MonkeyPatch, kind: torch.dtype, side: int
) -> None:
    monkeypatch.setattr(batch_norm.dist, "all_reduce", lambda _tensor: None)  # one process
    own = nn.Sequential(nn.BatchNorm2d(3))
    ours = batch_norm.synchronize(copy.deepcopy(own))
    values = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(0)).to(kind)
    outputs, gradients = [], []
    for network in (own, ours):
        inputs = values.clone().requires_grad_()
        with torch.autocast("cpu", dtype=kind, enabled=kind != torch.float32):
            outputs.append(network(inputs))
        (outputs[-1].float() * values.float()).sum().backward()
        gradients.append(inputs.grad)
    close = {"rtol": 1e-4, "atol": 1e-5} if kind == torch.float32 else {"rtol": 2e-2, "atol": 2e-2}
    torch.testing.assert_close(*outputs, **close)
    torch.testing.assert_close(*gradients, **close)
    for name, value in own.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[name], value, rtol=1e-3, atol=1e-4, msg=name)


@pytest.mark.parametrize("size", [1, 2, 3, 8])
def test_the_shares_of_all_are_the_whole(size: int) -> None:
    shares = [World(rank, size).share(range(7)) for rank in range(size)]
    assert sorted(item for share in shares for item in share) == list(range(7))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_alone_nothing_needs_a_network() -> None:
    network = make_network()
    network(INPUTS).sum().backward()
    before = [p.grad.clone() for p in network.parameters() if p.grad is not None]
    ALONE.sum_gradients(network.parameters())
    assert all(torch.equal(a, b.grad) for a, b in zip(before, network.parameters(), strict=True))
    assert (ALONE.gather(1), ALONE.from_main(2), ALONE.is_main) == ([1], 2, True)


# One step: rounding moves the next ones' gradients by percents, in which order ever one process sums.
FULL = {
    "epochs": "1",
    "batch_size": "15",
    "pretrained": "false",
    "freeze_backbone": "false",
    "augmentation": "standard",
    "class_weights": "balanced",
}
FEATURES = {"augmentation": "light", "image_size": "32", "compile": "off"}
# Two steps, the first of them small; the average has its share of both.
TUNED = {"recipe": "balanced", "epochs": "1", "batch_size": "8", "ema_decay": "0.5", "compile": "off"}
COMMON = {
    "architecture": "resnet18",
    "image_size": "64",
    "epochs": "2",
    "batch_size": "7",
    "optimizer": "sgd",
    "learning_rate": "0.003",
    "debug": "off",
}
JOBS = {"full": FULL, "features": FEATURES, "tuned": TUNED, "damaged": {**FEATURES, "max_bad_pictures": "1"}}
WITHIN = {"full": 0.01, "features": 0.01, "tuned": 0.25}  # of each tensor's update


def chosen_for(name: str) -> hyperparameters.Hyperparameters:
    return hyperparameters.parse({**COMMON, **JOBS.get(name, FULL)})


def run_job(world: World, folder: Path, name: str) -> None:
    """Every process has a base directory of its own, as hosts do."""
    base = folder / f"{name}-{world.size}-{world.rank}"
    (base / "input" / "data").mkdir(parents=True)
    kind = name if name in ("damaged", "different") else "data"
    (base / "input" / "data" / "training").symlink_to(folder / f"{kind}-{world.rank}")
    settings = Settings.from_environment({"CLASSIFIER_WEIGHTS_DIR": str(folder / "weights")})
    Job(Layout(base), settings, chosen_for(name), Stop(), world).run()


def count_pictures(reads: list[list[int]]) -> None:
    """From here on, note in this process which rows each pass of the backbone reads."""
    compute, read = Extractor._compute, PictureSource.read

    def noted(source: PictureSource, row: int, epoch: int | None = None) -> torch.Tensor | None:
        reads[-1].append(row)
        return read(source, row, epoch)

    def counted(extractor: Extractor, source: PictureSource, label: str) -> dict[str, torch.Tensor]:
        reads.append([])
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(PictureSource, "read", noted)
            return compute(extractor, source, label)

    Extractor._compute = counted  # type: ignore[method-assign]


def run_jobs(world: World, folder: Path) -> None:
    run_job(world, folder, "full")
    run_job(world, folder, "tuned")
    reads: list[list[int]] = []
    count_pictures(reads)
    run_job(world, folder, "features")
    (folder / f"reads-{world.rank}.json").write_text(json.dumps(reads), encoding="utf-8")
    with pytest.raises(UserError, match="The hosts of this job see different pictures; give every host all of them"):
        run_job(world, folder, "different")
    with pytest.raises(UserError, match="2 pictures cannot be used, and max_bad_pictures=1"):
        run_job(world, folder, "damaged")


def make_data(folder: Path, folders: Callable[..., Path]) -> None:
    """The same pictures for each of two hosts; some that differ, and some with one damaged in each one's share."""
    for rank in range(2):
        data = folder / f"data-{rank}"
        for seed, (split, count) in enumerate({"train": 7, "valid": 3, "test": 2}.items()):
            folders(data / split, {"amber": count, "blue": count + 1}, seed=seed)
        shutil.copytree(data, folder / f"different-{rank}")
        shutil.copytree(data, folder / f"damaged-{rank}")
        pictures = sorted((folder / f"damaged-{rank}" / "train").rglob("*.*"))
        for picture in (pictures[0], pictures[-1]):
            picture.write_bytes(b"x" * picture.stat().st_size)
    next((folder / "different-1" / "train" / "blue").iterdir()).unlink()


def make_weights(folder: Path) -> None:
    """Of a network whose first gradients are far from rounding."""
    torch.manual_seed(7)
    folder.mkdir()
    torch.save(networks.build("resnet18", 5).state_dict(), folder / "resnet18.pth")


def test_two_processes_do_whole_jobs_as_one_does(tmp_path: Path, folders: Callable[..., Path]) -> None:
    make_data(tmp_path, folders)
    make_weights(tmp_path / "weights")
    together(2, "test_distributed:run_jobs", tmp_path)
    for name, within in WITHIN.items():
        run_job(ALONE, tmp_path, name)
        both, alone = tmp_path / f"{name}-2-0", tmp_path / f"{name}-1-0"
        learnt, wanted = (load_file(base / "model" / "model.safetensors") for base in (both, alone))
        before = pretrained.make_network(chosen_for(name), 2, None, tmp_path / "weights").state_dict()
        updates.assert_same(before, learnt, wanted, within)
        tables = [(base / "output/data/predictions.csv").read_text().splitlines() for base in (both, alone)]
        assert [row.split(",")[0] for row in tables[0]] == [row.split(",")[0] for row in tables[1]]
        written = [path for path in (tmp_path / f"{name}-2-1").rglob("*") if path.is_file()]
        assert [path for path in written if "input" not in path.parts] == [], "only the main process writes"
    reads = [json.loads((tmp_path / f"reads-{rank}.json").read_text(encoding="utf-8")) for rank in range(2)]
    for count, mine, others in zip((15, 7, 5), *reads, strict=True):  # pictures to train on, to validate, to test
        assert sorted(mine + others) == list(range(count)), "each picture once"
        assert len(mine) - len(others) == 1, "by halves"
