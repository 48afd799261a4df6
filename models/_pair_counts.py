"""All pair counts, kept so that new baskets are added without counting the old ones again.

Every pair is kept, however rare: a pair below the least count today may pass it tomorrow. Items are numbered
as they first came, so that a new one changes no number.

    folder/counts.json      {"baskets": 143505, …what the caller adds}
    folder/items.parquet    item_id, baskets
    folder/pairs.parquet    pair (number of one item times 2^32 plus the other's, the lesser first), baskets;
    rising
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from models._mining import Baskets, Ints, Level, pair_counts

SHIFT = 32


@dataclass(frozen=True)
class PairCounts:
    """In how many baskets each item and each pair of items lies."""

    item_ids: npt.NDArray[np.object_]
    """In the order in which they first came."""
    items: Ints
    """Baskets with each."""
    pairs: Ints
    """Both items' numbers in one, rising."""
    counts: Ints
    """Baskets with each pair."""
    baskets: int

    @classmethod
    def of(cls, baskets: Baskets) -> Self:
        """Count baskets from nothing."""
        none = np.empty(0, dtype=np.int64)
        nothing = cls(np.empty(0, dtype=object), none, none, none.astype(np.int32), 0)
        return nothing.updated(baskets)

    def updated(self, new: Baskets) -> Self:
        """Return the counts with new baskets added; only the new ones are counted."""
        known = self._numbers(self.item_ids, new.item_ids) >= 0
        ids = np.concatenate([self.item_ids, new.item_ids[~known]])
        number = self._numbers(ids, new.item_ids)
        seen = np.unique(new.basket.astype(np.int64) * len(new.item_ids) + new.item) % max(
            len(new.item_ids), 1
        )
        items = np.bincount(number[seen], minlength=len(ids)).astype(np.int64)
        items[: len(self.items)] += self.items
        a, b, counts = pair_counts(new)
        low, high = np.minimum(number[a], number[b]), np.maximum(number[a], number[b])
        keys = (low << SHIFT) + high
        counts = counts.astype(np.int32)
        if (keys[1:] < keys[:-1]).any():
            order = np.argsort(keys)
            keys, counts = keys[order], counts[order]
        pairs, both = _merged(self.pairs, self.counts, keys, counts)
        return type(self)(ids, items, pairs, both, self.baskets + len(new))

    @staticmethod
    def _numbers(ids: npt.NDArray[np.object_], wanted: npt.NDArray[np.object_]) -> Ints:
        return np.asarray(pd.Index(ids).get_indexer(pd.Index(wanted)), dtype=np.int64)

    def level(self, item_ids: npt.NDArray[np.object_], least: int) -> Level:
        """Return the pairs in `least` baskets or more, numbered into `item_ids`, which must hold them all."""
        keep = np.flatnonzero(self.counts >= least)
        to = self._numbers(item_ids, self.item_ids)
        a, b = to[self.pairs[keep] >> SHIFT], to[self.pairs[keep] & (2**SHIFT - 1)]
        items = np.sort(np.stack([a, b], axis=1), axis=1)
        order = np.lexsort((items[:, 1], items[:, 0]))
        counts = self.counts[keep].astype(np.int64)
        items, counts = items[order], counts[order]
        return Level(items, counts, None, items[:, 0] * len(item_ids) + items[:, 1])

    def save(self, folder: Path, about: Mapping[str, Any]) -> None:
        """Write into an existing folder, with what the caller wants to know of it again."""
        pd.DataFrame({"item_id": self.item_ids.astype(str), "baskets": self.items}).to_parquet(
            folder / "items.parquet", index=False
        )
        table = pa.table({"pair": self.pairs, "baskets": self.counts})
        pq.write_table(
            table,
            folder / "pairs.parquet",
            use_dictionary=False,
            column_encoding={"pair": "DELTA_BINARY_PACKED", "baskets": "DELTA_BINARY_PACKED"},
            compression="zstd",
            compression_level=1,
        )
        (folder / "counts.json").write_text(json.dumps({**about, "baskets": self.baskets}))

    @classmethod
    def load(cls, folder: Path) -> tuple[Self, dict[str, Any]]:
        """Read what `save` wrote, and what the caller added."""
        about = json.loads((folder / "counts.json").read_text())
        items = pd.read_parquet(folder / "items.parquet")
        table = pq.read_table(folder / "pairs.parquet")
        pairs, counts = (table[name].to_numpy() for name in ("pair", "baskets"))
        ids = items["item_id"].to_numpy(dtype=object)
        return cls(ids, items["baskets"].to_numpy(), pairs, counts, int(about["baskets"])), about


def _merged(old: Ints, old_counts: Ints, new: Ints, new_counts: Ints) -> tuple[Ints, Ints]:
    """Add up two rising lists of keys."""
    if not len(old):
        return new, new_counts
    place = np.searchsorted(old, new)
    there = old[np.minimum(place, len(old) - 1)] == new
    counts = old_counts.copy()
    counts[place[there]] += new_counts[there]
    return np.insert(old, place[~there], new[~there]), np.insert(counts, place[~there], new_counts[~there])
