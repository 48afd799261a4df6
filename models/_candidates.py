"""Which items the ranker looks at for a shopper, and what it sees of each: in training as in serving."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain

import numpy as np

from models._shelf import Rows, Shelf, shelf_of, spread
from models._sources import Asked, Source, columns_of
from models.base import Floats, Shopper
from models.basket import Basket, Neighbours, latest
from models.catalogue import Catalogue
from models.following import Following
from models.nearest import top
from models.neighbours import Neighbours as Alike
from models.paths import Paths
from models.popularity import best_in_categories, category_weights
from models.sequence import SequenceModel, often

DAY = 86_400.0
LN2 = float(np.log(2.0))
CATEGORIES = 5
"""Categories of the shopper that are looked into."""


@dataclass(frozen=True)
class Amounts:
    """How many items each generator offers at most."""

    personal: int = 150
    sequence: int = 60
    newcomers: int = 10
    neighbours: int = 60
    recent: int = 12
    """Recent and viewed items whose neighbours are looked up."""
    popular: int = 20
    category: int = 30
    trending: int = 10


@dataclass(frozen=True)
class Candidates:
    """Items to rank, as parallel arrays but for `personal`; rows rise."""

    rows: Rows
    """Catalogue rows."""
    place: Rows
    """Place in the personal list, -1: never bought, or not among those kept."""
    sequence: Floats
    """Log-probability by the sequence model; NaN where it does not know the item or the shopper."""
    basket: Floats
    """Sum of the scores of the rules that speak for it; 0: none."""
    rule: Rows
    """The rule that speaks for it most, a number of the basket model; -1: none."""
    personal: Rows
    """Catalogue rows of the whole personal list, -1 for what the catalogue lacks."""
    in_context: bool
    """Whether the rules go from the page or the cart, not from what was seen and bought last."""
    asked: Mapping[str, Asked | None] = field(default_factory=dict)
    """What the further sources say, by their kind."""


class Generators:
    """The candidate models tied to one catalogue: their item numbers become its rows."""

    def __init__(
        self,
        catalogue: Catalogue,
        sequence: SequenceModel | None,
        basket: Basket | None,
        amounts: Amounts,
        sources: Sequence[Source] = (),
    ) -> None:
        sequence = None if sequence is None else sequence.extended(catalogue)
        self.catalogue, self.sequence, self.basket, self.amounts = catalogue, sequence, basket, amounts
        self.shelf = shelf_of(catalogue)
        self._sources = {source.kind: source.tied(self.shelf) for source in sources}
        self._sequence_rows = self.shelf.rows_of([] if sequence is None else sequence.item_ids.tolist())
        self._basket_rows = self.shelf.rows_of([] if basket is None else basket.item_ids.tolist())
        self._sequence_number = np.full(len(catalogue), -1, dtype=np.int64)
        known = self._sequence_rows >= 0
        self._sequence_number[self._sequence_rows[known]] = np.flatnonzero(known)
        popular = self.shelf.by("sold_30d")[: amounts.popular]
        self._anyone = np.concatenate([popular, self.shelf.by("trend")[: amounts.trending]])

    def candidates(self, shopper: Shopper, context: Sequence[str]) -> Candidates:
        """Merge what the generators offer, each item once."""
        amounts = self.amounts
        personal = self.shelf.rows_of(shopper.repeat_items)
        scores = self._sequence_scores(shopper, context)
        likely = self._likely(scores)
        speaking, spoken_for = self._neighbours(shopper, context)
        weights = category_weights(self.shelf, shopper, context, CATEGORIES)
        category = best_in_categories(self.shelf, weights, amounts.category, "sold_30d")
        asked = {kind: source.ask(shopper, context) for kind, source in self._sources.items()}
        offered = [said.offered for said in asked.values() if said is not None]
        rows = np.unique(
            np.concatenate(
                [personal[: amounts.personal], likely, spoken_for, category, self._anyone, *offered]
            )
        )
        rows = rows[rows >= 0]
        number = self._sequence_number[rows]
        return Candidates(
            rows,
            spread(rows, personal, np.arange(len(personal)), -1),
            np.full(len(rows), np.nan) if scores is None else np.where(number >= 0, scores[number], np.nan),
            spread(rows, spoken_for, speaking.scores, 0.0),
            spread(rows, spoken_for, speaking.rules, -1),
            personal,
            len(context) > 0,
            asked,
        )

    def _likely(self, scores: Floats | None) -> Rows:
        """Return the rows most likely next; newcomers have places of their own and take nobody else's."""
        if scores is None or self.sequence is None:
            return _NONE
        learned, amounts = self.sequence.learned, self.amounts
        new = learned + top(scores[learned:], amounts.newcomers)
        return self._sequence_rows[np.concatenate([top(scores[:learned], amounts.sequence), new])]

    def _sequence_scores(self, shopper: Shopper, context: Sequence[str]) -> Floats | None:
        if self.sequence is None:
            return None
        past = [*reversed(shopper.recent_items), *context]
        scores = self.sequence.scores(past, often(shopper))
        return None if scores is None else scores.astype(np.float64)

    def _neighbours(self, shopper: Shopper, context: Sequence[str]) -> tuple[Neighbours, Rows]:
        if self.basket is None:
            return Neighbours(_NONE, np.empty(0), _NONE), _NONE
        given = context or latest(shopper, self.amounts.recent)
        found = self.basket.gather(given, self.amounts.neighbours)
        return found, self._basket_rows[found.numbers]


