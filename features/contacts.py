"""Contacts: a row for each moment at which something happened to one, and the features that follow."""

from collections.abc import Mapping
from math import nan
from typing import Any

import ibis
import numpy as np

from features._known import SPANS, decayed_sum, running, span_name
from features.decay import DAY, aged
from nextbest.columns import (
    AS_OF,
    CONTACT_ID,
    COUNTER_COLUMNS,
    COUNTERS,
    FIRST_TIMES,
    LAST_TIMES,
    ORDER_COMPLETED,
    ORDER_REFUNDED,
    POINTS,
    TIME_COLUMNS,
    TIMESTAMP,
)


def contact_rows(events: Any, rules: Any, as_of: int, reference: float) -> Any:
    """Return a row for each (contact, moment): COUNTER_COLUMNS valued at that moment, TIME_COLUMNS, as_of.

    `events` as made by features._known.known; `rules`: features.points.Rules; `reference`: epoch seconds
    within 19 years of every event.
    """
    moments = _moments(events, rules)
    window = running([CONTACT_ID])
    columns = {
        f"{counter}_{span_name(h)}": (
            moments[_base(counter, h)].sum().over(window)
            if h is None
            else decayed_sum(moments, _base(counter, h), h, reference, window)
        )
        for counter in (*COUNTERS, POINTS)
        for h in SPANS
    }
    columns |= {name: moments[_flag(kinds)].min().over(window) for name, kinds in FIRST_TIMES.items()}
    columns |= {name: moments[_flag(kinds)].max().over(window) for name, kinds in LAST_TIMES.items()}
    rows = moments.mutate(**columns, **{AS_OF: ibis.literal(as_of).cast("int64")})
    return rows.select(CONTACT_ID, TIMESTAMP, AS_OF, *COUNTER_COLUMNS, *TIME_COLUMNS)


def derive(row: Mapping[str, Any], now: Any) -> dict[str, Any]:
    """Return CONTACT_FEATURES at `now` (epoch seconds) from a row's counters and times.

    The one function for training (arrays, one value a contact) and serving (floats). Counters were valued at
    `last_seen`; a `now` before it counts as it. Unknown is NaN; a trend is the rate of the last weeks over
    that of the last year (1: steady).
    """
    features = aged(row, _not_negative(now - row["last_seen"]))
    recency = (now - row["last_order"]) / DAY
    orders = features["orders_total"]
    gap = _ratio((row["last_order"] - row["first_order"]) / DAY, orders - 1.0)
    return features | {
        "recency_days": recency,
        "tenure_days": (now - row["first_seen"]) / DAY,
        "seen_days": (now - row["last_seen"]) / DAY,
        "viewed_days": (now - row["last_view"]) / DAY,
        "order_gap_days": gap,
        "recency_over_gap": _ratio(recency, gap),
        "average_order": _ratio(features["spend_total"], orders),
        "lines_per_order": _ratio(features["lines_total"], orders),
        "orders_trend": _ratio(features["orders_30d"] * 365.0, features["orders_365d"] * 30.0),
        "spend_trend": _ratio(features["spend_30d"] * 365.0, features["spend_365d"] * 30.0),
        "open_rate_90d": _ratio(features["opens_90d"], features["sent_90d"]),
        "click_rate_90d": _ratio(features["clicks_90d"], features["sent_90d"]),
    }


def _not_negative(age: Any) -> Any:
    return max(0.0, age) if isinstance(age, float) else np.fmax(age, 0.0)  # of NaN: 0


def _ratio(top: Any, bottom: Any) -> Any:
    """Return top / bottom, NaN where bottom is not above zero; floats or arrays."""
    if isinstance(bottom, float):
        return top / bottom if bottom > 0 else nan
    return np.divide(top, bottom, out=np.full(np.shape(bottom), nan), where=np.asarray(bottom) > 0)


def _moments(events: Any, rules: Any) -> Any:
    """Sum what happened to a contact at one moment."""
    owned = events.filter(events.contact_id.notnull())
    owned = owned.mutate(**{_base(POINTS, h): rules.expression(owned, h) for h in SPANS})
    sums = {_base(counter, None): _sum_of(owned, counter) for counter in COUNTERS}
    sums |= {_base(POINTS, h): owned[_base(POINTS, h)].sum() for h in SPANS}
    flags = {_flag(kinds): kinds for kinds in (*FIRST_TIMES.values(), *LAST_TIMES.values())}
    times = {
        name: (
            owned.seconds
            if kinds is None
            else owned.event.isin(kinds).ifelse(owned.seconds, ibis.null("float64"))
        ).max()
        for name, kinds in flags.items()
    }
    grouped = owned.group_by([CONTACT_ID, TIMESTAMP])
    return grouped.aggregate(seconds=owned.seconds.max(), **sums, **times)


def _sum_of(events: Any, counter: str) -> Any:
    kinds = COUNTERS[counter]
    if counter == "spend":
        sign = (events.event == ORDER_COMPLETED).cast("float64") - (events.event == ORDER_REFUNDED).cast(
            "float64"
        )
        return (sign * events.amount).sum()
    found = events.event.isin(kinds)
    return (found & events.lead if counter == "orders" else found).cast("float64").sum()


def _base(counter: str, half_life_days: int | None) -> str:
    """Name the sum at a moment; points differ by half-life, other counters do not."""
    return f"sum_{counter}_{span_name(half_life_days)}" if counter == POINTS else f"sum_{counter}"


def _flag(kinds: tuple[str, ...] | None) -> str:
    return "time_" + ("any" if kinds is None else "_".join(kinds))
