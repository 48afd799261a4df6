"""Reasons as they are answered: completed from the catalogue, so that each says all it promises."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np

from features.state import ContactView
from models.alternatives import shared
from models.base import Ranking, Reason
from models.catalogue import Catalogue
from models.popularity import rise
from serving.schemas import REASON_KEYS, ItemReason, ReasonKind

DAY = 86_400.0
VIEWED = 12
"""Items seen last that can be the reason for another."""
SAID = "reasons"
"""Note of a ranking: its reasons as they are answered."""


def viewed_paths(view: ContactView, catalogue: Catalogue) -> dict[str, str]:
    """Map the category paths a visitor looked into without buying there to the item seen last in each."""
    bought = set(view.category_names)
    found: dict[str, str] = {}
    for item in view.viewed_items[:VIEWED]:
        row = catalogue.index.get(item)
        if row is not None and catalogue.paths[row] and str(catalogue.categories[row]) not in bought:
            found.setdefault(str(catalogue.paths[row]), item)
    return found


def from_views(reason: Reason, view: ContactView) -> Reason:
    """Return a rule from something seen and never bought as the view it rests on."""
    item = reason.because.get("item_id")
    if reason.kind != "bought_together" or item not in view.viewed_items or item in view.repeat_items:
        return reason
    return Reason("because_you_viewed", reason.because)


def answered(
    ranking: Ranking, place: int, catalogue: Catalogue, viewed: Mapping[str, str], filled: bool
) -> ItemReason:
    """Return the reason of a ranking's item, with all REASON_KEYS says; one that cannot is plainly popular.

    Kept with the ranking, which is made of one catalogue. `viewed`: as of viewed_paths; `filled`: another
    than who answered gave the item.
    """
    row = catalogue.index[ranking.item_ids[place]]
    seen = viewed.get(str(catalogue.paths[row])) if viewed else None
    said: dict[Any, ItemReason] = ranking.notes.setdefault(SAID, {})
    key = place, seen, filled
    if key not in said:
        said[key] = _said(ranking, place, row, catalogue, seen, filled)
    return said[key]


def _said(
    ranking: Ranking, place: int, row: int, catalogue: Catalogue, seen: str | None, filled: bool
) -> ItemReason:
    reason = ranking.reasons[place]
    kind, because = reason.kind, dict(reason.because)
    if kind in ("popular", "popular_in") and seen not in (None, ranking.item_ids[place]):
        kind, because = "because_you_viewed", {"item_id": seen, **because}
    because |= _more(kind, because, row, catalogue)
    keys = REASON_KEYS.get(cast("ReasonKind", kind))
    if keys is None or any(key not in because for key in keys):
        kind, because = "popular", {}
    if "item_id" in because:
        because["title"] = _title(catalogue, str(because["item_id"]))
    if filled:
        because["filled_by"] = ranking.source
    return ItemReason(kind=cast("ReasonKind", kind), because=because)


def new(catalogue: Catalogue, row: int) -> Reason:
    """Say since when an item is sold; null: it never was."""
    days = (catalogue.now - float(catalogue.statistics["first_sold"][row])) / DAY
    return Reason("new", {"first_sold_days_ago": None if np.isnan(days) else round(days, 1)})


def _more(kind: str, because: Mapping[str, Any], row: int, catalogue: Catalogue) -> dict[str, Any]:
    """Return what a kind promises and a model leaves to the catalogue."""
    if kind == "trending_in" and "ratio" not in because:
        return {"ratio": round(rise(catalogue, row), 2)}
    if kind == "due" and "overdue" not in because and because.get("usual_days"):
        return {"overdue": round(because.get("last_days_ago", 0.0) / because["usual_days"], 2)}
    if kind == "similar_to" and "price_ratio" not in because:
        other = catalogue.index.get(str(because.get("item_id")))
        nothing = {"category": None, "price_ratio": None}
        return nothing if other is None else shared(catalogue, other, row)
    return {}


def _title(catalogue: Catalogue, item_id: str) -> str | None:
    row = catalogue.index.get(item_id)
    title: str | None = None if row is None else catalogue.titles[row]
    return title


def confidences(reasons: Sequence[Reason]) -> list[float]:
    """Return the share of baskets with a reason's item that hold what is recommended; 0: no such reason."""
    return [
        float(reason.because.get("confidence", 0.0)) if reason.kind == "bought_together" else 0.0
        for reason in reasons
    ]
