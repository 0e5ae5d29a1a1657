"""The training loop: interrupted anywhere it ends as if undisturbed; the best weights are kept; losses are means."""

import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from image_classifier.errors import UserError
from image_classifier.insight.hook import Course, NoHook
from image_classifier.training.checkpoint import Checkpoints
from image_classifier.training.evaluation import Evaluation, Evaluator, Ranking
from image_classifier.training.hyperparameters import Hyperparameters
from image_classifier.training.loop import Trainer
from image_classifier.training.metrics import definitions
from image_classifier.training.precision import Precision
from image_classifier.training.sources import FeatureSource
from image_classifier.training.state import Progress
from image_classifier.training.stopping import Stop, Stopped

CPU = torch.device("cpu")
EPOCHS = 3
# 14 samples in batches of 4: 4 steps an epoch; 5 to validate in batches of 4: 2 checks
CHECKS = EPOCHS * (4 + 2)


def samples(count: int, seed: int) -> FeatureSource:
    generator = torch.Generator().manual_seed(seed)
    targets = torch.randint(0, 3, (count,), generator=generator)
    features = torch.randn(count, 6, generator=generator) + targets.unsqueeze(1)
    return FeatureSource(features.unsqueeze(0), targets, seed=1)


def make_module(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 3))


def make_trainer(folder: Path, stop: Stop | None = None, module: nn.Module | None = None, **options: Any) -> Trainer:
    fields = {"train", "validation", "evaluator", "hook"}
    given = {name: options.pop(name) for name in fields & set(options)}
    chosen = Hyperparameters(**{"epochs": EPOCHS, "batch_size": 4, "learning_rate": 0.05, **options})
    module = module or make_module()
    stop = stop or Stop()
    parts = {
        "train": samples(14, 1),
        "validation": samples(5, 2),
        "evaluator": Evaluator(CPU, 4, stop),
        "hook": NoHook(),
        **given,
    }
    checkpoints = Checkpoints(folder, "test")
    return Trainer(
        module=module,
        class_counts=(4, 4, 4),
        head=list(module[-1].parameters()) if isinstance(module, nn.Sequential) else (),
        chosen=chosen,
        checkpoints=checkpoints,
        stop=stop,
        set_mode=module.train,
        **parts,
    )


def ending(trainer: Trainer) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor], list[dict[str, float]]]:
    """What a job ends with: the weights it keeps, the last weights, and the history but for the clock."""
    progress = trainer.fit()
    last = Checkpoints(trainer.checkpoints.folder, "test").latest()
    assert last is not None
    timeless = [
        {k: v for k, v in row.items() if k not in ("epoch_seconds", "images_per_second")} for row in progress.history
    ]
    return trainer.module.state_dict(), last["module"], timeless


def assert_same(a: Any, b: Any) -> None:
    for mine, others in zip(a[:2], b[:2], strict=True):
        assert mine.keys() == others.keys()
        assert all(torch.equal(mine[name], others[name]) for name in mine)
    assert a[2] == b[2]


OPTIONS = [
    {"optimizer": "adamw", "schedule": "cosine"},
    {"optimizer": "sgd", "schedule": "one_cycle", "label_smoothing": 0.1},
    {"ema_decay": 0.9, "backbone_learning_rate_factor": 0.1},
]


@pytest.mark.parametrize("options", OPTIONS, ids=["adamw", "sgd", "average"])
def test_interrupted_at_any_check_it_ends_as_undisturbed(
    tmp_path: Path, stop_at: Callable[[int], Stop], options: dict[str, Any]
) -> None:
    undisturbed = ending(make_trainer(tmp_path / "undisturbed", **options))
    for number in range(1, CHECKS + 1):
        folder = tmp_path / str(number)
        first = make_trainer(folder, stop_at(number), **options)
        if number == 1:
            with pytest.raises(Stopped):
                first.fit()
        else:
            assert first.fit().epoch == (number - 1) // 6
        assert_same(ending(make_trainer(folder, module=make_module(99), **options)), undisturbed)


def test_interrupted_again_and_again_it_ends_as_undisturbed(tmp_path: Path, stop_at: Callable[[int], Stop]) -> None:
    undisturbed = ending(make_trainer(tmp_path / "undisturbed"))
    for life in range(CHECKS):
        stop = stop_at(3)
        trainer = make_trainer(tmp_path / "again", stop, module=make_module(life))
        trainer.fit()
        if not stop.requested:
            break
    assert_same(ending(trainer), undisturbed)


