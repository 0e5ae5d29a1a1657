"""Verdicts in the form of AWS's rules: a JSON file for each, and status words as DescribeTrainingJob gives them."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from image_classifier.insight.verdict import Status, Verdict

STATUSES = "statuses.json"
_WORDS = {Status.NO_ISSUE: "NoIssuesFound", Status.ISSUE: "IssuesFound", Status.NOT_EVALUATED: "Error"}


def report(verdict: Verdict) -> dict[str, Any]:
    """Content of AWS's `<Rule>.json`."""
    return {
        "RuleTriggered": int(verdict.status is Status.ISSUE and max(1, verdict.violations)),
        "Violations": verdict.violations,
        "Details": {"status": verdict.status.value, "reason": verdict.reason},
        "Datapoints": verdict.datapoints,
        "RuleParameters": "\n".join(f"{name}:{_number(value)}" for name, value in verdict.parameters.items()),
    }


def status(verdict: Verdict) -> dict[str, str]:
    """One entry of DebugRuleEvaluationStatuses. AWS has no word for not evaluated: it is an Error with its reason."""
    return {
        "RuleConfigurationName": verdict.rule,
        "RuleEvaluationStatus": _WORDS[verdict.status],
        "StatusDetails": verdict.reason,
    }


def write(verdicts: Sequence[Verdict], folder: Path) -> None:
    """Write `<Rule>.json` for each verdict, and all statuses in one file."""
    folder.mkdir(parents=True, exist_ok=True)
    for verdict in verdicts:
        (folder / f"{verdict.rule}.json").write_text(json.dumps(report(verdict), indent=1), encoding="utf-8")
    text = json.dumps([status(verdict) for verdict in verdicts], indent=1)
    (folder / STATUSES).write_text(text, encoding="utf-8")


def _number(value: float | str | bool) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
