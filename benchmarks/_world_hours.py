"""Hours of the week in the simulated world: when people answer, and when the usual policy sends."""

import numpy as np
import numpy.typing as npt

from benchmarks._world_settings import HOUR, START, Channel

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

ARCHETYPES = ("commuter", "evening", "office")
SENDING = np.arange(8, 22)
"""Local hours at which the usual policy sends."""
HOUR_OF_DAY = np.arange(168) % 24


def tastes() -> Floats:
    """Return what each hour of the week adds to the log-odds of an answer, shape (ARCHETYPES, 168).

    Hours are local, from Monday midnight; the mean over the sending hours is zero.
    """
    weekend = np.arange(168) >= 120
    commuter = np.where(weekend, _bump(11, 3.0), 1.7 * _bump(7.5, 1.3) + 1.7 * _bump(18, 1.5))
    evening = 1.9 * _bump(20.5, 1.8) + np.where(weekend, 0.6 * _bump(11, 3.0), 0.0)
    office = np.where(weekend, 0.4 * _bump(12, 4.0), 1.6 * _bump(11, 2.0) + 1.2 * _bump(15, 2.0))
    table = np.stack([commuter, evening, office]) - np.where((HOUR_OF_DAY < 7) | (HOUR_OF_DAY > 22), 1.5, 0.0)
    return table - table[:, np.isin(HOUR_OF_DAY, SENDING)].mean(axis=1, keepdims=True)


def usual(channel: Channel) -> Floats:
    """Return P(local hour) under the usual policy, shape (24,): business hours, none of them quiet."""
    hours = np.arange(24)
    open_hours = np.isin(hours, SENDING) & ~quiet_hours(channel)
    weight = np.where(open_hours, 1.0 + 2.0 * np.exp(-(((hours - 10) / 2.0) ** 2)), 0.0)
    return weight / weight.sum()


def quiet_hours(channel: Channel) -> npt.NDArray[np.bool_]:
    """Return which local hours are quiet, shape (24,)."""
    return np.array([channel.quiet(hour) for hour in range(24)])


def week_hour(at: Floats, offset: Ints) -> Ints:
    """Return the local hour of the week, 0 to 167; at: epoch seconds, offset: hours east of UTC."""
    return (np.floor((at - START) / HOUR).astype(np.int64) + offset) % 168


def next_at(at: Floats, offset: Ints, hour: Ints) -> Floats:
    """Return the first moment from `at` on that lies in a local hour; `at` itself where it already does."""
    wait = (hour - week_hour(at, offset) % 24) % 24
    whole = START + np.floor((at - START) / HOUR) * HOUR
    return np.where(wait == 0, at, whole + wait * HOUR)


def _bump(centre: float, width: float) -> Floats:
    away = np.abs(HOUR_OF_DAY + 0.5 - centre)
    return np.exp(-0.5 * (np.minimum(away, 24 - away) / width) ** 2)