@pytest.mark.parametrize("number", [2, 7, 11, 14])
def test_killed_at_once_it_resumes_at_the_last_epoch_and_ends_as_undisturbed(tmp_path: Path, number: int) -> None:
    class Killed(Stop):
        checks = 0

        def check(self) -> None:
            self.checks += 1
            if self.checks == number:
                raise SystemExit

    undisturbed = ending(make_trainer(tmp_path / "undisturbed"))
    with pytest.raises(SystemExit):
        make_trainer(tmp_path / "killed", Killed()).fit()
    assert_same(ending(make_trainer(tmp_path / "killed")), undisturbed)


def test_a_stop_in_the_hook_ends_the_epoch_it_comes_in(tmp_path: Path) -> None:
    stop = Stop()

    class StopInSecondEpoch(NoHook):
        calls = 0

        def step(self, training: bool) -> AbstractContextManager[None]:
            self.calls += 1
            if self.calls == 8:  # the second step of the second epoch
                stop.request()
            return nullcontext()

    assert make_trainer(tmp_path, stop, hook=StopInSecondEpoch()).fit().epoch == 1


def test_a_finished_job_is_not_trained_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = ending(make_trainer(tmp_path))
    capsys.readouterr()
    assert_same(ending(make_trainer(tmp_path, module=make_module(3))), first)
    assert capsys.readouterr().out == ""


def test_a_last_batch_of_one_joins_its_neighbour_and_resumes(tmp_path: Path, stop_at: Callable[[int], Stop]) -> None:
    undisturbed = ending(make_trainer(tmp_path / "a", train=samples(13, 1)))
    make_trainer(tmp_path / "b", stop_at(4), train=samples(13, 1)).fit()
    assert_same(ending(make_trainer(tmp_path / "b", module=make_module(3), train=samples(13, 1))), undisturbed)


def test_another_seed_ends_elsewhere(tmp_path: Path) -> None:
    first, other = (ending(make_trainer(tmp_path / str(seed), seed=seed))[1] for seed in (0, 1))
    assert not torch.equal(first["0.weight"], other["0.weight"])


def test_training_learns(tmp_path: Path) -> None:
    progress = make_trainer(tmp_path, module=nn.Linear(6, 3), epochs=20).fit()
    assert progress.history[-1]["train_loss"] < 0.7 * progress.history[0]["train_loss"]
    assert progress.best_accuracy >= 0.8


class Scripted(Evaluator):
    """Says the accuracies it is told, and notes the weights at each."""

    def tell(self, *accuracies: float) -> "Scripted":
        object.__setattr__(self, "told", iter(accuracies))
        object.__setattr__(self, "seen", [])
        return self

    def evaluate(self, module: nn.Module, *_arguments: Any, **_options: Any) -> Evaluation:  # type: ignore[override]
        self.seen.append(module[0].weight.detach().clone())  # type: ignore[attr-defined,index]
        correct = round(100 * next(self.told))  # type: ignore[attr-defined]
        ranking = Ranking.of(torch.zeros(1, 2), torch.zeros(1, dtype=torch.int64))
        return Evaluation(1.0, correct, torch.tensor([[100]]), ranking)


def run_scripted(folder: Path, *accuracies: float, **options: Any) -> tuple[Trainer, Progress, Any]:
    evaluator = Scripted(CPU, 4, Stop()).tell(*accuracies)
    trainer = make_trainer(folder, evaluator=evaluator, epochs=len(accuracies), **options)
    return trainer, trainer.fit(), evaluator


def test_the_best_weights_by_validation_are_kept(tmp_path: Path) -> None:
    trainer, progress, evaluator = run_scripted(tmp_path, 0.5, 0.9, 0.7)
    assert (progress.epoch, progress.best_epoch, progress.best_accuracy) == (3, 2, 0.9)
    assert torch.equal(trainer.module[0].weight, evaluator.seen[1])  # type: ignore[index]


