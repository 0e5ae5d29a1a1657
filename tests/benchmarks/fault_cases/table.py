"""The results as a table."""

from collections.abc import Sequence
from statistics import median

from fault_cases.lab import Result


def line(result: Result) -> str:
    """One run in one line, for the log."""
    verdict = "healthy" if not result.expected else "found" if result.found else "MISSED"
    if not result.expected and result.tuned:
        verdict = "FALSE ALARM"
    times = f"{result.train_seconds:.1f} s, judged in {result.judge_seconds:.2f} s, accuracy {result.accuracy:.2f}"
    return f"{verdict:12}{result.case} (seed {result.seed}): {', '.join(result.tuned) or 'no issue'}; {times}"


def markdown(results: Sequence[Result], seeds: Sequence[int]) -> str:
    """Recall, false alarms and cost, then a row for each case."""
    faults, healthy = [r for r in results if r.expected], [r for r in results if not r.expected]
    found = sum(r.found for r in faults)
    aws_found = sum(any(rule in r.expected for rule in r.aws) for r in faults)
    alarms, aws_alarms = sum(bool(r.tuned) for r in healthy), sum(bool(r.aws) for r in healthy)
    cost = [100 * r.judge_seconds / r.train_seconds for r in results]
    lines = [
        "# Planted faults",
        "",
        f"{len({r.case for r in faults})} kinds of fault and {len({r.case for r in healthy})} kinds of healthy run, "
        f"seeds {', '.join(map(str, seeds))}. A fault is found when a rule that names it fires.",
        "",
        "| | tuned | AWS's documented defaults |",
        "|---|---|---|",
        f"| faults found | {_share(found, len(faults))} | {_share(aws_found, len(faults))} |",
        f"| healthy runs with an issue | {_share(alarms, len(healthy))} | {_share(aws_alarms, len(healthy))} |",
        "",
        f"Judging took {median(cost):.1f} % of the processor time of training (median; at most {max(cost):.1f} %)."
        if cost
        else "",
        "",
        "| case | found, tuned | found, AWS | rules that fired, tuned | rules that fired, AWS |",
        "|---|---|---|---|---|",
    ]
    return (
        "\n".join(
            lines + [_row([r for r in results if r.case == name]) for name in dict.fromkeys(r.case for r in results)]
        )
        + "\n"
    )


def _row(runs: Sequence[Result]) -> str:
    first = runs[0]
    if first.expected:
        marks = (sum(r.found for r in runs), sum(any(rule in r.expected for rule in r.aws) for r in runs))
        cells = [f"{mark} of {len(runs)}" for mark in marks]
    else:
        cells = ["healthy", "healthy"]
    cells += [_rules([r.tuned for r in runs]), _rules([r.aws for r in runs])]
    return f"| {first.case} | {' | '.join(cells)} |"


def _rules(fired: Sequence[tuple[str, ...]]) -> str:
    names = [name for one in fired for name in one]
    counts = {name: names.count(name) for name in dict.fromkeys(names)}
    return ", ".join(name if count == len(fired) else f"{name} ({count})" for name, count in counts.items()) or "-"


def _share(part: int, whole: int) -> str:
    return f"{part} of {whole} ({100 * part / whole:.0f} %)" if whole else "-"
