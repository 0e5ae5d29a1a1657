"""A machine's log on its way to CloudWatch Logs; the metrics in it, read by the job's definitions."""

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from local_sagemaker.aws import LogStream, new_lines
from local_sagemaker.store import Record

Measured = Callable[[str, float], None]


@dataclass
class Follower:
    """Reads a log as it grows.

    Args:
        log: the file.
        stream: where its lines go.
        definitions: MetricDefinitions of the request; the last group of each expression is the number.
        measured: told each value as it comes.
    """

    log: Path
    stream: LogStream
    definitions: Sequence[Record] = ()
    measured: Measured = lambda _name, _value: None
    final: dict[str, Record] = field(default_factory=dict)
    offset: int = 0

    def read(self, ended: bool = False) -> None:
        """Pass on what is new; `ended` when nobody writes to the file any more."""
        lines, self.offset = new_lines(self.log, self.offset, ended)
        self.stream.put(lines)
        for line in lines:
            for definition in self.definitions:
                for match in re.finditer(definition["Regex"], line):
                    self._note(definition["Name"], match)

    def _note(self, name: str, match: re.Match[str]) -> None:
        try:
            value = float(match.group(1))
        except (ValueError, IndexError):  # an expression of the user's that catches something else
            return
        if value == value and abs(value) != float("inf"):
            self.final[name] = {"MetricName": name, "Value": value, "Timestamp": time.time()}
            self.measured(name, value)
