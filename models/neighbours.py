"""What those who buy alike buy: the nearest by their decayed purchases (after Hu et al. 2020, TIFU-KNN).

A contact is the vector of its purchases, each counting 2^-(days / half-life) and weighed by how few buy the
item (inverse document frequency). What the nearest contacts bought, and bought lately, speaks for an item.
The model keeps the vectors and no ids: whoever asks is left out by being as good as identical to one of them.
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
from models.base import Floats, Ranking, Shopper
from models.catalogue import Catalogue
from models.popularity import popular_reason
from nextbest.errors import BadInput, NotReady
from nextbest.progress import Progress, silent

DAY = 86_400.0
SAME = 0.98
"""Cosine from which the nearest contact is taken for the one who asks."""


@dataclass(frozen=True)
class NeighboursConfig:
    """Who is near, and what is kept of them."""

    neighbours: int = 300
    """Contacts listened to."""
    half_life_days: float = 90.0
    """Of the purchases that are compared; one of the shopper's: 30, 90 or 365."""
    lately_days: float = 7.0
    """Half-life of the purchases that count as lately, back from the last one of all."""
    asked: int = 60
    """Items of whoever asks that are compared, the heaviest."""
    offered: int = 60
    """Items proposed by each of the two scores."""
    least_buyers: int = 2
    """Contacts who must have bought an item for it to be known."""
    most_items: int = 20_000
    """Items known at most, the most bought."""
    most_contacts: int = 50_000
    """Contacts kept at most, those who bought last."""

    def __post_init__(self) -> None:
        if self.half_life_days not in (30, 90, 365):
            raise BadInput(f"half_life_days is {self.half_life_days}; it must be 30, 90 or 365")
        for name in ("neighbours", "asked", "offered", "least_buyers", "most_items", "most_contacts"):
            if getattr(self, name) < 1:
                raise BadInput(f"{name} is {getattr(self, name)}; it must be 1 or more")