_NONE = np.empty(0, dtype=np.int64)


SOURCES: tuple[type[Source], ...] = (Alike, Following, Paths)
"""The further sources there are; any of them may be missing."""
FEATURES = (
    "repeat_30d", "repeat_90d", "repeat_365d", "repeat_count",
    "per_order_30d", "per_order_90d", "per_order_365d", "per_order",
    "days_since_last", "days_since_first", "own_gap", "over_own_gap", "over_cadence", "over_order_gap",
    "expected_since", "orders_since", "in_last_order", "recent_place", "viewed_days",
    "category_share", "category_loyalty", "category_days", "category_expected",
    "path_share", "path_loyalty", "path_days", "path_expected",
    "share_7d", "share_30d", "share_90d", "share_365d", "trend", "repurchase_rate", "cadence_days",
    "buyers", "price", "price_ratio", "days_on_sale", "days_unsold",
    "sequence", "sequence_best", "basket", "basket_best", "in_context",
    "orders_30d", "orders_90d", "orders_total", "lines_per_order", "order_gap_days", "recency_days",
    "recency_over_gap", "items_bought", "repeat_share", "last_order_items",
    *chain.from_iterable(columns_of(source) for source in SOURCES),
)  # fmt: skip
"""What the ranker sees of a candidate, in the order of the matrix's columns."""


def matrix(shopper: Shopper, catalogue: Catalogue, found: Candidates) -> Floats:
    """Return (candidates, FEATURES), NaN where unknown."""
    shelf, rows = shelf_of(catalogue), found.rows
    columns = {
        **_personal(shopper, found),
        **_group(shopper, shelf.category_codes, len(shelf.category_names), found, "category"),
        **_group(shopper, shelf.path_codes, int(shelf.path_codes.max(initial=-1)) + 1, found, "path"),
        **_item(shopper, shelf, rows),
        "sequence": found.sequence,
        "sequence_best": found.sequence
        - (np.nanmax(found.sequence) if np.isfinite(found.sequence).any() else 0),
        "basket": found.basket,
        "basket_best": found.basket / max(found.basket.max(initial=0.0), 1e-9),
        "in_context": (found.rule >= 0) & found.in_context,
        **_said(found),
    }
    with np.errstate(divide="ignore", invalid="ignore"):
        since = columns["days_since_last"]
        columns["over_cadence"] = since / shelf.cadence_days[rows]
    out = np.empty((len(rows), len(FEATURES)))
    for position, name in enumerate(FEATURES):
        out[:, position] = columns[name] if name in columns else shopper.features.get(name, np.nan)
    return out


def _said(found: Candidates) -> dict[str, Floats]:
    """Return the columns of the sources that know the shopper; those of the others are unknown."""
    columns = dict[str, Floats]()
    for source in SOURCES:
        said = found.asked.get(source.kind)
        names = columns_of(source)
        values = np.full((len(names), 1), np.nan) if said is None else said.of(found.rows)
        columns |= dict(zip(names, values, strict=True))
    return columns