def test_the_average_is_what_is_validated_and_kept(tmp_path: Path) -> None:
    plain, averaged = (run_scripted(tmp_path / str(d), 0.5, 0.6, 0.9, ema_decay=d) for d in (0.0, 0.7))
    weights: list[torch.Tensor] = []

    class Steps(NoHook):
        @contextmanager
        def step(self, training: bool) -> Iterator[None]:
            yield
            weights.append(trainer.module[0].weight.detach().clone())  # type: ignore[index,operator,union-attr]

    evaluator = Scripted(CPU, 4, Stop()).tell(0.9)
    trainer = make_trainer(tmp_path / "steps", evaluator=evaluator, hook=Steps(), epochs=1, ema_decay=0.7)
    trainer.fit()
    mean = weights[0]
    for each in weights[1:]:
        mean = 0.7 * mean + 0.3 * each
    torch.testing.assert_close(evaluator.seen[0], mean)  # type: ignore[attr-defined]
    assert torch.equal(trainer.module[0].weight, evaluator.seen[0])  # type: ignore[index,attr-defined]
    assert not torch.equal(plain[0].module[0].weight, averaged[0].module[0].weight)  # type: ignore[index]


def test_a_job_that_starts_anew_is_begun_once_and_one_that_resumes_is_not(
    tmp_path: Path, stop_at: Callable[[int], Stop]
) -> None:
    begun: list[str] = []
    for name, stop in (("first", stop_at(8)), ("second", Stop())):
        trainer = make_trainer(tmp_path, stop)
        trainer.begin = lambda name=name: begun.append(name)
        trainer.fit()
    assert begun == ["first"]


def test_among_equals_the_first_is_kept(tmp_path: Path) -> None:
    assert run_scripted(tmp_path, 0.5, 0.5, 0.5)[1].best_epoch == 1


@pytest.mark.parametrize(
    ("patience", "accuracies", "epochs"),
    [
        (0, (0.9, 0.5, 0.5, 0.5), 4),
        (1, (0.9, 0.5, 0.5, 0.5), 2),
        (2, (0.9, 0.5, 0.5, 0.5), 3),
        (2, (0.5, 0.4, 0.6, 0.3, 0.3, 0.9), 5),
    ],
)
def test_early_stopping_waits_for_its_patience(
    tmp_path: Path, patience: int, accuracies: tuple[float, ...], epochs: int
) -> None:
    _, progress, _ = run_scripted(tmp_path, *accuracies, early_stopping_patience=patience)
    assert progress.epoch == epochs


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_ends_the_job_with_what_to_do(tmp_path: Path, value: float) -> None:
    train = samples(14, 1)
    train.features[0, 3] = value
    module = nn.Linear(6, 3)
    with pytest.raises(UserError, match=r"epoch 1: training diverged; use a lower learning_rate than 10\."):
        make_trainer(tmp_path, module=module, train=train, optimizer="sgd", learning_rate=10).fit()


class Diverging(NoHook):
    """Spoils the weights in the first step of an epoch."""

    def __init__(self, trainer: Trainer, epoch: int) -> None:
        self._trainer, self._epoch = trainer, epoch

    @contextmanager
    def step(self, training: bool) -> Iterator[None]:
        if training and self._trainer.progress.epoch + 1 == self._epoch:
            self._trainer.module[0].weight.data.fill_(float("nan"))  # type: ignore[index,union-attr]
        yield


def test_a_job_that_diverges_later_ends_with_the_best_weights_before_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    alone = make_trainer(tmp_path / "alone", epochs=2, schedule="constant")
    wanted = alone.fit()
    for _start in ("first", "again"):
        trainer = make_trainer(tmp_path / "job", epochs=5, schedule="constant")
        trainer.hook = Diverging(trainer, epoch=3)
        progress = trainer.fit()
        learnt = trainer.module.state_dict()
        assert all(torch.equal(learnt[name], value) for name, value in alone.module.state_dict().items())
        assert (progress.epoch, progress.best_epoch) == (2, wanted.best_epoch)
        assert [row["epoch"] for row in progress.history] == [1, 2]
        assert "epoch=3; train_loss=nan;" in capsys.readouterr().out
        assert caplog.messages[-2] == (
            "The loss is no longer a number in epoch 3: training diverged; use a lower learning_rate than 0.05. "
            f"The model is that of epoch {wanted.best_epoch}, the best before."
        )


@pytest.mark.parametrize("batch_size", [2, 4, 5, 14])
def test_losses_are_means_over_samples(tmp_path: Path, capsys: pytest.CaptureFixture[str], batch_size: int) -> None:
    train, module = samples(14, 1), nn.Linear(6, 3)
    logits = module(train.features[0]).detach()
    make_trainer(tmp_path, module=module, epochs=1, batch_size=batch_size, learning_rate=1e-12).fit()
    printed = dict(read_metrics(capsys.readouterr().out))
    assert printed["train_loss"] == pytest.approx(float(nn.functional.cross_entropy(logits, train.targets)), rel=1e-4)
    accuracy = float((logits.argmax(1) == train.targets).float().mean())
    assert printed["train_accuracy"] == pytest.approx(accuracy, rel=1e-4)


