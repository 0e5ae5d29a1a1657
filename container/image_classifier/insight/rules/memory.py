"""How memory grows: what GPUMemoryIncrease and HostMemoryIncrease share."""

from collections.abc import Iterator

import numpy as np

from image_classifier.insight.system import Series


def growth(series: Series) -> float:
    """Points by which the use grew from the second quarter of the samples to the last, if it grew in between as well.

    The first quarter is left out: a job takes what it needs then. Steady growth is asked for: one step up is no leak.
    """
    quarters = [float(np.mean(part)) for part in np.array_split(series.values, 4)]
    parts = np.diff(quarters[1:])
    return float(parts.sum()) if (parts > 0.25 * parts.sum()).all() else 0.0


def jumps(series: Series, window: int) -> Iterator[tuple[int, float]]:
    """AWS's measure, sample by sample: mean of the last `window` values less that of the window one sample before."""
    values = series.values
    for end in range(window + 1, len(values) + 1):
        yield end, float(values[end - window : end].mean() - values[end - window - 1 : end - 2].mean())
