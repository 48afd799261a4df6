"""SIMULATED walks: a made-up shop whose paths and what comes of them are known, to see that they are found.

Nothing here is data. Every contact walks one of WALKS at a time, chosen by weight, weeks apart, and orders an
item of its category an hour after the last step with the chance given. Every event says {"simulated": true}.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd

from nextbest.columns import EVENT_COLUMNS, ITEM_COLUMNS, ORDER_COMPLETED

CATEGORIES = {"shoes": 4, "hats": 3}
"""Category -> its items, "shoes-0" …; half of the orders are of the first."""
APART = timedelta(days=40)
"""Between two walks of a contact: longer than any pause within a path."""


@dataclass(frozen=True)
class Walk:
    """Steps in order ("event" or "event:category"), and what comes of them."""

    steps: tuple[str, ...]
    chance: float
    """That an order follows."""
    category: str
    weight: float


WALKS = (
    Walk(("product_viewed:shoes", "product_added:shoes"), 0.6, "shoes", 0.2),
    Walk(("product_viewed:shoes", "products_searched"), 0.05, "shoes", 0.2),
    Walk(("message_opened", "product_viewed:hats"), 0.3, "hats", 0.2),
    Walk(("product_viewed:hats",), 0.1, "hats", 0.2),
    Walk(("page_viewed",), 0.02, "hats", 0.2),
)


def simulated_items() -> pd.DataFrame:
    """Return the shop's items, ITEM_COLUMNS."""
    rows = [(f"{name}-{n}", name, 10.0 + n) for name, count in CATEGORIES.items() for n in range(count)]
    items = pd.DataFrame(rows, columns=["item_id", "category", "price"])
    return items.assign(title=items["item_id"], in_stock=True).reindex(columns=list(ITEM_COLUMNS))


def simulate_walks(
    contacts: int, walks: int, until: datetime, seed: int, plan: Sequence[Walk] = WALKS
) -> pd.DataFrame:
    """Return canonical events of contacts who walk so many times each in the time before `until`."""
    random = np.random.default_rng(seed)
    weights = np.array([walk.weight for walk in plan])
    rows: list[dict[str, Any]] = []
    for contact in range(contacts):
        start = until - APART * walks - timedelta(hours=float(random.uniform(0, 200)))
        for number in range(walks):
            walk = plan[int(random.choice(len(plan), p=weights / weights.sum()))]
            who = f"simulated-{contact:04d}"
            rows += _walked(who, f"{who}-{number}", walk, start + APART * number, random)
    frame = pd.DataFrame(rows).reindex(columns=list(EVENT_COLUMNS))
    frame["event_id"] = [f"simulated-walk-{number}" for number in range(len(frame))]
    frame["properties"] = json.dumps({"simulated": True})
    return frame.assign(received_at=frame["timestamp"])


def _walked(
    contact: str, order: str, walk: Walk, start: datetime, random: np.random.Generator
) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for place, step in enumerate(walk.steps):
        event, _, category = step.partition(":")
        item = _item(category, random) if category else None
        at = start + timedelta(minutes=10 * place)
        rows.append({"event": event, "timestamp": at, "contact_id": contact, "item_id": item})
    if random.random() < walk.chance:
        line = {"order_id": order, "item_id": _item(walk.category, random), "quantity": 1.0, "price": 10.0}
        at = start + timedelta(minutes=10 * len(walk.steps) + 60)
        rows.append({"event": ORDER_COMPLETED, "timestamp": at, "contact_id": contact, **line})
    return rows


def _item(category: str, random: np.random.Generator) -> str:
    number = 0 if random.random() < 0.5 else int(random.integers(0, CATEGORIES[category]))
    return f"{category}-{number}"
