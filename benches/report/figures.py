"""Numbers as they are shown: three significant figures, in the unit that suits them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median

TIMES = ((1e-6, 1e9, "ns"), (1e-3, 1e6, "µs"), (1.0, 1e3, "ms"), (math.inf, 1.0, "s"))


def number(value: float) -> str:
    """Return a number with three significant figures; whole ones are not cut short."""
    if value == 0:
        return "0"
    whole = math.floor(math.log10(abs(value))) + 1
    return f"{value:,.{max(0, 3 - whole)}f}"


def to_three_figures(value: float) -> float:
    """Return the number that is meant by the three figures shown."""
    return float(f"{value:.3g}")


def unit_for(seconds: float) -> tuple[float, str]:
    """Return the factor and the name of the unit that suits so many seconds."""
    return next((factor, unit) for below, factor, unit in TIMES if abs(seconds) < below)


def shown(value: float, unit: str) -> str:
    """Return a value with its unit: "s" is scaled, "bytes" and "count" stand by themselves."""
    if unit != "s":
        return number(value)
    factor, name = unit_for(value)
    return f"{number(value * factor)} {name}"


def with_range(values: Sequence[float], unit: str) -> str:
    """Return the middle one, and the lowest and the highest if there are several."""
    middle = median(values)
    factor, name = unit_for(middle) if unit == "s" else (1.0, "")
    text = f"{number(middle * factor)} {name}".strip()
    if len(values) == 1:
        return text
    return f"{text} ({number(min(values) * factor)}–{number(max(values) * factor)})"
