"""Decayed counters: a count with half-life h at time t is the sum of 2^-((t - t_i)/h) over its events.

Its value at any later t is one multiplication and an event more is one addition, so batch, live and
point-in-time all use `factor`.
"""

from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from nextbest.columns import COUNTER_COLUMNS, HALF_LIVES

DAY = 86_400.0
"""Seconds."""

_SPAN_OF = {name: name.rpartition("_")[2] for name in COUNTER_COLUMNS}

Number = TypeVar("Number", float, npt.NDArray[np.float64])


def factor(age: Number, half_life_days: float) -> Number:
    """Return 2^-(age / half-life), the weight of what happened `age` seconds ago."""
    return 2.0 ** (-age / (half_life_days * DAY))


def aged(counters: Mapping[str, Any], age: Any) -> dict[str, Any]:
    """Return COUNTER_COLUMNS valued `age` seconds later; floats or arrays."""
    kept = {f"{half_life}d": factor(age, half_life) for half_life in HALF_LIVES} | {"total": 1.0}
    return {name: counters[name] * kept[span] for name, span in _SPAN_OF.items()}
