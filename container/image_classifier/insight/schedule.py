"""In which steps the light form saves: few, from the first to the last, most of them early.

The first steps show a bad start, the last step of an epoch shows where it ended, the rest is spread evenly.
"""

MOST = 30
_EARLY = (0, 1, 2, 3, 5, 8)
_EPOCHS = 12  # up to so many, the last step of each


def saving_steps(per_epoch: int, epochs: int, most: int = MOST) -> list[int]:
    """Steps to save, counted from 0 over the whole job: ascending, at most `most`.

    Args:
        per_epoch: steps of an epoch.
        epochs: epochs of the job.
        most: upper limit; at least twenty.
    """
    total = per_epoch * epochs
    if total <= most:
        return list(range(total))
    ends = {round(step) for step in _spread(per_epoch - 1, total - 1, min(epochs, _EPOCHS), per_epoch)}
    chosen = {step for step in _EARLY if step < total} | ends
    for count in range(most - len(chosen), -1, -1):  # evenly between, where they do not coincide
        steps = chosen | {round(step) for step in _spread(0, total - 1, count)}
        if len(steps) <= most:
            return sorted(steps)
    return sorted(chosen)


def _spread(first: int, last: int, count: int, grid: int = 1) -> list[float]:
    """So many numbers from first to last, each a multiple of the grid away from the first."""
    if count < 2:
        return [last] * count
    return [first + grid * round((last - first) / grid * i / (count - 1)) for i in range(count)]
