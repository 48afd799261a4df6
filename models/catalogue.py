"""The shelf: every item with its attributes and statistics at a moment, as arrays in memory."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from nextbest.columns import CATEGORY_DEPTH, ITEM_STATISTICS

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Catalogue:
    """Items as parallel arrays of length n; `index` maps item_id to its row."""

    now: float
    """Epoch seconds the statistics are valued at."""
    item_ids: npt.NDArray[np.object_]
    titles: npt.NDArray[np.object_]
    categories: npt.NDArray[np.object_]
    """First CATEGORY_DEPTH levels of the category path; "" where unknown."""
    paths: npt.NDArray[np.object_]
    """The whole category path; "" where unknown."""
    brands: npt.NDArray[np.object_]
    """"" where unknown."""
    prices: Floats
    in_stock: npt.NDArray[np.bool_]
    hidden: npt.NDArray[np.bool_]
    repeatable: Floats
    """1 bought again by nature, 0 not, NaN: to be learned from the statistics."""
    statistics: dict[str, Floats]
    """One array for each of ITEM_STATISTICS."""

    @classmethod
    def from_frame(cls, frame: pd.DataFrame, now: float) -> "Catalogue":
        """Build from a frame with ITEM_COLUMNS and ITEM_STATISTICS (features.items.items_at).

        A frame without brands, as earlier versions saved it beside a model, has none.
        """
        paths = frame["category"].fillna("").astype(str).to_numpy(dtype=object)
        brands = frame["brand"] if "brand" in frame else pd.Series("", index=frame.index)
        depth = np.array(["/".join(p.split("/")[:CATEGORY_DEPTH]) for p in paths], dtype=object)

        def floats(name: str) -> Floats:
            return pd.to_numeric(frame[name], errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)

        def flags(name: str, default: bool) -> npt.NDArray[np.bool_]:
            return np.array([default if pd.isna(v) else bool(v) for v in frame[name]], dtype=np.bool_)

        return cls(
            now=now,
            item_ids=frame["item_id"].astype(str).to_numpy(dtype=object),
            titles=frame["title"].astype(object).where(frame["title"].notna(), None).to_numpy(dtype=object),
            categories=depth,
            paths=paths,
            brands=brands.fillna("").astype(str).to_numpy(dtype=object),
            prices=np.where(np.isnan(floats("price")), floats("mean_price"), floats("price")),
            in_stock=flags("in_stock", True),
            hidden=flags("hidden", False),
            repeatable=floats("repeatable"),
            statistics={name: floats(name) for name in ITEM_STATISTICS},
        )

    def __len__(self) -> int:
        return len(self.item_ids)

    @cached_property
    def index(self) -> dict[str, int]:
        """Map item_id to row."""
        return {str(item): row for row, item in enumerate(self.item_ids)}

    @cached_property
    def rows_in_category(self) -> dict[str, npt.NDArray[np.int64]]:
        """Map category (CATEGORY_DEPTH levels) to the rows in it."""
        names, codes = np.unique(self.categories.astype(str), return_inverse=True)
        order = np.argsort(codes, kind="stable")
        bounds = np.searchsorted(codes[order], np.arange(len(names) + 1))
        return {str(name): order[bounds[i] : bounds[i + 1]] for i, name in enumerate(names)}

    def describe(self, item_id: str) -> dict[str, Any]:
        """Return what a person would call the item; empty for an unknown one."""
        row = self.index.get(item_id)
        if row is None:
            return {}
        price = float(self.prices[row])
        return {
            "title": self.titles[row],
            "category": str(self.paths[row]) or None,
            "price": None if np.isnan(price) else round(price, 2),
        }


def inside(path: str, category: str) -> bool:
    """Tell whether a category path is at or below another."""
    return path == category or path.startswith(category.rstrip("/") + "/")
