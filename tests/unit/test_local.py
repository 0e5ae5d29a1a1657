"""scripts/local.py does not take somebody else's directory."""

from pathlib import Path

import pytest

import local
from desk import DeskError


def test_a_directory_with_other_files_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(DeskError, match="holds other files"):
        local.given_base(str(tmp_path))
    assert (tmp_path / "thesis.txt").read_text() == "mine"


def test_a_new_an_empty_and_an_earlier_jobs_directory_are_taken(tmp_path: Path) -> None:
    assert local.given_base(str(tmp_path / "new")) == tmp_path / "new"
    assert local.given_base(str(tmp_path)) == tmp_path
    (tmp_path / "input" / "config").mkdir(parents=True)
    assert local.given_base(str(tmp_path)) == tmp_path


def test_a_report_of_a_directory_that_is_not_there_is_refused() -> None:
    with pytest.raises(DeskError, match=r"--dir \(DIR\) must be the output of a training job; 'missing' is not there"):
        local.report(local.options_of(["report", "--dir", "missing"]))
