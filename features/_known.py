"""Events made ready for the feature tables: whose they are, when in seconds, what of, what they are worth."""

from collections.abc import Sequence
from typing import Any

import ibis
import pandas as pd
import pyarrow as pa

from features.events._identity import Graph
from nextbest.columns import CATEGORY_DEPTH, HALF_LIVES, ORDER_COMPLETED

EPOCH = ibis.timestamp("1970-01-01 00:00:00", timezone="UTC")

KNOWN_COLUMNS = (
    "event_id", "event", "timestamp", "seconds", "contact_id", "anonymous_id", "item_id", "path", "category",
    "lead", "amount", "price", "channel", "url", "campaign_id", "message_id", "visit",
)  # fmt: skip


def known(events: Any, links: Any, merges: Any, paths: Any) -> Any:
    """Return the events with KNOWN_COLUMNS.

    `contact_id`: the person's, by the event's own, else by its anonymous_id, visits before the link too
    (features.events._identity says whose an id is).
    `lead`: False on all lines of an order but the first by (timestamp, event_id). `amount`: price * quantity,
    no price 0, no quantity 1. `visit`: it carried no contact id.
    links: `link_rows`. merges: `merge_rows`. paths: item_id, path, category (`category_paths`).
    """
    merged = events.left_join(merges, [("contact_id", "earlier_id")])
    linked = merged.left_join(links, "anonymous_id", rname="{name}_linked")
    theirs = linked.linked_until.isnull() | (linked.timestamp <= linked.linked_until)
    owner = theirs.ifelse(linked.linked_id, ibis.null("string"))
    linked = linked.mutate(
        contact_id=ibis.coalesce(linked.merged_id, linked.contact_id, owner), visit=linked.contact_id.isnull()
    )
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


def link_rows(graph: Graph) -> pa.Table:
    """Return anonymous_id → linked_id, up to linked_until (null: always)."""
    owners = sorted(graph.owners().items())
    columns = {
        "anonymous_id": pa.array([anonymous for anonymous, _ in owners], pa.string()),
        "linked_id": pa.array([contact for _, (contact, _) in owners], pa.string()),
        "linked_until": pa.array([until for _, (_, until) in owners], pa.timestamp("us", "UTC")),
    }
    return pa.table(columns)


def merge_rows(graph: Graph) -> pa.Table:
    """Return earlier_id → merged_id, of contacts that are another's earlier id."""
    merged = sorted(graph.merged().items())
    columns = [pa.array([pair[i] for pair in merged], pa.string()) for i in (0, 1)]
    return pa.table(columns, names=["earlier_id", "merged_id"])


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
