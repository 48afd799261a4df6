"""Decayed counters: a count with half-life h at time t is the sum of 2^-((t - t_i)/h) over its events.

Its value at any later t is one multiplication and an event more is one addition, so batch, live and
point-in-time all use `factor`.
"""

from typing import TypeVar

import numpy as np
import numpy.typing as npt

DAY = 86_400.0
"""Seconds."""

Number = TypeVar("Number", float, npt.NDArray[np.float64])


def factor(age: Number, half_life_days: float) -> Number:
    """Return 2^-(age / half-life), the weight of what happened `age` seconds ago."""
    return 2.0 ** (-age / (half_life_days * DAY))
