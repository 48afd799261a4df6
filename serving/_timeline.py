"""The timeline of a card: events as things that happened, newest first."""

import json
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from typing import Any

from nextbest.columns import (
    ANONYMOUS_ID,
    CHANNEL,
    CONTACT_ID,
    EVENT,
    ITEM_ID,
    ORDER_COMPLETED,
    ORDER_ID,
    ORDER_REFUNDED,
    TIMESTAMP,
)
from serving.card_schemas import Happened, HappenedItem

Row = dict[str, Any]
Title = Callable[[str], str | None]
ITEMS = 12
TOGETHER = timedelta(minutes=1)
"""Looks of one kind, each so soon after the one before, are one thing."""
SEEN = ("product_viewed", "recommendation_viewed")
ORDERS = (ORDER_COMPLETED, ORDER_REFUNDED)


def timeline(events: Iterable[Row], title: Title, most: int) -> list[Happened]:
    """Return the latest things that happened. events: oldest first; title: of an item_id."""
    groups: list[list[Row]] = []
    orders: dict[tuple[str, str], list[Row]] = {}
    for event in events:
        key = (event[EVENT], event[ORDER_ID]) if event[EVENT] in ORDERS and event[ORDER_ID] else None
        if key is not None and key in orders:
            orders[key].append(event)
        elif groups and _goes_on(groups[-1][-1], event):
            groups[-1].append(event)
        else:
            groups.append([event])
            if key is not None:
                orders[key] = groups[-1]
    return [_happened(group, title) for group in reversed(groups[-most:])]


def _goes_on(last: Row, event: Row) -> bool:
    return (
        event[EVENT] in SEEN
        and event[EVENT] == last[EVENT]
        and event.get(CONTACT_ID) == last.get(CONTACT_ID)
        and event[TIMESTAMP] - last[TIMESTAMP] <= TOGETHER
    )


def _happened(group: Sequence[Row], title: Title) -> Happened:
    first = group[0]
    lines = sorted((event for event in group if event[ITEM_ID]), key=_amount, reverse=True)
    ordered = first[EVENT] in ORDERS
    return Happened(
        at=first[TIMESTAMP],
        event=first[EVENT],
        who=first.get(CONTACT_ID) or first[ANONYMOUS_ID],
        times=len(group),
        items=[_item(line, title) for line in _distinct(lines)[:ITEMS]],
        order_id=first[ORDER_ID],
        total=sum(map(_amount, lines)) if ordered and any(e["price"] is not None for e in lines) else None,
        currency=first["currency"],
        channel=first[CHANNEL],
        campaign_id=first["campaign_id"],
        url=first["url"],
        query=_query(first),
    )


def _distinct(lines: Sequence[Row]) -> list[Row]:
    """Return one line an item."""
    return list({line[ITEM_ID]: line for line in reversed(lines)}.values())[::-1]


def _item(line: Row, title: Title) -> HappenedItem:
    return HappenedItem(
        item_id=line[ITEM_ID], title=title(line[ITEM_ID]), quantity=line["quantity"], price=line["price"]
    )


def _amount(line: Row) -> float:
    quantity = line["quantity"]
    return float(line["price"] or 0.0) * (1.0 if quantity is None else float(quantity))


def _query(event: Row) -> str | None:
    properties = event.get("properties")
    try:
        said = json.loads(properties).get("query") if properties else None
    except (ValueError, AttributeError):  # no JSON, or no object
        return None
    return said if isinstance(said, str) else None
