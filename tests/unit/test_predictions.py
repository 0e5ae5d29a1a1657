"""What `train` leaves of the test: every answer, the numbers, and small pictures of those that are shown."""

from pathlib import Path

import pytest
import torch
from PIL import Image

from image_classifier.insight import predictions as file
from image_classifier.insight import quality
from image_classifier.training import predictions
from image_classifier.training.evaluation import Ranking


def ranking(rows: int = 6) -> Ranking:
    torch.manual_seed(0)
    return Ranking.of(torch.randn(rows, 3), torch.arange(rows) % 3)


def make_pictures(root: Path, rows: int = 6) -> list[Path]:
    paths = [root / "input" / "data" / "training" / "test" / "abc"[row % 3] / f"{row}.png" for row in range(rows)]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (400, 300), (40, 90, 200)).save(path)
    return paths


def test_equal_logits_are_ranked_as_argmax_has_it() -> None:
    logits = torch.tensor([[1.0, 1.0, 0.0], [0.0, 2.0, 2.0], [0.0, 0.0, 0.0]])
    assert torch.equal(Ranking.of(logits, torch.zeros(3, dtype=torch.int64)).choices[:, 0], logits.argmax(1))


def test_shares_and_losses_belong_to_the_choices() -> None:
    logits, targets = torch.randn(4, 7), torch.tensor([0, 3, 6, 2])
    ranked = Ranking.of(logits, targets)
    assert ranked.choices.shape == ranked.shares.shape == (4, 5)
    assert torch.allclose(ranked.shares, logits.softmax(1).gather(1, ranked.choices))
    assert torch.allclose(ranked.uncalibrated, ranked.shares[:, 0])
    warm = Ranking.of(logits, targets, temperature=2.0)
    assert torch.equal(warm.choices, ranked.choices)
    assert torch.allclose(warm.shares, (logits / 2).softmax(1).gather(1, ranked.choices))
    assert torch.equal(warm.uncalibrated, ranked.uncalibrated)
    assert torch.allclose(ranked.losses, -logits.log_softmax(1)[torch.arange(4), targets])


def test_the_files_agree_and_no_path_of_this_machine_is_in_them(tmp_path: Path) -> None:
    data = tmp_path / "output" / "data"
    predictions.write(data, ranking(), ("a", "b", "c"), make_pictures(tmp_path), 10**6)
    said = file.read(data, ("a", "b", "c"))
    assert said is not None
    assert said.paths[0] == "training/test/a/0.png"
    assert str(tmp_path) not in (data / file.FILE).read_text()
    measured = quality.measure(said)
    pictures = {int(path.stem) for path in (data / file.PICTURES).iterdir()}
    assert pictures == measured.shown()
    assert pictures


def test_the_pictures_are_small(tmp_path: Path) -> None:
    predictions.write(tmp_path, ranking(), ("a", "b", "c"), make_pictures(tmp_path), 10**6)
    for path in (tmp_path / file.PICTURES).iterdir():
        assert path.stat().st_size < 20_000
        with Image.open(path) as picture:
            assert picture.size == (160, 120)


@pytest.mark.parametrize("damage", ["missing", "damaged"])
def test_a_picture_that_cannot_be_read_any_more_is_left_out(tmp_path: Path, damage: str) -> None:
    paths = make_pictures(tmp_path)
    for path in paths:
        path.unlink() if damage == "missing" else path.write_bytes(b"no picture")
    predictions.write(tmp_path, ranking(), ("a", "b", "c"), paths, 10**6)
    assert not list((tmp_path / file.PICTURES).iterdir())
    assert file.read(tmp_path) is not None
