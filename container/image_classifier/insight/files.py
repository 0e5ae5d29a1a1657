"""Where a training job left what: found in any directory that holds the output of one."""

from dataclasses import dataclass
from pathlib import Path

from image_classifier.errors import UserError

_ROOTS = ("", "output", "data", "output/data")  # below /opt/ml, /opt/ml/output, an extracted output.tar.gz, a download
_TENSORS = ("tensors", "debug/tensors", "debug-output", "")
_PROFILER = ("profiler", "debug/profiler", "profiler-output", "")
_RESULTS = ("run.json", "history.csv", "predictions.csv", "confusion.csv")


@dataclass(frozen=True)
class RunFiles:
    """The directories of one job; None where there is none."""

    tensors: Path | None
    system: Path | None  # holds `system`, samples of the machine
    framework: Path | None  # holds `framework`, events of the training process
    data: Path | None


def find(directory: Path) -> RunFiles:
    """Find the parts of a job's output.

    Args:
        directory: `/opt/ml`, `/opt/ml/output`, its `data`, an extracted `output.tar.gz`, or a copy of the job's S3
            prefix with `debug-output` and `profiler-output`.

    Raises:
        UserError: there is no such directory.
    """
    if not directory.is_dir():
        raise UserError(f"{directory} is not a directory; name one that holds the output of a training job.")
    roots = [directory / root for root in _ROOTS]
    return RunFiles(
        tensors=_first(roots, _TENSORS, ("index", "events")),
        # Apart: on SageMaker the host's agent writes samples to the bucket while the events stay in output.tar.gz.
        system=_first(roots, _PROFILER, ("system",)),
        framework=_first(roots, _PROFILER, ("framework",)),
        data=_first(roots, ("",), _RESULTS),
    )


def _first(roots: list[Path], places: tuple[str, ...], signs: tuple[str, ...]) -> Path | None:
    candidates = (root / place for root in roots for place in places)
    return next((path for path in candidates if any((path / sign).exists() for sign in signs)), None)
