"""The functions of a user's script: which there are, whether the Transformer can call them, which look misspelt."""

import inspect
import logging
from collections.abc import Callable
from difflib import get_close_matches
from types import ModuleType
from typing import Any

from image_classifier.errors import UserError

logger = logging.getLogger(__name__)

FORMS = {
    "pre_model_fn": ("model_dir",),
    "model_fn": ("model_dir",),
    "model_warmup_fn": ("model_dir", "model"),
    "input_fn": ("data", "content_type"),
    "predict_fn": ("data", "model"),
    "output_fn": ("prediction", "accept"),
    "transform_fn": ("model", "data", "content_type", "accept"),
}
_PARTS = ("input_fn", "predict_fn", "output_fn")  # of what transform_fn does alone
_ALIKE = 0.75  # of difflib: `predict` and `model_func` are, `preprocess` is not


def check(script: ModuleType) -> set[str]:
    """Names of the functions that a script has.

    Raises:
        UserError: one of them can never be called; says how to write it.
    """
    found = {name: getattr(script, name) for name in FORMS if getattr(script, name, None) is not None}
    for name, function in found.items():
        _check_form(name, function, script.__name__)
    parts = [name for name in _PARTS if name in found]
    if "transform_fn" in found and parts:
        raise UserError(f"{script.__name__}.py has transform_fn and {', '.join(parts)}; it can have one or the other.")
    for name, meant in _misspelt(script, set(found)):
        logger.warning("%s in %s.py is never called; did you mean %s?", name, script.__name__, meant)
    logger.info("Functions of %s.py: %s; the rest is ours.", script.__name__, ", ".join(found) or "none")
    return set(found)


def _check_form(name: str, function: Any, script: str) -> None:
    form = ", ".join(FORMS[name])
    wanted = f"write it as {name}({form}) or {name}({form}, context)."
    if not callable(function):
        raise UserError(f"{name} in {script}.py is not a function; {wanted}")
    parameters = inspect.signature(function).parameters
    if not _fits(function, len(FORMS[name])):
        raise UserError(f"{name}({', '.join(parameters)}) in {script}.py cannot be called; {wanted}")
    last = list(parameters.values())[-1]
    if len(parameters) > len(FORMS[name]) and last.name != "context" and last.default is not last.empty:
        logger.warning("%s of %s in %s.py is given the context, not its default.", last.name, name, script)


def _fits(function: Callable[..., Any], arguments: int) -> bool:
    """Whether the Transformer can call a function: it counts all parameters, and gives the context to one more."""
    signature = inspect.signature(function)
    count = len(signature.parameters)
    try:
        signature.bind(*range(count))
    except TypeError:
        return False
    return count in (arguments, arguments + 1)


def _misspelt(script: ModuleType, found: set[str]) -> list[tuple[str, str]]:
    """Functions of the script that nobody calls, with what each may have been meant to be."""
    absent = [name for name in FORMS if name not in found]
    own = [name for name, value in vars(script).items() if getattr(value, "__module__", "") == script.__name__]
    alike = {name: get_close_matches(name.lower(), absent, 1, _ALIKE) for name in own if name not in FORMS}
    return [(name, meant[0]) for name, meant in alike.items() if meant]