class Neighbours:
    """Contacts by items: how alike they are, what they bought, what of it lately."""

    kind: ClassVar[str] = "neighbours"
    columns: ClassVar[tuple[str, ...]] = ("alike", "alike_lately")

    def __init__(
        self, config: NeighboursConfig, item_ids: Sequence[str], vectors: sp.csr_matrix, lately: sp.csr_matrix
    ) -> None:
        """Take unit vectors (contacts, items) and, of the same pattern, what was bought lately."""
        self.config, self.vectors, self.lately = config, vectors, lately
        self.item_ids = np.asarray(item_ids, dtype=object)
        self.number = {str(item): number for number, item in enumerate(self.item_ids)}
        self._buyers: sp.csr_matrix = vectors.T.tocsr()
        buyers = np.diff(self._buyers.indptr)
        self._rarity = _rarity(buyers, vectors.shape[0])
        # bought, and i times bought lately: one product gives both sums, at little more than the cost of one
        both = 1.0 + 1j * lately.data.astype(np.complex64)
        self._bought = sp.csr_matrix((both, vectors.indices, vectors.indptr), shape=vectors.shape)

    @classmethod
    def learn(
        cls,
        data: pd.DataFrame,
        config: NeighboursConfig | None = None,
        seed: int = 0,
        progress: Progress = silent,
    ) -> Self:
        """Learn from purchases: `contact_id`, `item_id`, `time` (epoch seconds). Nothing is random.

        Raises NotReady where no item was bought by enough contacts.
        """
        del seed, progress
        config = config or NeighboursConfig()
        lines = _kept(data, config)
        if lines.empty or lines["contact_id"].nunique() < 2:
            raise NotReady(f"no item was bought by {config.least_buyers} contacts; ingest more orders")
        contact, who = pd.factorize(lines["contact_id"])
        names = sorted({str(item) for item in lines["item_id"].unique()})
        item = pd.Categorical(lines["item_id"].astype(str), categories=names).codes
        days = (float(data["time"].max()) - lines["time"].to_numpy()) / DAY
        own = days - pd.Series(days).groupby(contact).transform("min").to_numpy()
        shape = len(who), len(names)
        often = sp.csr_matrix((2.0 ** -(own / config.half_life_days), (contact, item)), shape=shape)
        lately = sp.csr_matrix((2.0 ** -(days / config.lately_days), (contact, item)), shape=shape)
        often.sum_duplicates()
        lately.sum_duplicates()
        buyers = np.bincount(often.indices, minlength=len(names))
        often.data *= _rarity(buyers, len(who))[often.indices]
        return cls(config, names, _unit(often), lately.astype(np.float32))

    def shares(self, items: Sequence[str], weights: Floats) -> tuple[Floats, Floats] | None:
        """Return the neighbours' share who bought each item, and how much lately; None: nobody is near.

        `weights` are the shopper's decayed counts of `items`, the heaviest first.
        """
        numbers = np.array([self.number.get(item, -1) for item in items[: self.config.asked]], dtype=np.int64)
        known = numbers >= 0
        asking = numbers[known]
        wanted = np.asarray(weights, dtype=np.float64)[: self.config.asked][known] * self._rarity[asking]
        length = np.sqrt((wanted**2).sum())
        if not length > 0:
            return None
        near = weighed(self._buyers, asking, wanted / length).astype(np.float32)
        count = min(self.config.neighbours + 1, len(near))
        nearest = np.argpartition(-near, count - 1)[:count]
        like = near[nearest]
        like[int(np.argmax(like))] *= like.max() < SAME
        total = float(like.sum())
        if not total > 0:
            return None
        both = self._bought[nearest].T @ (like / total).astype(np.complex64)
        return both.real, both.imag

    def tied(self, shelf: Shelf) -> "TiedNeighbours":
        """Return it with its item numbers turned into rows of the shelf."""
        rows = shelf.rows_of(self.item_ids.tolist())
        return TiedNeighbours(self, rows, numbered(rows, len(shelf.catalogue)))

    def recommend(
        self, shopper: Shopper, catalogue: Catalogue, k: int, context: Sequence[str] = ()
    ) -> Ranking:
        """Return the k items most neighbours bought; empty for someone who bought nothing known."""
        del context
        found = self.of(shopper)
        if found is None:
            return Ranking([], np.empty(0), [], self.kind)
        rows = shelf_of(catalogue).rows_of(self.item_ids.tolist())
        score = np.where(rows >= 0, found[0], 0.0)
        shown = np.sort(best(score, k))
        shown = shown[np.argsort(-score[shown], kind="stable")]
        reasons = [popular_reason("popular_in", str(catalogue.categories[row])) for row in rows[shown]]
        return Ranking(self.item_ids[shown].tolist(), score[shown], reasons, self.kind)

    def of(self, shopper: Shopper) -> tuple[Floats, Floats] | None:
        """Return the `shares` for a shopper's purchases."""
        weights = getattr(shopper, f"repeat_{self.config.half_life_days:.0f}d")
        return self.shares(shopper.repeat_items, weights)

    def save(self, folder: Path) -> None:
        """Write neighbours.json, items.parquet and vectors.safetensors."""
        facts = {"config": asdict(self.config), "contacts": self.vectors.shape[0]}
        (folder / "neighbours.json").write_text(json.dumps(facts, indent=1))
        pd.DataFrame({"item_id": self.item_ids.astype(str)}).to_parquet(folder / "items.parquet", index=False)
        parts = {
            "starts": self.vectors.indptr.astype(np.int64),
            "items": self.vectors.indices.astype(np.int32),
            "vectors": self.vectors.data,
            "lately": self.lately.data,
        }
        save_file(parts, folder / "vectors.safetensors")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote."""
        facts = json.loads((folder / "neighbours.json").read_text())
        names = pd.read_parquet(folder / "items.parquet")["item_id"].tolist()
        parts = load_file(folder / "vectors.safetensors")
        shape, at = (facts["contacts"], len(names)), (parts["items"], parts["starts"])
        vectors, lately = (sp.csr_matrix((parts[n], *at), shape=shape) for n in ("vectors", "lately"))
        return cls(NeighboursConfig(**facts["config"]), names, vectors, lately)


@dataclass(frozen=True)
class TiedNeighbours:
    """Neighbours whose items are catalogue rows."""

    model: Neighbours
    rows: Rows
    """Catalogue row of each of its items, -1: not on the shelf."""
    numbers: Rows
    """And back."""

    def ask(self, shopper: Shopper, context: Sequence[str]) -> Asked | None:
        """Say what the nearest contacts bought; the context changes nothing."""
        del context
        found = self.model.of(shopper)
        if found is None:
            return None
        offered = [best(shares, self.model.config.offered) for shares in found]
        return Asked(self.rows[np.concatenate(offered)], np.stack(found), self.numbers)


def _kept(data: pd.DataFrame, config: NeighboursConfig) -> pd.DataFrame:
    """Return the lines of the items known and the contacts kept."""
    lines = data[data["contact_id"].notna()]
    last = lines.groupby("contact_id", observed=True)["time"].max()
    if len(last) > config.most_contacts:
        last = last.sort_index().sort_values(ascending=False, kind="stable").head(config.most_contacts)
        lines = lines[lines["contact_id"].isin(last.index)]
    pairs = lines[["contact_id", "item_id"]].drop_duplicates()
    buyers = pairs["item_id"].value_counts()
    buyers = buyers[buyers >= config.least_buyers].sort_index().sort_values(ascending=False, kind="stable")
    return lines[lines["item_id"].isin(buyers.index[: config.most_items])]


def _rarity(buyers: npt.NDArray[np.int64], contacts: int) -> Floats:
    """Return the inverse document frequency of the items."""
    return np.log1p(contacts / np.maximum(buyers, 1.0))


def _unit(matrix: sp.csr_matrix) -> sp.csr_matrix:
    """Return the rows at length 1, in single precision, their pattern as it was."""
    lengths = np.sqrt(np.asarray(matrix.multiply(matrix).sum(axis=1)).ravel())
    values = matrix.data / np.repeat(np.maximum(lengths, 1e-12), np.diff(matrix.indptr))
    return sp.csr_matrix((values.astype(np.float32), matrix.indices, matrix.indptr), shape=matrix.shape)