def _personal(shopper: Shopper, found: Candidates) -> dict[str, Floats]:
    place, bought = found.place, found.place >= 0
    features = shopper.features

    def pick(values: Floats, otherwise: float) -> Floats:
        if not len(values):
            return np.full(len(place), otherwise)
        return np.where(bought, np.asarray(values, dtype=np.float64)[place], otherwise)

    counts = {name: pick(getattr(shopper, name), 0.0) for name in _COUNTS}
    since = (shopper.now - pick(shopper.repeat_last, np.nan)) / DAY
    span = pick(shopper.repeat_last - shopper.repeat_first, np.nan) / DAY
    with np.errstate(divide="ignore", invalid="ignore"):
        gap = np.where(span > 0, span / (counts["repeat_count"] - 1.0), np.nan)
        rate = counts["repeat_90d"] * (LN2 / 90.0)
        last = float(shopper.recent_times[0]) if len(shopper.recent_times) else np.nan
        return {
            **counts,
            "per_order_30d": counts["repeat_30d"] / _at_least(features.get("orders_30d")),
            "per_order_90d": counts["repeat_90d"] / _at_least(features.get("orders_90d")),
            "per_order_365d": counts["repeat_365d"] / _at_least(features.get("orders_365d")),
            "per_order": counts["repeat_count"] / _at_least(features.get("orders_total")),
            "days_since_last": since,
            "days_since_first": (shopper.now - pick(shopper.repeat_first, np.nan)) / DAY,
            "own_gap": gap,
            "over_own_gap": since / gap,
            "over_order_gap": since / _at_least(features.get("order_gap_days"), 1e-3),
            "expected_since": rate * since,
            "orders_since": _orders_since(shopper, place),
            "in_last_order": (pick(shopper.repeat_last, -np.inf) >= last).astype(np.float64),
            **{name: np.full(len(place), value) for name, value in _habits(shopper, last).items()},
        }


def _habits(shopper: Shopper, last: float) -> dict[str, float]:
    """Return the items bought, the share of purchases that were of one again, the size of the last order."""
    items, purchases = float(len(shopper.repeat_items)), float(np.sum(shopper.repeat_count))
    return {
        "items_bought": items,
        "repeat_share": 1.0 - items / purchases if purchases > 0 else np.nan,
        "last_order_items": float(np.sum(np.asarray(shopper.repeat_last) >= last)),
    }


def _orders_since(shopper: Shopper, place: Rows) -> Floats:
    """Return how many of the orders still seen (some item's last one) came after the candidate's last one."""
    if not len(shopper.repeat_last):
        return np.full(len(place), np.nan)
    moments, number = np.unique(shopper.repeat_last, return_inverse=True)
    return np.where(place >= 0, (len(moments) - 1.0 - number)[place], np.nan)


_COUNTS = ("repeat_30d", "repeat_90d", "repeat_365d", "repeat_count")


def _at_least(value: float | None, least: float = 1e-6) -> float:
    return max(value, least) if value is not None and value == value else float("nan")


def _group(shopper: Shopper, codes: Rows, size: int, found: Candidates, name: str) -> dict[str, Floats]:
    """What the shopper buys of the candidate's group of items, and how long ago anything of it.

    `codes` numbers each catalogue row's group, below `size`.
    """
    known = found.personal >= 0
    often = np.asarray(shopper.repeat_90d, dtype=np.float64)
    bought = codes[found.personal[known]]
    weights = np.bincount(bought, often[known], size)
    last = np.full(size, -np.inf)
    np.maximum.at(last, bought, np.asarray(shopper.repeat_last)[known])
    group = codes[found.rows]
    days = (shopper.now - last[group]) / DAY
    days[~np.isfinite(days)] = np.nan
    own = np.where(found.place >= 0, often[found.place], 0.0) if known.any() else np.zeros(len(group))
    return {
        f"{name}_share": weights[group] / max(weights.sum(), 1e-12),
        f"{name}_loyalty": own / np.maximum(weights[group], 1e-12),
        f"{name}_days": days,
        f"{name}_expected": weights[group] * (LN2 / 90.0) * days,
    }


def _item(shopper: Shopper, shelf: Shelf, rows: Rows) -> dict[str, Floats]:
    catalogue, statistics = shelf.catalogue, shelf.catalogue.statistics
    spent, lines = shopper.features.get("spend_365d", np.nan), shopper.features.get("lines_365d", np.nan)
    usual = spent / lines if lines and lines > 0 else np.nan
    shares = {f"share_{days}d": shelf.share(f"sold_{days}d")[rows] for days in (7, 30, 90, 365)}
    recent, viewed = shelf.rows_of(shopper.recent_items), shelf.rows_of(shopper.viewed_items)
    return {
        **shares,
        "trend": shelf.trend[rows],
        "repurchase_rate": shelf.repurchase_rate[rows],
        "cadence_days": shelf.cadence_days[rows],
        "buyers": statistics["buyers"][rows],
        "price": catalogue.prices[rows],
        "price_ratio": catalogue.prices[rows] / usual,
        "days_on_sale": (shopper.now - statistics["first_sold"][rows]) / DAY,
        "days_unsold": (shopper.now - statistics["last_sold"][rows]) / DAY,
        "recent_place": spread(rows, recent, np.arange(float(len(recent))), np.nan),
        "viewed_days": (shopper.now - spread(rows, viewed, np.asarray(shopper.viewed_times, float), np.nan))
        / DAY,
    }
