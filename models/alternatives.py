"""What could be bought in an item's place: same category, most specific first, like price, like company."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from models._shelf import Floats, Rows, Shelf, shelf_of, spread
from models.base import Ranking, Reason, Shopper
from models.catalogue import Catalogue

SOURCE = "alternatives"
TOO_BROAD = 0.5
"""Share of all items from which a category says nothing of likeness."""
VIEWED = 5
"""Items seen last whose likes are looked for."""


@dataclass(frozen=True)
class AlternativesConfig:
    """What likeness is made of."""

    levels: int = 2
    """Category levels looked at: the item's own, then that many less one above it."""
    price_weight: float = 0.5
    """Part of the likeness that is price, exp(-|log price ratio|); the rest is the cosine."""
    sales_weight: float = 0.25
    """Part of the score that is sales, log over log of the most sold: what nobody buys replaces nothing."""


def alternatives(
    catalogue: Catalogue,
    item_id: str,
    k: int,
    cosines: Mapping[str, float] | None = None,
    config: AlternativesConfig | None = None,
) -> Ranking:
    """Return at most k items of the same category, else of the one above, most alike first; never the item.

    `cosines` by item_id (one that is missing counts as 0) are how alike the items' places in sequences are.
    Empty for an item that is unknown or without a category. Each level down the category's path adds 1 to
    the score; likeness and sales (together 0 to 1) are the rest.
    """
    config, shelf = config or AlternativesConfig(), shelf_of(catalogue)
    row = catalogue.index.get(item_id)
    levels = [] if row is None else _levels(shelf, str(catalogue.paths[row]), config.levels)
    if row is None or not levels:
        return Ranking([], np.empty(0), [], SOURCE)
    rows, depth = _rows(shelf, row, levels)
    likeness = _likeness(catalogue, row, rows, cosines or {}, config)
    sold = np.log1p(np.maximum(shelf.statistic("sold_90d")[rows], 0.0))
    sold /= max(float(sold.max(initial=0.0)), 1e-9)
    scores = depth + (1.0 - config.sales_weight) * likeness + config.sales_weight * sold
    order = np.lexsort((shelf.name_order[rows], -scores))[:k]
    best = rows[order]
    return Ranking(
        [str(item) for item in catalogue.item_ids[best]],
        scores[order],
        [Reason("similar_to", shared(catalogue, row, int(other), cosines)) for other in best],
        SOURCE,
    )


def like_viewed(
    shopper: Shopper,
    catalogue: Catalogue,
    k: int,
    likes: Mapping[str, Mapping[str, float]] | None = None,
) -> Ranking:
    """Return likes of what was seen last, the latest item's first in every round; none that was seen.

    `likes`: cosines by viewed item, as `alternatives` takes them.
    """
    seen = list(dict.fromkeys(shopper.viewed_items))
    lists = [alternatives(catalogue, item, k, (likes or {}).get(item)).item_ids for item in seen[:VIEWED]]
    chosen: dict[str, str] = {}
    for round_ in range(max(map(len, lists), default=0)):
        for viewed, items in zip(seen, lists, strict=False):
            if round_ < len(items) and items[round_] not in seen:
                chosen.setdefault(items[round_], viewed)
    items = list(chosen)[:k]
    reasons = [Reason("because_you_viewed", {"item_id": chosen[item]}) for item in items]
    return Ranking(items, 1.0 / np.arange(1.0, len(items) + 1.0), reasons, "viewed")


def shared(
    catalogue: Catalogue, row: int, other: int, cosines: Mapping[str, float] | None = None
) -> dict[str, Any]:
    """Say what two items share: the category path common to both, the price ratio, the cosine if known."""
    ratio = float(catalogue.prices[other] / catalogue.prices[row]) if catalogue.prices[row] > 0 else np.nan
    because: dict[str, Any] = {
        "item_id": str(catalogue.item_ids[row]),
        "category": _common(str(catalogue.paths[row]), str(catalogue.paths[other])),
        "price_ratio": round(ratio, 2) if np.isfinite(ratio) else None,
    }
    cosine = (cosines or {}).get(str(catalogue.item_ids[other]))
    return because if cosine is None else {**because, "cosine": round(float(cosine), 3)}


def leaves(catalogue: Catalogue, item_ids: Sequence[str]) -> frozenset[str]:
    """Return the category paths in which items stand for each other: those of the given ones.

    A path that holds half of all items or more says nothing, nor does an empty one.
    """
    shelf = shelf_of(catalogue)
    rows = shelf.rows_of(item_ids)
    paths = {str(catalogue.paths[row]) for row in rows[rows >= 0]}
    return frozenset(p for p in paths if p and len(shelf.rows_by_path[p]) < TOO_BROAD * len(catalogue))


def _levels(shelf: Shelf, path: str, most: int) -> list[str]:
    """Return the path and those above it, without those too broad to say anything."""
    parts = path.split("/") if path else []
    paths = ["/".join(parts[:depth]) for depth in range(len(parts), max(len(parts) - most, 0), -1)]
    broad = TOO_BROAD * len(shelf.catalogue)
    return [p for n, p in enumerate(paths) if n == 0 or len(shelf.rows_inside(p)) < broad]


def _rows(shelf: Shelf, row: int, levels: Sequence[str]) -> tuple[Rows, Floats]:
    """Return the rows inside the broadest level, and how many levels deep each agrees with the item."""
    rows = shelf.rows_inside(levels[-1])
    rows = rows[rows != row]
    depth = np.zeros(len(rows))
    for level in levels[:-1]:
        depth += np.isin(rows, shelf.rows_inside(level), assume_unique=True)
    return rows, depth


def _likeness(
    catalogue: Catalogue, row: int, rows: Rows, cosines: Mapping[str, float], config: AlternativesConfig
) -> Floats:
    prices = catalogue.prices
    with np.errstate(divide="ignore", invalid="ignore"):
        near = np.exp(-np.abs(np.log(prices[rows] / prices[row])))
    near = np.nan_to_num(near, nan=0.5, posinf=0.0)  # a price nobody knows speaks neither way
    if not cosines:
        return near
    known = shelf_of(catalogue).rows_of(list(cosines))  # far fewer than there are rows, which rise
    company = spread(rows, known, np.maximum(np.array(list(cosines.values())), 0.0), 0.0)
    return config.price_weight * near + (1.0 - config.price_weight) * company


def _common(one: str, other: str) -> str | None:
    """Return the beginning two category paths share, in whole levels; None: none."""
    parts = []
    for a, b in zip(one.split("/"), other.split("/"), strict=False):
        if a != b:
            break
        parts.append(a)
    return "/".join(parts) or None
