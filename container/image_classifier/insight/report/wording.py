"""How numbers are said: one place, so that a sentence, a table and a chart say the same number the same way."""

import math
from collections.abc import Sequence

SPACE = "\N{NO-BREAK SPACE}"
DASH = "\N{EN DASH}"  # nothing to say


def percent(share: float) -> str:
    """0.8437 as 84.4 %."""
    return f"{100 * share:.1f}{SPACE}%" if math.isfinite(share) else "not a number"


def number(value: float | None) -> str:
    """Three significant digits; thousands with a separator; a dash for nothing."""
    if value is None:
        return DASH
    if not math.isfinite(value):
        return "not a number" if math.isnan(value) else "infinite"
    if value and not 1e-3 <= abs(value) < 1e6:
        return f"{value:.2e}"
    if abs(value) >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.3g}"


def duration(seconds: float) -> str:
    """A stretch of time in its two largest units."""
    if seconds < 1:
        return f"{1000 * seconds:.3g}{SPACE}ms"
    if seconds < 60:
        return f"{seconds:.3g}{SPACE}s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}{SPACE}min {rest}{SPACE}s"
    return f"{minutes // 60}{SPACE}h {minutes % 60}{SPACE}min"


def count(amount: int, one: str, many: str = "") -> str:
    """1 picture, 2 pictures."""
    return f"{amount:,} {one if amount == 1 else many or one + 's'}"


def quoted(name: str) -> str:
    """A name that may be several words, or look like a sentence."""
    return f"\N{LEFT DOUBLE QUOTATION MARK}{name}\N{RIGHT DOUBLE QUOTATION MARK}"


def sentence(text: str) -> str:
    """Text that ends as a sentence does."""
    return text if text.endswith((".", "!", "?")) else f"{text}."


def listed(names: Sequence[str], shown: int = 6) -> str:
    """A, B and C; or A, B and 4 more."""
    if len(names) > shown:
        return f"{', '.join(names[: shown - 1])} and {len(names) - shown + 1} more"
    return " and ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))
