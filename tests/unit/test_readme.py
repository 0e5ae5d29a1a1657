"""README.md says what the code does."""

import re

import readme_tables


def test_the_reference_tables_are_those_of_the_code() -> None:
    text = readme_tables.README.read_text(encoding="utf-8")
    assert readme_tables.filled(text) == text, "run `python tests/readme_tables.py`"


def test_every_make_target_that_is_named_exists() -> None:
    text = readme_tables.README.read_text(encoding="utf-8")
    makefile = (readme_tables.README.parent / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    named = {word for line in re.findall(r"^(?:\$ )?make ([a-z -]+)", text, re.MULTILINE) for word in line.split()}
    assert named
    assert named <= targets


def test_the_map_names_files_that_exist() -> None:
    text = readme_tables.README.read_text(encoding="utf-8")
    (tree,) = re.findall(r"```text\n(README\.md.*?)```", text, re.DOTALL)
    package = readme_tables.README.parent / "container" / "image_classifier"
    for folder in ("training", "serving", "insight"):
        described = tree.split(f"  {folder}/")[1].split("\n  ")[0] if folder in tree else ""
        assert described, folder
    rules = package / "insight" / "rules"  # one file a rule, described by their folder
    existing = {path.stem for path in package.rglob("*.py") if path.stem != "__init__" and path.parent != rules}
    named = set(re.findall(r"[a-z_]+", tree))
    assert existing - {"location", "wire", "progress", "hook", "__main__"} <= named
