"""What lies in the next order of those who bought an item: asymmetric counts from one order to the next.

An item i speaks for j by the share of the orders after one with i that hold j, shrunk by PRIOR orders and
divided by how much sells of j to the power of a half, so that neither what everyone buys nor what was seen
twice leads. The shopper's orders count less the older they are.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
import numpy.typing as npt
import pandas as pd
import scipy.sparse as sp
from safetensors.numpy import load_file, save_file

from models._shelf import Rows, Shelf, shelf_of
from models._sources import Asked, best, numbered, weighed
from models.base import Floats, Ranking, Reason, Shopper
from models.catalogue import Catalogue
from nextbest.errors import BadInput, NotReady
from nextbest.progress import Progress, silent

PRIOR = 10.0
"""Orders that both sides of a share are shrunk by."""


@dataclass(frozen=True)
class FollowingConfig:
    """What is counted and what is kept."""

    memory: float = 0.5
    """An order before the last counts so much of the one after it."""
    asked: int = 40
    """Items of the shopper that speak, those bought last."""
    kept: int = 100
    """Items kept that an item speaks for, the best."""
    offered: int = 40
    """Items proposed."""
    most_items: int = 5_000
    """Items known at most, the most bought."""

    def __post_init__(self) -> None:
        for name in ("asked", "kept", "offered", "most_items"):
            if getattr(self, name) < 1:
                raise BadInput(f"{name} is {getattr(self, name)}; it must be 1 or more")
        if not 0 <= self.memory <= 1:
            raise BadInput(f"memory is {self.memory}; it must lie between 0 and 1")


class Following:
    """Items by items: how much one speaks for the other in the order after."""

    kind: ClassVar[str] = "following"
    columns: ClassVar[tuple[str, ...]] = ("following",)

    def __init__(self, config: FollowingConfig, item_ids: Sequence[str], speaks: sp.csr_matrix) -> None:
        self.config, self.speaks = config, speaks
        self.item_ids = np.asarray(item_ids, dtype=object)
        self.number = {str(item): number for number, item in enumerate(self.item_ids)}

    @classmethod
    def learn(
        cls,
        data: pd.DataFrame,
        config: FollowingConfig | None = None,
        seed: int = 0,
        progress: Progress = silent,
    ) -> Self:
        """Learn from purchases: `contact_id`, `order_id`, `item_id`, `time`. Nothing is random.

        Raises NotReady where nobody ordered twice.
        """
        del seed, progress
        config = config or FollowingConfig()
        sold = data["item_id"].value_counts().sort_index().sort_values(ascending=False, kind="stable")
        names = sorted(str(item) for item in sold[sold > 0].index[: config.most_items])
        orders, first = _orders(data, names)
        again = np.flatnonzero(~first[1:])
        if not len(again):
            raise NotReady("nobody ordered twice, so nothing follows anything; ingest more orders")
        before, after = orders[again], orders[again + 1]
        counts = (before.T @ after).tocsr()
        from_a, to_b = (np.asarray(part.sum(axis=0)).ravel() + PRIOR for part in (before, after))
        rows = np.repeat(np.arange(len(names)), np.diff(counts.indptr))
        counts.data = counts.data / (from_a[rows] * np.sqrt(to_b[counts.indices]))
        return cls(config, names, _best_of_each(counts, config.kept))

    def tied(self, shelf: Shelf) -> "TiedFollowing":
        """Return it with its item numbers turned into rows of the shelf."""
        rows = shelf.rows_of(self.item_ids.tolist())
        return TiedFollowing(self, rows, numbered(rows, len(shelf.catalogue)))

    def of(self, shopper: Shopper) -> Floats | None:
        """Return how much the last orders speak for each item; None: they hold nothing known."""
        items = shopper.recent_items[: self.config.asked]
        numbers = np.array([self.number.get(item, -1) for item in items], dtype=np.int64)
        known = numbers >= 0
        if not known.any():
            return None
        times = np.asarray(shopper.recent_times, dtype=np.float64)[: self.config.asked]
        orders_ago = np.unique(-times, return_inverse=True)[1][known]
        weights = (self.config.memory**orders_ago).astype(np.float32)
        return weighed(self.speaks, numbers[known], weights / weights.sum())

    def recommend(
        self, shopper: Shopper, catalogue: Catalogue, k: int, context: Sequence[str] = ()
    ) -> Ranking:
        """Return the k items the last orders speak for most; the context changes nothing."""
        del context
        score = self.of(shopper)
        if score is None:
            return Ranking([], np.empty(0), [], self.kind)
        score = np.where(shelf_of(catalogue).rows_of(self.item_ids.tolist()) >= 0, score, 0.0)
        shown = np.sort(best(score, k))
        shown = shown[np.argsort(-score[shown], kind="stable")]
        last = next(item for item in shopper.recent_items if item in self.number)
        reasons = [Reason("similar_to", {"item_id": last})] * len(shown)
        return Ranking(self.item_ids[shown].tolist(), score[shown], reasons, self.kind)

    def save(self, folder: Path) -> None:
        """Write following.json, items.parquet and speaks.safetensors."""
        (folder / "following.json").write_text(json.dumps({"config": asdict(self.config)}, indent=1))
        pd.DataFrame({"item_id": self.item_ids.astype(str)}).to_parquet(folder / "items.parquet", index=False)
        parts = {
            "starts": self.speaks.indptr.astype(np.int64),
            "items": self.speaks.indices.astype(np.int32),
            "scores": self.speaks.data,
        }
        save_file(parts, folder / "speaks.safetensors")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote."""
        config = FollowingConfig(**json.loads((folder / "following.json").read_text())["config"])
        names = pd.read_parquet(folder / "items.parquet")["item_id"].tolist()
        parts = load_file(folder / "speaks.safetensors")
        shape = len(names), len(names)
        return cls(
            config,
            names,
            sp.csr_matrix((parts["scores"], parts["items"], parts["starts"]), shape=shape),
        )


