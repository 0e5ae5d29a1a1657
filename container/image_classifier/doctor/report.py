"""What the doctor finds, and how it says so: lines for people, JSON for scripts."""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum

import typer

from image_classifier.errors import PlatformError, UserError, sentence

_COLOURS = {"ok": typer.colors.GREEN, "warning": typer.colors.YELLOW, "problem": typer.colors.RED}


class Status(StrEnum):
    """How bad it is, from good to bad."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True)
class Finding:
    """What one check found: a line, and the remedy where there is something to mend."""

    status: Status
    what: str
    remedy: str = ""


Check = Callable[[], Finding | None]


def ok(what: str) -> Finding:
    """Nothing to do."""
    return Finding(Status.OK, what)


def warning(what: str, remedy: str) -> Finding:
    """It works, but not everywhere or not well."""
    return Finding(Status.WARNING, what, remedy)


def problem(what: str, remedy: str = "") -> Finding:
    """It does not work; the remedy may be part of the sentence, where it is an error of the product's own."""
    return Finding(Status.PROBLEM, what, remedy)


def examine(checks: Iterable[Check]) -> tuple[Finding, ...]:
    """Run each check; one that fails is a finding too, and keeps no other from running."""
    return tuple(finding for finding in map(_examine, checks) if finding)


def examine_until_problem(checks: Iterable[Check]) -> tuple[Finding, ...]:
    """Run checks that build upon each other: after a problem, the rest would only repeat it."""
    found: list[Finding] = []
    for check in checks:
        found += examine([check])
        if worst(found) is Status.PROBLEM:
            break
    return tuple(found)


def _examine(check: Check) -> Finding | None:
    try:
        return check()
    except (UserError, PlatformError) as error:
        return problem(str(error))
    except Exception as error:  # a doctor does not die of what it finds
        return problem(f"This could not be checked: {sentence(error)}")


def worst(findings: Iterable[Finding]) -> Status:
    """The status of all together."""
    found = {finding.status for finding in findings}
    return next((status for status in (Status.PROBLEM, Status.WARNING) if status in found), Status.OK)


@dataclass(frozen=True)
class Report:
    """The findings of each part: host, image, model."""

    parts: Mapping[str, tuple[Finding, ...]]

    @property
    def findings(self) -> list[Finding]:
        """All findings, in order."""
        return [finding for findings in self.parts.values() for finding in findings]

    @property
    def status(self) -> Status:
        """The worst of all findings."""
        return worst(self.findings)

    def json(self) -> str:
        """For scripts: {"status": …, "parts": {"host": [{"status": …, "what": …, "remedy": …}, …], …}}."""
        parts = {name: [asdict(finding) for finding in findings] for name, findings in self.parts.items()}
        return json.dumps({"status": self.status, "parts": parts}, ensure_ascii=False, indent=1)

    def text(self) -> str:
        """For people: a line for each finding, its remedy below it, and the sum."""
        lines = [line for name, findings in self.parts.items() for line in (name, *map(_line, findings), "")]
        counts = [sum(finding.status is status for finding in self.findings) for status in Status]
        return "\n".join([*lines, "{} ok, {} warning(s), {} problem(s)".format(*counts)])


def _line(finding: Finding) -> str:
    word = typer.style(f"{finding.status:<8}", fg=_COLOURS[finding.status])
    return f"  {word} {finding.what}" + (f"\n           -> {finding.remedy}" if finding.remedy else "")
