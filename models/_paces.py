"""Paces: how fast a contact has been buying lately, over what its whole history lets expect.

A decayed count with half-life h settles at rate x h / ln 2; of a contact seen for T days it holds the share
1 - 2^(-T/h) of that. So count x ln 2 / h / (1 - 2^(-T/h)) is a rate free of the start of the data, and its
ratio to the expected rate says whether the contact is speeding up (above 1) or slowing down.
"""

import numpy as np
import pandas as pd

from models._frame import floats, orders
from models.base import Floats
from nextbest.columns import HALF_LIVES

PACES = tuple(f"{counter}_pace_{h}d" for counter in ("orders", "spend") for h in HALF_LIVES)
LEAST_DAYS = 7.0
"""Contacts seen for less count as seen for this long."""


def paces(frame: pd.DataFrame, orders_a_day: Floats, spend_a_day: Floats) -> Floats:
    """Return PACES, shape (rows, PACES), given what is expected a day; NaN where nothing is expected."""
    seen = np.fmax(_days_seen(frame), LEAST_DAYS)
    columns = []
    for counter, expected in (("orders", orders_a_day), ("spend", spend_a_day)):
        known = np.where(expected > 0, expected, np.nan)
        columns += [_rate(floats(frame, f"{counter}_{h}d"), seen, h) / known for h in HALF_LIVES]
    return np.column_stack(columns)


def _days_seen(frame: pd.DataFrame) -> Floats:
    """Return the days since the first order."""
    gap = np.fmax(np.nan_to_num(floats(frame, "order_gap_days")), 0.0)
    return np.fmax(orders(frame) - 1, 0.0) * gap + np.fmax(floats(frame, "recency_days"), 0.0)


def _rate(count: Floats, seen: Floats, half_life: int) -> Floats:
    held = -np.expm1(-seen * np.log(2) / half_life)
    return np.fmax(count, 0.0) * np.log(2) / half_life / held
