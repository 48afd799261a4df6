"""The parts an engagement index is made of, from 0 to 1 each, out of a contact's features.

No part falls when a contact does something more now, and none rises while nothing happens (but for points
that count against somebody, which fade too).
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from models._frame import floats, matrix, orders
from models._lifecycle_rules import After, Before
from models.base import Floats
from models.rules import POINT_COLUMNS

DAY = 86_400.0
DONE = ("views", "pages", "searches", "carts", "forms", "clicks")
"""Counters of what contacts do of themselves, besides ordering."""
VISITS = ("last_view", "last_cart", "last_response", "last_order")
"""Times at which a contact itself was there; last_seen may be a message sent."""
LEAST_SENT = 3
"""Messages from which on it tells something that somebody does not respond."""
FORGET = 8.0
"""Gaps of silence that halve what the orders before it count: a great customer of last year is none now."""


def engagement(frame: pd.DataFrame, rules: Before | After) -> Floats:
    """Return the index, 0-100: the weighted mean of the parts; one that cannot be known is left out."""
    if not len(frame):
        return np.empty(0)
    values = np.stack([_value(frame, part.part, part.half, rules) for part in rules.index])
    weights = np.array([part.weight for part in rules.index])[:, None] * np.isfinite(values)
    total = weights.sum(axis=0)
    return np.asarray(100.0 * (weights * np.nan_to_num(values)).sum(axis=0) / np.where(total > 0, total, 1.0))


def _value(frame: pd.DataFrame, part: str, half: float, rules: Before | After) -> Floats:
    measure, shape = PARTS[part]
    return shape(measure(frame, rules), half)


def rise(value: Floats, half: float) -> Floats:
    """Return value / (value + half): 0 at 0 and below, half at `half`; NaN for NaN."""
    counted = np.maximum(value, 0.0)
    return np.asarray(counted / (counted + half))


def fade(value: Floats, half: float) -> Floats:
    """Return 2^-(value / half): 1 at 0 and below, half at `half`; NaN for NaN."""
    return np.asarray(2.0 ** (-np.maximum(value, 0.0) / half))


def silence(frame: pd.DataFrame, rules: After) -> Floats:
    """Return the days since the last order in gaps between a contact's own orders; infinite without one.

    The gap is the mean of its own and one typical gap, so that two orders are not yet a cadence.
    """
    repeats = np.maximum(orders(frame) - 1.0, 0.0)
    span = np.nan_to_num(floats(frame, "order_gap_days")) * repeats
    gap = np.maximum((rules.typical_gap_days + span) / (1.0 + repeats), rules.least_gap_days)
    return np.asarray(_since(floats(frame, "recency_days")) / gap)


def _frequency(frame: pd.DataFrame, rules: After) -> Floats:
    return _count(frame, "orders_365d") * fade(silence(frame, rules), FORGET)


def _freshness(frame: pd.DataFrame, rules: Any) -> Floats:
    """Days since the latest visit known; where no message was ever sent, since anything happened."""
    del rules
    seen, days = floats(frame, "seen_days"), [floats(frame, "viewed_days"), floats(frame, "recency_days")]
    days += [seen + (floats(frame, "last_seen") - floats(frame, name)) / DAY for name in VISITS]
    unasked = _count(frame, "sent_total") <= 0
    return _since(np.fmin.reduce([*days, np.where(unasked, seen, np.nan)]))


def _breadth(frame: pd.DataFrame, rules: Any) -> Floats:
    del rules
    lately = np.nan_to_num(matrix(frame, [f"{name}_30d" for name in DONE]))
    return np.asarray(np.minimum(lately, 1.0).sum(axis=1))


def _responses(frame: pd.DataFrame, rules: Any) -> Floats:
    """Opens and clicks a message; NaN where too few were ever sent to tell."""
    del rules
    sent, answered = _count(frame, "sent_90d"), _count(frame, "opens_90d", "clicks_90d")
    share = np.divide(answered, sent, out=np.zeros(len(frame)), where=sent > 0)
    return np.where(_count(frame, "sent_total") >= LEAST_SENT, share, np.nan)


def _since(days: Floats) -> Floats:
    return np.nan_to_num(days, nan=np.inf, posinf=np.inf)


def _count(frame: pd.DataFrame, *names: str) -> Floats:
    return np.asarray(np.nan_to_num(matrix(frame, names)).sum(axis=1))


def _counted(*names: str) -> Callable[[pd.DataFrame, Any], Floats]:
    return lambda frame, _: _count(frame, *names)


PARTS: Mapping[str, tuple[Callable[[pd.DataFrame, Any], Floats], Callable[[Floats, float], Floats]]] = {
    "activity": (_counted(*(f"{name}_7d" for name in DONE)), rise),
    "freshness": (_freshness, fade),
    "breadth": (_breadth, rise),
    "points": (_counted(*POINT_COLUMNS), rise),
    "carts": (_counted("carts_30d"), rise),
    "forms": (_counted("forms_90d"), rise),
    "cadence": (silence, fade),
    "frequency": (_frequency, rise),
    "trend": (_counted("orders_trend"), rise),
    "responses": (_responses, rise),
}
"""Part -> what it measures, by frame and rules of the half, and how that becomes 0 to 1."""