def read_metrics(log: str) -> Iterator[tuple[str, float]]:
    for entry in definitions():
        for value in re.findall(entry["Regex"], log):
            yield entry["Name"], float(value)


def test_every_epoch_prints_its_metrics(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    progress = make_trainer(tmp_path).fit()
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(";")[0] for line in lines] == ["epoch=1", "epoch=2", "epoch=3"]
    for line, row in zip(lines, progress.history, strict=True):
        printed = dict(read_metrics(line))
        wanted = {"train_loss", "train_accuracy", "val_loss", "val_accuracy", "epoch_seconds", "images_per_second"}
        assert printed.keys() == wanted
        assert printed["val_loss"] == pytest.approx(row["val_loss"], rel=1e-5)


def test_the_hook_hears_of_everything_in_order(tmp_path: Path) -> None:
    calls: list[str] = []

    class Recorder(NoHook):
        def start(self, module: nn.Module, loss: nn.Module, course: Course) -> None:
            calls.append(
                f"start {type(module).__name__} {type(loss).__name__} {course.steps} {course.evaluation_steps}"
            )

        @contextmanager
        def step(self, training: bool) -> Iterator[None]:
            calls.append("train" if training else "eval")
            yield
            calls.append("over")

        def end_epoch(self, values: dict[str, float]) -> str | None:
            calls.append(f"epoch {values['epoch']:.0f}")
            return None

    make_trainer(tmp_path, hook=Recorder()).fit()
    epochs = [[*(["train", "over"] * 4), *(["eval", "over"] * 2), f"epoch {n}"] for n in range(1, EPOCHS + 1)]
    assert calls == ["start Sequential CrossEntropyLoss 4 2", *(call for epoch in epochs for call in epoch)]


@pytest.mark.parametrize("epoch", [2, 3])
def test_a_rule_that_fires_later_ends_the_job_with_the_best_weights(tmp_path: Path, epoch: int) -> None:
    progress = make_trainer(tmp_path, hook=firing(epoch)).fit()
    assert progress.epoch == epoch
    assert progress.best_epoch


def test_a_rule_that_fires_in_the_first_epoch_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^Stopped after the first epoch, as stop_on asks: DeadRelu: 99 % are dead\.$"):
        make_trainer(tmp_path, hook=firing(1)).fit()


def firing(epoch: int) -> NoHook:
    """A hook whose rule fires at the end of an epoch."""

    class Firing(NoHook):
        def end_epoch(self, values: dict[str, float]) -> str | None:
            return "DeadRelu: 99 % are dead." if values["epoch"] == epoch else None

    return Firing()


@pytest.mark.parametrize("options", [{}, {"class_weights": "balanced"}, {"ema_decay": 0.9}])
def test_a_step_waits_for_no_device(tmp_path: Path, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = torch.device("meta")  # reading a number from there is an error, where a GPU would be waited for
    monkeypatch.setattr(Precision, "choose", lambda *_: Precision(CPU, None))
    evaluator = Evaluator(elsewhere, 4, Stop())
    trainer = make_trainer(tmp_path, module=make_module().to(elsewhere), evaluator=evaluator, **options)
    batch = next(trainer.train.batches(4, 1))
    trainer.sums = torch.zeros(2, dtype=torch.float64, device=elsewhere)
    with pytest.raises(RuntimeError, match="meta"):
        float(trainer.sums[0])
    trainer._step(batch, trainer._weight(batch[1]) / 4, 4)
    assert trainer.progress.seen == 4


def test_validation_computes_as_training_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    seen: dict[bool, set[torch.dtype]] = {True: set(), False: set()}
    trainer = make_trainer(tmp_path, precision="bf16", epochs=1)
    trainer.module[0].register_forward_hook(  # type: ignore[operator, index]
        lambda module, _, output: seen[module.training].add(output.dtype)
    )
    monkeypatch.setattr(trainer, "_calibrate", lambda: None)
    trainer.fit()
    assert seen == {True: {torch.bfloat16}, False: {torch.bfloat16}}
    trainer._calibrate = Trainer._calibrate.__get__(trainer)  # type: ignore[method-assign]
    trainer._calibrate()
    assert seen[False] == {torch.bfloat16, torch.float32}  # what is kept is computed in full
