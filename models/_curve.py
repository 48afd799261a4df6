"""Reading a survival curve: days by which something has come, and the probability that it has not."""

from collections.abc import Sequence

import numpy as np

from models.base import Floats

HORIZONS = (7, 14, 30, 60, 90, 180, 365)
"""Days at which the curve is learned, as far as the data reach, and read."""


def waits_of(curve: Floats, shares: Sequence[float]) -> Floats:
    """Return the days by which an order has come with each probability, shape (rows, shares).

    curve: P(no order within each of HORIZONS). Between horizons the rate is constant; NaN beyond the last.
    """
    days = np.array([0.0, *HORIZONS])
    logs = np.log(np.maximum(np.column_stack([np.ones(len(curve)), curve]), 1e-12))
    out = np.full((len(curve), len(shares)), np.nan)
    for column, share in enumerate(shares):
        wanted = np.log1p(-share)
        reached = logs <= wanted
        rows = np.flatnonzero(reached[:, -1])
        after = reached[rows].argmax(axis=1)
        upper, lower = logs[rows, after - 1], logs[rows, after]
        step = (upper - wanted) / np.maximum(upper - lower, 1e-12)
        out[rows, column] = days[after - 1] + step * (days[after] - days[after - 1])
    return out


def none_at(curve: Floats, days: float) -> Floats:
    """Return P(no order within days) off the curve, shape (rows,); beyond its end it is the end's."""
    grid = np.array([0.0, *HORIZONS])
    logs = np.log(np.maximum(np.column_stack([np.ones(len(curve)), curve]), 1e-12))
    after = min(int(np.searchsorted(grid, days)), len(HORIZONS))
    share = min((days - grid[after - 1]) / (grid[after] - grid[after - 1]), 1.0) if after else 0.0
    return np.exp(logs[:, max(after - 1, 0)] * (1 - share) + logs[:, after] * share)
