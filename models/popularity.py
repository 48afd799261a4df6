"""What sells: overall, in the categories that matter to the shopper, or lately more than usual."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import ClassVar, Literal, Self, get_args

import numpy as np

from models._shelf import Floats, Rows, Shelf, shelf_of
from models.base import Ranking, Reason, Shopper
from models.catalogue import Catalogue
from nextbest.columns import ITEM_STATISTICS
from nextbest.errors import BadInput

Variant = Literal["overall", "category", "trending"]


@dataclass(frozen=True)
class PopularityConfig:
    """What counts as popular."""

    variant: Variant = "overall"
    """overall; category: in the context's or the shopper's categories; trending: rising this week."""
    statistic: str = "sold_90d"
    """The item statistic that is popularity."""
    categories: int = 5
    """Categories of the shopper that are looked into."""

    def __post_init__(self) -> None:
        if self.variant not in get_args(Variant):
            raise BadInput(f"no popularity {self.variant!r}; known: {', '.join(get_args(Variant))}")
        if self.statistic not in ITEM_STATISTICS:
            raise BadInput(f"no item statistic {self.statistic!r}; known: {', '.join(ITEM_STATISTICS)}")


class Popularity:
    """Ranks by the catalogue's statistics alone; needs no learning and answers for anyone."""

    kind: ClassVar[str] = "popularity"

    def __init__(self, config: PopularityConfig | None = None) -> None:
        self.config = config or PopularityConfig()

    def recommend(
        self, shopper: Shopper, catalogue: Catalogue, k: int, context: Sequence[str] = ()
    ) -> Ranking:
        """Return the k most popular items; `category` is topped up with the most popular of all."""
        shelf = shelf_of(catalogue)
        if self.config.variant == "trending":
            rows = shelf.by("trend")[:k]
            return _ranking(shelf, rows, shelf.trend[rows], "trending_in", self.source)
        if self.config.variant == "category":
            weights = category_weights(shelf, shopper, context, self.config.categories)
            if weights:
                return self._in_categories(shelf, weights, k)
        return self._overall(shelf, k)

    @property
    def source(self) -> str:
        """The name that stands in answers."""
        return "trending" if self.config.variant == "trending" else f"popularity_{self.config.variant}"

    def _overall(self, shelf: Shelf, k: int) -> Ranking:
        rows = shelf.by(self.config.statistic)[:k]
        return _ranking(shelf, rows, shelf.share(self.config.statistic)[rows], "popular", self.source)

    def _in_categories(self, shelf: Shelf, weights: dict[str, float], k: int) -> Ranking:
        column = self.config.statistic
        rows, scores = _in_categories(shelf, weights, k, column)
        first = _ranking(shelf, rows, scores, "popular_in", self.source)
        if len(rows) == k:
            return first
        taken = set(rows.tolist())
        rest = [row for row in shelf.by(column)[: k + len(rows)].tolist() if row not in taken][
            : k - len(rows)
        ]
        below = np.array(rest, dtype=np.int64)
        share = shelf.share(column)[below] * (0.5 * scores[-1] if len(rows) else 1.0)
        return joined(first, _ranking(shelf, below, share, "popular", self.source))

    def save(self, folder: Path) -> None:
        """Write the configuration: there is nothing else."""
        (folder / "popularity.json").write_text(json.dumps(asdict(self.config), indent=1))

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote."""
        return cls(PopularityConfig(**json.loads((folder / "popularity.json").read_text())))


def category_weights(shelf: Shelf, shopper: Shopper, context: Sequence[str], most: int) -> dict[str, float]:
    """Return the categories that matter and how much: the context's alike, else the shopper's by affinity."""
    if len(context):
        rows = shelf.rows_of(context)
        found = [str(shelf.catalogue.categories[row]) for row in rows[rows >= 0]]
        names = [name for name in dict.fromkeys(found) if name]
        if names:
            return {name: found.count(name) / len(found) for name in names}
    names = list(shopper.category_names[:most])
    total = float(np.sum(shopper.category_90d[:most])) if names else 0.0
    if total <= 0:
        return {}
    return {name: float(w) / total for name, w in zip(names, shopper.category_90d, strict=False) if name}


def rise(catalogue: Catalogue, row: int) -> float:
    """Return an item's sales of the last week over what its quarter's rate would give; 1: steady."""
    return float(shelf_of(catalogue).trend[row])


def spread_over_categories(catalogue: Catalogue, names: Sequence[str], each: int, column: str) -> Ranking:
    """Return the best `each` items of the categories named, best first overall."""
    shelf = shelf_of(catalogue)
    rows = np.concatenate([np.empty(0, dtype=np.int64), *(shelf.by(column, name)[:each] for name in names)])
    share = shelf.share(column)[rows]
    order = np.lexsort((shelf.name_order[rows], -share))
    return _ranking(shelf, rows[order], share[order], "popular_in", "popularity_category")


def best_in_categories(shelf: Shelf, weights: dict[str, float], k: int, column: str = "sold_90d") -> Rows:
    """Return k rows by weight of the category x share of the item in it."""
    return _in_categories(shelf, weights, k, column)[0]


def _in_categories(shelf: Shelf, weights: dict[str, float], k: int, column: str) -> tuple[Rows, Floats]:
    """Return k rows and their scores; items that never sold have a score of 0."""
    rows, scores = [np.empty(0, dtype=np.int64)], [np.empty(0)]
    for name, weight in weights.items():
        rows.append(shelf.by(column, name)[:k])
        scores.append(weight * shelf.share_within(column, name)[:k])
    found, score = np.concatenate(rows), np.concatenate(scores)
    order = np.lexsort((shelf.name_order[found], -score))[:k]
    return found[order], score[order]


def joined(first: Ranking, second: Ranking) -> Ranking:
    """Return the second list behind the first, under the first's source."""
    return Ranking(
        first.item_ids + second.item_ids,
        np.concatenate([first.scores, second.scores]),
        first.reasons + second.reasons,
        first.source,
    )


def _ranking(shelf: Shelf, rows: Rows, scores: Floats, reason: str, source: str) -> Ranking:
    catalogue = shelf.catalogue
    reasons = [popular_reason(reason, str(catalogue.categories[row])) for row in rows]
    return Ranking([str(item) for item in catalogue.item_ids[rows]], scores, reasons, source)


def popular_reason(kind: str, category: str) -> Reason:
    """Return the reason with its category; without one it is plainly popular."""
    return Reason(kind, {"category": category}) if category and kind != "popular" else Reason("popular")
