"""The desk's commands, the notebook and the example of SDK 3 know an endpoint URL, and nothing of what answers it."""

import json
import re
from pathlib import Path

import pytest

import ways

SCRIPTS = ways.ROOT / "scripts"
_IMPORT = re.compile(r"^\s*(from|import)\s+local_sagemaker\b|import_module\(.local_sagemaker", re.MULTILINE)
FILES = [*SCRIPTS.glob("workflow/**/*.py"), *SCRIPTS.glob("sdk_v3/**/*.py"), *SCRIPTS.glob("notebooks/*.ipynb")]


def code(file: Path) -> str:
    """A program's or a notebook's."""
    if file.suffix == ".py":
        return file.read_text()
    cells = json.loads(file.read_text())["cells"]
    return "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(SCRIPTS)))
def test_nothing_that_speaks_to_sagemaker_imports_local_sagemaker(file: Path) -> None:
    assert not _IMPORT.search(code(file))


def test_the_commands_the_notebook_and_the_example_are_among_them() -> None:
    names = {str(file.relative_to(SCRIPTS)) for file in FILES}
    assert {"workflow/train.py", "notebooks/walk.ipynb", "sdk_v3/train_and_serve.py"} <= names
    assert _IMPORT.search("import os\nfrom local_sagemaker.server import serving\n")