@dataclass(frozen=True)
class TiedFollowing:
    """Following whose items are catalogue rows."""

    model: Following
    rows: Rows
    """Catalogue row of each of its items, -1: not on the shelf."""
    numbers: Rows
    """And back."""

    def ask(self, shopper: Shopper, context: Sequence[str]) -> Asked | None:
        """Say what the last orders speak for; the context changes nothing."""
        del context
        score = self.model.of(shopper)
        if score is None:
            return None
        return Asked(self.rows[best(score, self.model.config.offered)], score[None], self.numbers)


def _orders(data: pd.DataFrame, names: Sequence[str]) -> tuple[sp.csr_matrix, npt.NDArray[np.bool_]]:
    """Return orders x items by contact and time, each item once, and which order is its contact's first."""
    lines = data[data["contact_id"].notna()].sort_values(["contact_id", "time", "order_id"])
    contact, order = (pd.factorize(lines[name])[0] for name in ("contact_id", "order_id"))
    starts = (np.diff(order, prepend=-1) != 0) | (np.diff(contact, prepend=-1) != 0)
    number = np.cumsum(starts) - 1
    item = pd.Categorical(lines["item_id"].astype(str), categories=list(names)).codes.astype(np.int64)
    known = item >= 0
    ones = np.ones(int(known.sum()), dtype=np.float32)
    shape = int(number[-1]) + 1 if len(number) else 0, len(names)
    orders = sp.csr_matrix((ones, (number[known], item[known])), shape=shape)
    orders.data[:] = 1.0
    return orders, np.diff(contact[starts], prepend=-1) != 0


def _best_of_each(counts: sp.csr_matrix, most: int) -> sp.csr_matrix:
    """Return the `most` highest of each row, in single precision."""
    rows = np.repeat(np.arange(counts.shape[0]), np.diff(counts.indptr))
    order = np.lexsort((counts.indices, -counts.data, rows))
    place = np.arange(len(order)) - counts.indptr[rows[order]]
    keep = order[place < most]
    values = counts.data[keep].astype(np.float32)
    return sp.csr_matrix((values, (rows[keep], counts.indices[keep])), shape=counts.shape)
