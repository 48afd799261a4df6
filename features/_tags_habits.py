"""Habits of the clock: hours and weekdays at which somebody is there more than chance and the others explain.

Of a contact's n active hours, k lie in a window. The window is a habit where P(Binomial(n, p) >= k), times
the windows looked at (Bonferroni), is at most LEVEL; p is the window's share of the clock, or of everybody's
active hours where that is more: a shop that is open by day makes nobody's habit. It is the exact binomial
test (Clopper and Pearson 1934).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import binom

Floats = npt.NDArray[np.float64]
HOURS, DAYS = 24, 7
WIDTH = 3
"""Hours of a window."""
LEVEL = 0.05
LEAST = 5
"""Active hours, or days, below which nothing is said."""
DAY_NAMES = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


@dataclass(frozen=True)
class Habits:
    """Names of the windows of each contact, their share of its activity, and how much activity that is of."""

    names: list[list[str]]
    share: Floats
    """NaN where there is no habit."""
    evidence: npt.NDArray[np.int64]


def hours(counts: Floats) -> Habits:
    """Return the habitual windows of local hours, "18-21"; counts: active hours, (contacts, 24)."""
    found = _windows(counts)
    return _habits(counts, found, lambda row: _spans(row))


def weekdays(counts: Floats) -> Habits:
    """Return the habitual days of the week; counts: active days, (contacts, 7), Monday first."""
    found = _surely(counts, counts, _expected(counts, 1), DAYS)
    return _habits(counts, found, lambda row: [DAY_NAMES[day] for day in np.flatnonzero(row)])


def _windows(counts: Floats) -> npt.NDArray[np.bool_]:
    """Return the hours of each contact's two most telling windows, where they are habits."""
    within = _sums(counts, WIDTH)
    expected, total = _expected(counts, WIDTH), counts.sum(axis=1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        excess = np.nan_to_num((within - total * expected) / np.sqrt(total * expected * (1 - expected)))
    sure = _surely(within, counts, expected, HOURS)
    hours_of = np.zeros(counts.shape, dtype=np.bool_)
    rows = np.arange(len(counts))
    left = np.where(sure, excess, -np.inf)
    for _ in range(2):
        best = left.argmax(axis=1)
        taken = np.isfinite(left[rows, best])
        for step in range(WIDTH):
            hours_of[rows[taken], (best[taken] + step) % HOURS] = True
        for step in range(1 - WIDTH, WIDTH):  # what overlaps it is no second one
            left[rows, (best + step) % HOURS] = -np.inf
    return hours_of


def _sums(counts: Floats, width: int) -> Floats:
    return np.sum([np.roll(counts, -step, axis=1) for step in range(width)], axis=0)


def _expected(counts: Floats, width: int) -> Floats:
    """Return each window's share of the clock, or of everybody's activity (contacts count alike) if more."""
    total = counts.sum(axis=1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        shares = np.nan_to_num(counts / total)[total[:, 0] >= LEAST]
    everybody = shares.mean(axis=0, keepdims=True) if len(shares) > 1 else np.zeros((1, counts.shape[1]))
    return np.clip(np.maximum(_sums(everybody, width)[0], width / counts.shape[1]), 0.0, 1.0 - 1e-9)


def _surely(within: Floats, counts: Floats, expected: Floats, looked_at: int) -> npt.NDArray[np.bool_]:
    total = counts.sum(axis=1, keepdims=True)
    chance = binom.sf(within - 1, total, expected)
    return np.asarray((total >= LEAST) & (within > 0) & (chance * looked_at <= LEVEL))


def _habits(counts: Floats, found: npt.NDArray[np.bool_], name: Any) -> Habits:
    total = counts.sum(axis=1)
    held = np.where(found, counts, 0.0).sum(axis=1)
    share = np.where(found.any(axis=1), held / np.maximum(total, 1.0), np.nan)
    return Habits([name(row) if row.any() else [] for row in found], share, total.astype(np.int64))


def _spans(row: npt.NDArray[np.bool_]) -> list[str]:
    """Return runs of hours as "18-21", one over midnight as "22-1"; by their beginning."""
    starts = np.flatnonzero(row & ~np.roll(row, 1))
    ends = np.flatnonzero(row & ~np.roll(row, -1)) + 1
    if len(ends) and ends[0] <= starts[0]:  # the last run goes over midnight
        ends = np.roll(ends, -1)
    return [f"{start}-{end % HOURS or HOURS}" for start, end in zip(starts, ends, strict=True)]
