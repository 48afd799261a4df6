"""Events made ready for the feature tables: whose they are, when in seconds, what of, what they are worth."""

from collections.abc import Sequence
from typing import Any

import ibis
import pandas as pd
import pyarrow as pa

from nextbest.columns import CATEGORY_DEPTH, HALF_LIVES, ORDER_COMPLETED

EPOCH = ibis.timestamp("1970-01-01 00:00:00", timezone="UTC")

KNOWN_COLUMNS = (
    "event_id", "event", "timestamp", "seconds", "contact_id", "anonymous_id", "item_id", "path", "category",
    "lead", "amount", "price", "channel", "url", "campaign_id", "message_id",
)  # fmt: skip


def known(events: Any, identities: Any, paths: Any) -> Any:
    """Return the events with KNOWN_COLUMNS.

    `contact_id`: the event's own, else the one its anonymous_id is linked to, visits before the link too.
    `lead`: False on all lines of an order but the first by (timestamp, event_id). `amount`: price * quantity,
    no price 0, no quantity 1.
    identities: anonymous_id, linked_id. paths: item_id, path, category (`category_paths`).
    """
    linked = events.left_join(identities, "anonymous_id", rname="{name}_linked")
    linked = linked.mutate(contact_id=ibis.coalesce(linked.contact_id, linked.linked_id))
    pathed = linked.left_join(paths, "item_id", rname="{name}_path")
    order = ibis.window(
        group_by=[pathed.event, pathed.contact_id, pathed.order_id],
        order_by=[pathed.timestamp, pathed.event_id],
    )
    return pathed.mutate(
        seconds=pathed.timestamp.delta(EPOCH, unit="microsecond").cast("float64") / 1e6,
        lead=(pathed.event != ORDER_COMPLETED)
        | pathed.order_id.isnull()
        | (ibis.row_number().over(order) == 0),
        amount=pathed.price.fill_null(0.0) * pathed.quantity.fill_null(1.0),
    ).select(*KNOWN_COLUMNS)


def category(path: str) -> str:
    """Return the levels of a category path that affinities look at."""
    return "/".join(path.split("/")[:CATEGORY_DEPTH])


def category_paths(items: pd.DataFrame) -> pa.Table:
    """Return item_id, path and category (its first levels) of the items that have a category."""
    held = items.loc[items["category"].notna() & (items["category"] != ""), ["item_id", "category"]]
    paths = held["category"].astype(str)
    columns = (held["item_id"].astype(str), paths, paths.map(category))
    return pa.table([pa.array(c, pa.string()) for c in columns], names=["item_id", "path", "category"])


def links(identities: pd.DataFrame) -> pa.Table:
    """Return anonymous_id → linked_id, the latest link of each."""
    latest = identities.sort_values("timestamp").drop_duplicates("anonymous_id", keep="last")
    columns = (latest["anonymous_id"], latest["contact_id"])
    return pa.table(
        [pa.array(c.astype(str), pa.string()) for c in columns], names=["anonymous_id", "linked_id"]
    )


def growth(seconds: Any, half_life_days: int, reference: float) -> Any:
    """Return 2^((t - reference)/half-life): the weight that makes a decayed count a cumulative sum.

    Within 19 years of the reference on either side the sums stay in the range of doubles (2^±991 at 7 days).
    """
    return ibis.literal(2.0) ** ((seconds - reference) / (half_life_days * 86_400.0))


def running(group_by: Sequence[str]) -> Any:
    """Return the window over all rows of the group up to this one, by timestamp (unique within a group)."""
    return ibis.window(group_by=list(group_by), order_by="timestamp", rows=(None, 0))


def decayed_sum(table: Any, column: str, half_life_days: int, reference: float, window: Any) -> Any:
    """Return the decayed sum of a column at each row's `seconds`, events of that moment included."""
    weight = growth(table.seconds, half_life_days, reference)
    return (table[column] * weight).sum().over(window) / weight


def span_name(half_life_days: int | None) -> str:
    """Return "7d", "30d" … or "total"."""
    return "total" if half_life_days is None else f"{half_life_days}d"


SPANS = (*HALF_LIVES, None)
"""Half-lives in days; None: without decay."""
