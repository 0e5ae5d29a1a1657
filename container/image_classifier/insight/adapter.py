"""smdebug's hook, told when a step begins and ends instead of guessing it from forward passes.

The only module that imports smdebug's hook (two seconds), so it is imported when a job wants it. What is saved, under
which name, in which step and in which collection is decided by smdebug; only the way in and the way out are ours:

- steps are counted by the training loop, so an extra forward pass is none, and a resumed job goes on counting;
- no state is kept beside the checkpoints: smdebug would walk that directory in every step;
- bfloat16 is saved as float32, which numpy has;
- files are written by `events.StepWriter`.
"""

import atexit
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch

os.environ.setdefault("SMDEBUG_LOG_LEVEL", "warning")  # read once, where smdebug is imported
import smdebug.pytorch as smd
from smdebug.core.modes import ModeKeys
from smdebug.core.utils import match_inc as _match_inc

from image_classifier.insight.events import Files, StepWriter

_AHEAD = 1000  # steps that are searched for the next one to save
_MARKS = ("claim.smd", "training_job_end.ts")  # of an earlier run: smdebug would write nothing, without a word
_PARTS = ("events", "index", "collections")


class Adapter(smd.Hook):  # type: ignore[misc]
    """smdebug's hook with our way in and out. Make it with `open`."""

    timeline_writer: Any
    exported_collections: bool
    writer: Any
    _writes: bool | None = None
    _files: Files
    _next: dict[Any, int]  # by mode, the first step that may be saved

    @classmethod
    def open(cls, config: dict[str, Any], known: dict[str, list[str]]) -> "Adapter":
        """Make the hook.

        Args:
            config: in the form of `debughookconfig.json`, with a LocalPath.
            known: regular expressions of collections that smdebug does not know by itself.
        """
        clear_marks(Path(config["LocalPath"]))
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            json.dump(config, file)
            file.flush()
            hook: Adapter = cls.create_from_json_file(file.name)
        for name in hook.include_collections:
            hook.get_collection(name).include(known.get(name, []))
        hook._next, hook._files = {}, Files()
        hook._prepare_collections()
        return hook

    def count_from(self, train: int, evaluation: int) -> None:
        """Go on after so many steps of each mode."""
        self.mode_steps = {ModeKeys.TRAIN: train - 1, ModeKeys.EVAL: evaluation - 1}
        self.step = self.mode_steps[ModeKeys.GLOBAL] = train + evaluation - 1

    def lead_events_to(self, timeline: Any) -> None:
        """Let `record_trace_events` write to another timeline than smdebug's own."""
        self.timeline_writer.close()
        self.timeline_writer = timeline

    def begin(self, training: bool) -> frozenset[str]:
        """Begin a step: names of the collections that are saved in it."""
        self.mode = ModeKeys.TRAIN if training else ModeKeys.EVAL
        self.step += 1
        self.mode_steps[self.mode] += 1
        self.mode_steps[ModeKeys.GLOBAL] = self.step
        now = self.mode_steps[self.mode]
        if now < self._next.get(self.mode, 0):
            return frozenset()
        self._collections_to_save_for_step = None
        saved = self._get_collections_to_save_for_step()
        self._next[self.mode] = self._search(now + 1)
        if saved:
            self.written_tensor_name_for_step.clear()
            self._initialize_writers()
        return frozenset(collection.name for collection in saved)

    def _search(self, first: int) -> int:
        """The next step of this mode in which anything is saved, or the first that was not looked at."""
        configs = [collection.save_config.get_save_config(self.mode) for collection in self._collections_to_save]
        steps = range(first, first + _AHEAD)
        return next((step for step in steps if any(c.should_save_step(step) for c in configs)), steps.stop)

    def end(self) -> None:
        """End a step that is saved: write its files."""
        self._close_writers()
        if not self.exported_collections:
            self.export_collections()
            self.exported_collections = True

    def wait(self) -> None:
        """Wait until every step so far is written."""
        self._files.wait()

    def matches(self, name: str) -> bool:
        """Whether a tensor of this name is saved in this step."""
        return any(
            smd_match(name, collection.include_regex) or name in collection.tensor_names
            for collection in self._get_collections_to_save_for_step()
        )

    def close(self) -> None:
        """Write what is left, with the names of all tensors that came along."""
        self.exported_collections = False
        self._close_writers()
        self._files.wait()
        super().close()
        self.discard()

    def discard(self) -> None:
        """Do nothing more, not even at the end of the process."""
        self._files.close()
        atexit.unregister(self._cleanup)
        atexit.unregister(self.profiler_config_parser.stop_post_hook_close_python_profiling)

    def has_default_configuration(self) -> bool:
        """False: smdebug then hands errors on, instead of logging a traceback."""
        return False

    def _initialize_writers(self, only_initialize_if_missing: bool = False) -> None:
        if only_initialize_if_missing and self.writer:
            return
        if self._writes is None:  # once: smdebug finds out whether this process is the one to write
            super()._initialize_writers()
            self._writes = self.writer is not None
        if self._writes:
            self.writer = StepWriter(self._files, self.out_dir, self.step, self.worker)

    def _initialize_to_last_saved_state(self) -> None:
        pass

    def _write_state(self) -> None:
        pass

    @staticmethod
    def _make_numpy_array(tensor_value: Any) -> Any:
        if isinstance(tensor_value, torch.Tensor) and tensor_value.dtype == torch.bfloat16:
            tensor_value = tensor_value.float()
        return smd.Hook._make_numpy_array(tensor_value)


def smd_match(name: str, patterns: list[str]) -> bool:
    """Whether a name matches one of a collection's regular expressions, as smdebug sees it."""
    return bool(_match_inc(name, patterns))


def clear_marks(folder: Path) -> None:
    """Remove what an earlier run left to mark its beginning and its end."""
    for name in _MARKS:
        (folder / name).unlink(missing_ok=True)


def clear_tensors(folder: Path) -> None:
    """Remove the tensors of another run, which would mix with those of this one."""
    for name in _PARTS:
        shutil.rmtree(folder / name, ignore_errors=True)
