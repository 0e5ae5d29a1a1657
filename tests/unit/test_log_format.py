"""The log as JSON lines, for programs."""

import json
import logging
import sys

import pytest

from image_classifier.contract import Settings
from image_classifier.training import log_format


@pytest.fixture
def handler(monkeypatch: pytest.MonkeyPatch) -> logging.Handler:
    """The only handler of the log, plain."""
    made = logging.StreamHandler(sys.stdout)
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [made])
    monkeypatch.setattr(root, "level", root.level)
    return made


def record(message: str, *values: object, error: BaseException | None = None) -> logging.LogRecord:
    about = (type(error), error, None) if error else None
    return logging.LogRecord("image_classifier.x", logging.WARNING, "x.py", 1, message, values, about)


def test_a_record_is_one_object_on_one_line(handler: logging.Handler) -> None:
    log_format.apply(Settings.from_environment({"CLASSIFIER_LOG_FORMAT": "json"}))
    said = handler.format(record('Left out %s:\n"%s"', "Wüste.jpg", "no picture", error=ValueError("bad")))
    assert "\n" not in said
    told = json.loads(said)
    assert told.pop("time").endswith("+00:00")
    assert told == {
        "level": "WARNING",
        "logger": "image_classifier.x",
        "message": 'Left out Wüste.jpg:\n"no picture"',
        "error": "ValueError: bad",
    }


def test_plain_lines_are_the_default_and_the_level_is_the_settings(handler: logging.Handler) -> None:
    log_format.apply(Settings.from_environment({"SAGEMAKER_CONTAINER_LOG_LEVEL": "30"}))
    assert handler.format(record("Left out %s.", "a.jpg")) == "Left out a.jpg."
    assert logging.getLogger().level == logging.WARNING
