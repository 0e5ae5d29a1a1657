"""The form of the log: plain lines, or one JSON object a line, for programs that collect logs.

Metric lines are printed, not logged, and stay as they are: SageMaker's expressions read them.
"""

import json
import logging
from datetime import UTC, datetime

from image_classifier.contract import Settings


class JsonLines(logging.Formatter):
    """`{"time": …, "level": …, "logger": …, "message": …}`, with `error` where there is a traceback."""

    def format(self, record: logging.LogRecord) -> str:
        """One record as one line."""
        told = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            told["error"] = self.formatException(record.exc_info)
        return json.dumps(told, ensure_ascii=False)


def apply(settings: Settings) -> None:
    """Give this process's log the level and the form that the settings ask for."""
    root = logging.getLogger()
    root.setLevel(settings.log_level)
    if settings.log_format == "json":
        for handler in root.handlers:
            handler.setFormatter(JsonLines())
