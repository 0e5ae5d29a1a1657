"""The SageMaker Debugger hook: smdebug where the platform asked for it, nothing at all where it did not.

An error in smdebug never ends a training job: one line in the log, and the hook is off.
"""

import atexit
import json
import logging
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from torch import nn

from image_classifier.contract import Layout

logger = logging.getLogger(__name__)

CONFIG = "debughookconfig.json"


class Hook(Protocol):
    """What the training loop tells the hook."""

    def start(self, module: nn.Module, loss: nn.Module) -> None:
        """Watch a module and its loss."""

    def set_mode(self, training: bool) -> None:
        """Say whether the next steps train or evaluate."""

    def close(self) -> None:
        """Write what is left."""


class NoHook:
    """Does nothing, and imports nothing."""

    def start(self, module: nn.Module, loss: nn.Module) -> None:
        """See Hook."""

    def set_mode(self, training: bool) -> None:
        """See Hook."""

    def close(self) -> None:
        """See Hook."""


class DebuggerHook:
    """smdebug's hook, as configured by the platform.

    Args:
        config: content of `debughookconfig.json`, in SageMaker's form.
        default_path: where tensors go when the configuration does not say.
    """

    def __init__(self, config: dict[str, Any], default_path: Path) -> None:
        import smdebug.pytorch as smd  # heavy, and only wanted with a configuration

        config = {**config, "LocalPath": config.get("LocalPath") or str(default_path)}
        _remove_leftovers(Path(config["LocalPath"]))
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            json.dump(config, file)
            file.flush()
            self._hook: Any = smd.Hook.create_from_json_file(file.name)
        self._hook.has_default_configuration = self._swallow
        make_callback = self._hook.backward_hook
        self._hook.backward_hook = lambda name: self._guarded(make_callback(name))
        self._modes = smd.modes
        self._watched: list[nn.Module] = []

    def start(self, module: nn.Module, loss: nn.Module) -> None:
        """See Hook."""
        self._watched = [module, loss]
        self._guard(lambda hook: (hook.register_module(module), hook.register_loss(loss)))

    def set_mode(self, training: bool) -> None:
        """See Hook."""
        mode = self._modes.TRAIN if training else self._modes.EVAL
        self._guard(lambda hook: hook.set_mode(mode))

    def close(self) -> None:
        """See Hook."""
        self._guard(lambda hook: hook.close())
        self._detach()

    def _swallow(self) -> bool:
        """Answer smdebug, which asks this where it has caught an error in a forward pass and raises it unless True."""
        self._switch_off(sys.exc_info()[1])
        return True

    def _switch_off(self, error: BaseException | None) -> None:
        if self._hook is not None:
            self._hook.logger.disabled = True  # it would log a traceback
            atexit.unregister(self._hook._cleanup)  # it would fail once more
            self._hook = None
            _report_off(error)

    def _guarded(self, callback: Callable[[Any], object]) -> Callable[[Any], None]:
        """A callback of the backward pass, which smdebug leaves unguarded."""
        return lambda gradient: self._guard(lambda _hook: callback(gradient))

    def _guard(self, action: Callable[[Any], object]) -> None:
        if self._hook is None:
            return
        try:
            action(self._hook)
        except Exception as error:
            self._switch_off(error)

    def _detach(self) -> None:
        """Take smdebug's callbacks off the module: a closed hook would fail in the next forward pass."""
        for module in (part for watched in self._watched for part in watched.modules()):
            module._forward_hooks.clear()
            module._forward_pre_hooks.clear()
        for parameter in (p for watched in self._watched for p in watched.parameters()):
            if parameter._backward_hooks:
                parameter._backward_hooks.clear()


def create(layout: Layout, wanted: bool) -> Hook:
    """Make the hook.

    Args:
        layout: where the platform puts `debughookconfig.json`.
        wanted: False switches the hook off (`USE_SMDEBUG=false`).
    """
    config = layout.read_config(CONFIG)
    if not wanted or not config:
        return NoHook()
    try:
        hook = DebuggerHook(config, layout.output / "tensors")
    except Exception as error:
        _report_off(error)
        return NoHook()
    logger.info("SageMaker Debugger: hook on, configured by %s.", CONFIG)
    return hook


def _remove_leftovers(folder: Path) -> None:
    """Marks of an earlier run in the same directory make smdebug write nothing, without a word."""
    for name in ("claim.smd", "training_job_end.ts"):
        (folder / name).unlink(missing_ok=True)


def _report_off(error: BaseException | None) -> None:
    reason = (str(error).splitlines() or [""])[0]
    logger.warning("SageMaker Debugger: hook off (%s: %s).", type(error).__name__, reason)
