"""The results as a table."""

from collections.abc import Sequence
from statistics import median

from fault_cases.lab import Result

NOTES = """Runs are of the product's own training loop and hook (`debug=light`) on drawn pictures of 32 pixels:
ResNet-10 with a quarter of the channels, plain convolutions, ResNet-18; 36 to 200 steps, batches of 8 to 32. Data and
network of every run are made of its seed. Thresholds were chosen on seeds 0 and 1 alone. Validation pictures
of a leak are counted by their bytes, as `train` does. For the faults of the machine, the samples are those of
the process alone, and pictures are really read and decoded by threads; slow disks are slept for.

What this does not show: GPUs (the rules about them are tested on written samples only), large data sets, and faults
that are partial. Wrong labels are found by what they do (`Memorizing`), with `LabelNoise` as the more specific one when
the network has become sure of them.
"""


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
    judging, training = sum(r.judge_seconds for r in results), sum(r.train_seconds for r in results)
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
        f"Judging took {100 * judging / training:.1f} % of the processor time of training, "
        f"{median(r.judge_seconds for r in results):.2f} s a run (median), whatever its length: "
        "at most 30 steps are saved.",
        "",
        "| case | found, tuned | found, AWS | rules that fired, tuned | rules that fired, AWS |",
        "|---|---|---|---|---|",
    ]
    names = dict.fromkeys(r.case for r in results)
    rows = [_row([r for r in results if r.case == name]) for name in names]
    return "\n".join([*lines, *rows, "", NOTES])


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
