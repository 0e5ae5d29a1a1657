"""What is said about a job at its end: the verdicts of the rules, and the report."""

import logging
import time
from pathlib import Path

from image_classifier.insight import judge, report
from image_classifier.insight.verdict import Status, Verdict

logger = logging.getLogger(__name__)


def conclude(output: Path, data: Path) -> None:
    """Judge a job by every rule and write its report. A job does not fail for want of either.

    Args:
        output: what the job wrote: `/opt/ml/output`.
        data: where `rules.json`, `rule-output/` and `report.html` go.
    """
    started = time.monotonic()
    try:
        verdicts = judge.judge(output)
        judge.write(verdicts, data)
        _say(verdicts)
        path = report.write(output, verdicts=verdicts)
        logger.info("Report: %s (%.1f s).", path, time.monotonic() - started)
    except Exception as error:
        logger.warning("There is no report (%s: %s).", type(error).__name__, error)


def _say(verdicts: list[Verdict]) -> None:
    counts = {status: sum(one.status is status for one in verdicts) for status in Status}
    logger.info("Rules: %s.", ", ".join(f"{count} {status}" for status, count in counts.items()))
    for one in verdicts:
        if one.status is Status.ISSUE:
            logger.info("  %s: %s", one.rule, one.reason)
