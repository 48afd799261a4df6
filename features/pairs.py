"""Pairs: contact × item and contact × category, a row for each moment something happened between them.

What counts is the order line: the same item on two lines of an order counts twice, here and in features.fold.
Refunds do not change a pair.
"""

from typing import Any

import ibis

from features._known import decayed_sum, running
from nextbest.columns import CART_EVENTS, COUNTERS, ORDER_COMPLETED

ITEM_SPANS = (30, 90, 365)
CATEGORY_HALF_LIFE = 90
ITEM_PAIR_COLUMNS = (
    "repeat_30d", "repeat_90d", "repeat_365d", "repeat_count", "repeat_first", "repeat_last", "viewed_last",
    "cart_added", "cart_removed",
)  # fmt: skip
CATEGORY_ROW_COLUMNS = ("category_90d", "category_last")


def item_rows(events: Any, reference: float) -> Any:
    """Return (contact_id, item_id, timestamp) rows with ITEM_PAIR_COLUMNS; times are seconds or null.

    A pair that was only looked at, or put into the cart, has repeat_count 0. Arguments as of
    features.contacts.contact_rows.
    """
    moments = item_moments(events.filter(events.contact_id.notnull()), "contact_id")
    window = running(["contact_id", "item_id"])
    rows = moments.mutate(
        **{f"repeat_{h}d": decayed_sum(moments, "lines", h, reference, window) for h in ITEM_SPANS},
        repeat_count=moments.lines.sum().over(window),
        repeat_first=moments.bought_at.min().over(window),
        repeat_last=moments.bought_at.max().over(window),
        viewed_last=moments.viewed_at.max().over(window),
        cart_added=moments.added_at.max().over(window),
        cart_removed=moments.removed_at.max().over(window),
    )
    return rows.drop("lines", "bought_at", "viewed_at", "added_at", "removed_at", "seconds")


def category_rows(events: Any, reference: float) -> Any:
    """Return (contact_id, category, timestamp) rows with CATEGORY_ROW_COLUMNS, of the lines bought."""
    lines = events.filter(
        (events.event == ORDER_COMPLETED) & events.contact_id.notnull() & events.category.notnull()
    )
    moments = lines.group_by(["contact_id", "category", "timestamp"]).aggregate(
        seconds=lines.seconds.max(), lines=lines.count().cast("float64")
    )
    window = running(["contact_id", "category"])
    rows = moments.mutate(
        category_90d=decayed_sum(moments, "lines", CATEGORY_HALF_LIFE, reference, window),
        category_last=moments.seconds,
    )
    return rows.drop("lines", "seconds")


def item_moments(events: Any, owner: str) -> Any:
    """Sum what happened between an owner and an item at one moment.

    lines, and bought_at, viewed_at, added_at, removed_at, null where it was something else.
    """
    kinds = (ORDER_COMPLETED, *COUNTERS["views"], *CART_EVENTS)
    held = events.filter(events.event.isin(kinds) & events.item_id.notnull())

    def at(*names: str) -> Any:
        return held.event.isin(names).ifelse(held.seconds, ibis.null("float64")).max()

    return held.group_by([owner, "item_id", "timestamp"]).aggregate(
        seconds=held.seconds.max(),
        lines=(held.event == ORDER_COMPLETED).cast("float64").sum(),
        bought_at=at(ORDER_COMPLETED),
        viewed_at=at(*COUNTERS["views"]),
        added_at=at("product_added"),
        removed_at=at("product_removed"),
    )
