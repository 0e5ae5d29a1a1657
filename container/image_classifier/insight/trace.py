"""A trace of a few training steps by torch.profiler, as a file that chrome://tracing and Perfetto open."""

import os
from pathlib import Path
from typing import Any

import torch

_SKIPPED = 2  # steps before: the first ones allocate and choose algorithms


class Trace:
    """Profiles some steps, once.

    Args:
        folder: where the trace goes.
        steps: how many steps it holds.
    """

    def __init__(self, folder: Path, steps: int) -> None:
        self._file = folder / "torch_trace.json.gz"
        self._wait, self._left = _SKIPPED, steps
        self._profile: Any = None

    def begin(self, training: bool) -> None:
        """Begin a step, and the profile with it when its time has come."""
        if not training or self._left == 0 or self._profile:
            return
        if self._wait:
            self._wait -= 1
            return
        kinds = [torch.profiler.ProfilerActivity.CPU]
        if torch.cuda.is_available():
            kinds.append(torch.profiler.ProfilerActivity.CUDA)
        else:  # the profiler looks for GPUs all the same, and calls it an error that there are none
            os.environ.setdefault("KINETO_LOG_LEVEL", "5")
        self._profile = torch.profiler.profile(activities=kinds, acc_events=True)
        self._profile.start()

    def end(self, training: bool) -> None:
        """End a step, and the profile after the last one."""
        if training and self._profile:
            self._left -= 1
            if self._left == 0:
                self.close()

    def close(self) -> None:
        """Write the steps that were profiled."""
        profile, self._profile, self._left = self._profile, None, 0
        if profile:
            profile.stop()
            self._file.parent.mkdir(parents=True, exist_ok=True)
            profile.export_chrome_trace(str(self._file))
