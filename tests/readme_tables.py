"""Writes README.md's reference tables from the code they describe: `python tests/readme_tables.py`.

tests/unit/test_readme.py checks that README.md holds what this makes.
"""

import re
import types
import typing
from pathlib import Path

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from image_classifier.contract import Settings
from image_classifier.training import metrics
from image_classifier.training.hyperparameters import ALIASES, Hyperparameters

README = Path(__file__).resolve().parent.parent / "README.md"


def tables() -> dict[str, str]:
    """Every generated table, by the name between its marks in README.md."""
    return {
        "hyperparameters": _table(Hyperparameters, "hyperparameter", lambda name, _: name),
        "environment": _table(Settings, "variable", lambda _, field: str(field.alias)),
        "metrics": ", ".join(f"`{name}`" for name in metrics.NAMES) + ".",
        "aliases": ", ".join(f"`{alias}` for `{name}`" for alias, name in ALIASES.items()) + ".",
    }


def _table(model: type[BaseModel], title: str, name_of: typing.Callable[[str, FieldInfo], str]) -> str:
    rows = [f"| {title} | default | allowed | meaning |", "|---|---|---|---|"]
    for name, field in model.model_fields.items():
        default = "computed" if field.default is None else str(field.default)
        default = default.lower() if isinstance(field.default, bool) else default
        rows.append(f"| `{name_of(name, field)}` | `{default}` | {_allowed(field)} | {field.description} |")
    return "\n".join(rows)


def _allowed(field: FieldInfo) -> str:
    kind = field.annotation
    if typing.get_origin(kind) is typing.Literal:
        return ", ".join(f"`{choice}`" for choice in typing.get_args(kind))
    if typing.get_origin(kind) is types.UnionType:
        kind = next(part for part in typing.get_args(kind) if part is not type(None))
    words = {bool: "`true`, `false`", int: "whole number", float: "number", str: "text", Path: "directory"}[kind]
    signs = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}
    bounds = [
        f"{sign} {getattr(limit, name):g}"
        for limit in field.metadata
        for name, sign in signs.items()
        if hasattr(limit, name)
    ]
    return ", ".join([words, *bounds])


def filled(text: str) -> str:
    """The text with every table between its marks made anew."""
    for name, table in tables().items():
        mark = re.compile(rf"<!-- {name} -->\n.*?<!-- end -->", re.DOTALL)
        if not mark.search(text):
            raise SystemExit(f"README.md has no place for the table {name!r}: <!-- {name} --> … <!-- end -->")
        block = f"<!-- {name} -->\n{table}\n<!-- end -->"
        text = mark.sub(lambda _, block=block: block, text)
    return text


if __name__ == "__main__":
    README.write_text(filled(README.read_text(encoding="utf-8")), encoding="utf-8")
