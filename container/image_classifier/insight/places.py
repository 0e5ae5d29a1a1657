"""Where a job's tensors, events and samples go, by the platform's configuration files or without them."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from image_classifier.contract import Layout

DEBUG = "debug"  # within what SageMaker uploads as output.tar.gz
INTERVAL = 0.5  # seconds between samples of the machine; the default of SageMaker's agent


@dataclass(frozen=True)
class Places:
    """Directories, and what `profilerconfig.json` says. None: not wanted."""

    output: Path
    tensors: Path
    timeline: Path | None
    resources: Path | None
    tensorboard: Path
    interval: float = INTERVAL
    rotate_seconds: float = 60
    node: str = "algo-1"

    @classmethod
    def find(
        cls, layout: Layout, debugger: dict[str, Any], profiler: dict[str, Any], on_sagemaker: bool = False
    ) -> "Places":
        """Find the places.

        Args:
            layout: of the job.
            debugger: content of `debughookconfig.json`; empty without one.
            profiler: content of `profilerconfig.json`; empty without one.
            on_sagemaker: the platform's agent then writes under the same names as we would, so ours go elsewhere.
        """
        own = layout.output_data / DEBUG
        parameters = profiler.get("ProfilingParameters") or {}
        local = Path(parameters.get("LocalPath") or layout.output / "profiler") if profiler else own / "profiler"
        off = str(profiler.get("DisableProfiler", False)).lower() == "true"
        board = layout.read_config("tensorboardoutputconfig.json").get("LocalPath")
        return cls(
            output=layout.output,
            tensors=_tensors(layout, debugger) if debugger else own / "tensors",
            timeline=None if off else local,
            resources=None if off else own / "profiler" if on_sagemaker else local,
            tensorboard=Path(board) if board else layout.output_data / "tensorboard",
            interval=_number(profiler.get("ProfilingIntervalInMilliseconds"), 1000 * INTERVAL) / 1000,
            rotate_seconds=_number(parameters.get("RotateFileCloseIntervalInSeconds"), 60),
            node=_node(layout),
        )


def _tensors(layout: Layout, debugger: dict[str, Any]) -> Path:
    return Path(debugger.get("LocalPath") or layout.output / "tensors")


def _node(layout: Layout) -> str:
    """This host's name; smdebug's readers know no other form."""
    name = str(layout.read_config("resourceconfig.json").get("current_host", ""))
    return name if re.fullmatch(r"algo-\d+", name) else "algo-1"


def _number(value: Any, default: float) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return default
    return number if number > 0 else default
