"""What comes next after what was bought: a small causal transformer over purchases (models._sasrec)."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
import numpy.typing as npt
import pandas as pd
from safetensors.numpy import load_file, save_file

from models._cold import Floats, Newcomers
from models._sasrec_numpy import Floats32, Weights, state_of
from models._shelf import shelf_of
from models.base import Ranking, Reason, Shopper
from models.catalogue import Catalogue
from models.nearest import Nearest, top
from nextbest.errors import BadInput, NotReady
from nextbest.progress import Progress, silent

MOST_CHECKED = 0.3
"""Share of the contacts with two orders or more that may be kept for early stopping."""
NEW_DAYS = 30.0
"""Days after its first sale that an item is surely new."""
MOST_COLD = 2_000
"""Items nobody bought that are described at most: every request compares itself with each."""
AUTO = -1
"""In a configuration: follows from the data."""
POSITIVE = (
    "blocks", "heads", "length", "negatives", "patience", "epoch_lines", "min_count", "max_items", "threads",
)  # fmt: skip
BUDGET = 16_000_000
"""Purchases passed over in all, where the number of epochs is left open."""
EPOCHS = 10, 100
"""Epochs at least and at most, where their number is left open."""


@dataclass(frozen=True)
class SequenceConfig:
    """Size of the net and how long it learns; what is AUTO follows from the data (`sized`)."""

    width: int = AUTO
    """Numbers an item is described by."""
    blocks: int = 1
    heads: int = 1
    dropout: float = AUTO
    length: int = 50
    """Last purchases that are looked at."""
    negatives: int = 512
    """Items drawn a batch, that a target must beat."""
    full_softmax: int = 2_000
    """Items up to which a target must beat all of them."""
    learning_rate: float = 0.001
    average: float = 0.998
    """Part of the weights' running average that is kept a step; the average is what is used (0: none)."""
    epochs: int = AUTO
    """Passes over the purchases at most."""
    patience: int = 10
    """Epochs without a better validation after which learning stops."""
    checked: int = 5_000
    """Contacts whose last order early stopping looks at."""
    epoch_lines: int = 500_000
    """Purchases an epoch looks at, drawn anew, where there are more."""
    min_count: int = 5
    """Purchases an item must have to be known."""
    max_items: int = 20_000
    """Items known at most, the most bought."""
    threads: int = 1
    """Threads that learn; on cores that others use too, several wait for each other longer than they work."""
    refit: bool = False
    """Learn again for as many epochs as were best, on the last orders too."""

    def __post_init__(self) -> None:
        for name in (*POSITIVE, *(name for name in ("width", "epochs") if getattr(self, name) != AUTO)):
            if getattr(self, name) < 1:
                raise BadInput(f"{name} is {getattr(self, name)}; it must be 1 or more")
        if self.width != AUTO and self.width % self.heads:
            raise BadInput(f"width {self.width} is not a multiple of heads {self.heads}")
        if not (
            (self.dropout == AUTO or 0 <= self.dropout < 1)
            and self.learning_rate > 0
            and 0 <= self.average < 1
        ):
            raise BadInput("dropout and average must be in [0, 1) and learning_rate above 0")

    def sized(self, items: int, lines: int) -> "SequenceConfig":
        """Return the same with everything decided, for so many items known and purchases of them.

        The less there is to learn an item from, the stronger the dropout; the fewer items, the narrower.
        """
        width = self.heads * max(_width(items) // self.heads, 1) if self.width == AUTO else self.width
        dropout = _dropout(lines / max(items, 1)) if self.dropout == AUTO else self.dropout
        epochs = int(np.clip(BUDGET // max(min(lines, self.epoch_lines), 1), *EPOCHS))
        epochs = epochs if self.epochs == AUTO else self.epochs
        return replace(self, width=width, dropout=dropout, epochs=epochs)


def _width(items: int) -> int:
    return 32 if items < 500 else 64


def _dropout(lines_an_item: float) -> float:
    """0.4 at a dozen purchases an item, 0.2 from about fifty on."""
    return float(np.clip(np.round(0.4 - 0.1 * np.log2(max(lines_an_item, 1.0) / 12.0), 2), 0.2, 0.5))


class SequenceModel:
    """Vocabulary and weights; one shopper costs a forward pass on numpy and a product with every item."""

    kind: ClassVar[str] = "sequence"

    def __init__(
        self,
        config: SequenceConfig,
        item_ids: Sequence[str],
        weights: Weights,
        epochs: int,
        curve: Sequence[float] = (),
        newcomers: Newcomers | None = None,
        nearest: Nearest | None = None,
    ) -> None:
        self.config = config
        self.item_ids = np.asarray(item_ids, dtype=object)
        self.weights = {
            name: np.ascontiguousarray(values, dtype=np.float32) for name, values in weights.items()
        }
        self.epochs = epochs
        """Epochs the weights have learned."""
        self.curve = tuple(curve)
        """NDCG@20 of early stopping's orders after each epoch, of the fit that chose `epochs`."""
        self.learned = len(self.weights["items.weight"])
        """Items the net knows, the first of `item_ids`; those after them are the newcomers."""
        self.newcomers = newcomers
        self._nearest = nearest
        self.number = {str(item): number for number, item in enumerate(self.item_ids)}

    @classmethod
    def learn(
        cls,
        data: pd.DataFrame,
        config: SequenceConfig | None = None,
        seed: int = 0,
        progress: Progress = silent,
        checkpoint: Path | None = None,
    ) -> Self:
        """Learn from purchases: `contact_id`, `order_id`, `item_id`, `time` (epoch seconds), in any order.

        With a `checkpoint` file, learning that was killed goes on where it was. Raises NotReady where too few
        items or contacts with two orders are left to learn from.
        """
        from models import _fitting, _histories  # torch takes a second to import and serving does without

        config = config or SequenceConfig()
        item_ids = vocabulary(data, config)
        lines = _histories.Histories.of(data, item_ids)
        config = config.sized(len(item_ids), len(lines.item))
        histories, check = _histories.split_last(lines, config.length, config.checked, MOST_CHECKED, seed)
        if len(item_ids) < 2 or not histories.learnable():
            raise NotReady(
                f"there is no sequence to learn: {len(item_ids)} items were bought {config.min_count} times "
                "or more, and no contact has two orders of them; ingest more orders or use --set min_count=1"
            )
        found = _fitting.fit(histories, check, len(item_ids), config, seed, progress, checkpoint)
        model = cls(config, item_ids, found.weights, found.epochs, found.curve)
        refit = config.refit and check is not None
        return model.relearned(data, seed, progress, checkpoint) if refit else model

    def relearned(
        self,
        data: pd.DataFrame,
        seed: int = 0,
        progress: Progress = silent,
        checkpoint: Path | None = None,
    ) -> Self:
        """Learn anew from other purchases, for as many epochs as were best, keeping none of them back."""
        from models import _fitting, _histories

        item_ids = vocabulary(data, self.config)
        config = replace(self.config, epochs=self.epochs)
        lines = _histories.Histories.of(data, item_ids)
        found = _fitting.fit(lines, None, len(item_ids), config, seed, progress, checkpoint)
        return type(self)(self.config, item_ids, found.weights, self.epochs, self.curve)

    def extended(self, catalogue: Catalogue, most: int = MOST_COLD) -> "SequenceModel":
        """Return the same with up to `most` items of the catalogue that it has not learned: the newest.

        They are as likely as the contact's own purchases say of items of their category, brand and price
        (models._cold), so that a product can be recommended before anybody bought it.
        """
        rows = shelf_of(catalogue).rows_of(self.item_ids.tolist())
        cold = newest(catalogue, rows[rows >= 0], most)
        if not len(cold) or self.newcomers is not None or not (rows >= 0).any():
            return self
        names = [*self.item_ids, *catalogue.item_ids[cold]]
        newcomers = Newcomers(catalogue, rows, cold)
        return type(self)(self.config, names, self.weights, self.epochs, self.curve, newcomers, self._nearest)

    def similar(self, item_ids: Sequence[str], k: int) -> list[tuple[str, float]]:
        """Return the k items described most like those given (known ones), with the cosine; best first."""
        numbers = self._numbers(item_ids)
        if not numbers:
            return []
        asked = self.nearest.embeddings[numbers].mean(axis=0)
        others = np.ones(self.learned, dtype=np.bool_)
        others[numbers] = False
        found, cosines = self.nearest.search(asked / max(float(np.linalg.norm(asked)), 1e-12), k, others)
        return list(zip(map(str, self.item_ids[found]), cosines.tolist(), strict=True))

    @property
    def nearest(self) -> Nearest:
        """The search among the directions of the items; built when first asked for, unless loaded."""
        if self._nearest is None:
            self._nearest = Nearest.over(_directions(self.weights))
        return self._nearest

    def scores(self, items: Sequence[str], often: Mapping[str, float] | None = None) -> Floats32 | None:
        """Return the log-probability of every item of the vocabulary after `items` (oldest first).

        `often` says how many times each was bought, which newcomers go by; missing: once each of `items`.
        None where none of them is known.
        """
        numbers = self._numbers(items)
        if not numbers:
            return None
        state = state_of(self.weights, self.config, np.array(numbers[-self.config.length :]))
        # not `@`: BLAS would wake its threads, and waiting for busy cores costs a hundred times the product
        logits = np.einsum("ic,c->i", self.weights["items.weight"], state)
        logits -= logits.max()
        found = logits - np.log(np.exp(logits).sum())
        if self.newcomers is not None:
            shares = self._shares(self.newcomers, often or dict.fromkeys(items, 1.0))
            found = np.concatenate([found, np.log(shares)]) - np.log1p(shares.sum())
        return np.asarray(found, dtype=np.float32)

    def _shares(self, newcomers: Newcomers, often: Mapping[str, float]) -> Floats:
        known = {
            item: times for item, times in often.items() if self.number.get(item, self.learned) < self.learned
        }
        bought = np.array([self.number[item] for item in known], dtype=np.int64)
        return newcomers.shares(bought, np.array(list(known.values()), dtype=np.float64))

    def _numbers(self, items: Sequence[str]) -> list[int]:
        known = (self.number.get(item, self.learned) for item in items)
        return [number for number in known if number < self.learned]

    def recommend(
        self, shopper: Shopper, catalogue: Catalogue, k: int, context: Sequence[str] = ()
    ) -> Ranking:
        """Return the k items most probable after the purchases, the context taken for the latest of them.

        Empty where neither holds an item that is known.
        """
        past = [*reversed(shopper.recent_items), *context]
        scores = self.scores(past, often(shopper))
        if scores is None:
            return Ranking([], np.empty(0), [], self.kind)
        best = top(scores, 2 * k)
        keep = best[shelf_of(catalogue).rows_of(self.item_ids[best].tolist()) >= 0][:k]
        last = next(item for item in reversed(past) if item in self.number)
        reason = Reason("similar_to", {"item_id": last})
        return Ranking(
            [str(item) for item in self.item_ids[keep]],
            scores[keep].astype(np.float64),
            [reason] * len(keep),
            self.kind,
        )  # fmt: skip

    def save(self, folder: Path) -> None:
        """Write sequence.json, items.parquet, weights.safetensors and, for many items, their `nearest`."""
        facts = {"config": asdict(self.config), "epochs": self.epochs, "curve": self.curve}
        (folder / "sequence.json").write_text(json.dumps(facts, indent=1))
        self.nearest.save(folder)
        pd.DataFrame({"item_id": self.item_ids.astype(str)}).to_parquet(folder / "items.parquet", index=False)
        save_file(self.weights, folder / "weights.safetensors")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote."""
        facts = json.loads((folder / "sequence.json").read_text())
        items = pd.read_parquet(folder / "items.parquet")["item_id"].tolist()
        weights = load_file(folder / "weights.safetensors")
        curve = facts.get("curve", ())
        nearest = Nearest.load(folder, _directions(weights))
        return cls(SequenceConfig(**facts["config"]), items, weights, facts["epochs"], curve, nearest=nearest)


def _directions(weights: Weights) -> Floats32:
    table = weights["items.weight"]
    return np.asarray(table / np.maximum(np.linalg.norm(table, axis=1, keepdims=True), 1e-12))


def vocabulary(data: pd.DataFrame, config: SequenceConfig) -> list[str]:
    """Return the items bought often enough, the most bought if they are too many, in order of their ids."""
    counts = data["item_id"].value_counts()
    counts = counts[counts >= config.min_count].sort_index().sort_values(ascending=False, kind="stable")
    return sorted(str(item) for item in counts.index[: config.max_items])


def often(shopper: Shopper) -> dict[str, float]:
    """Return how many times each item of the personal list was bought."""
    return dict(zip(shopper.repeat_items, shopper.repeat_count.tolist(), strict=True))


def newest(catalogue: Catalogue, known: npt.NDArray[np.int64], most: int) -> npt.NDArray[np.int64]:
    """Return up to `most` rows that are not `known` and may be sold, the newest first.

    Those first sold within NEW_DAYS lead, the latest first; then come those never sold, which may as well be
    old; then the rest.
    """
    out = ~catalogue.in_stock | catalogue.hidden
    out[known] = True
    rows = np.flatnonzero(~out)
    days = (catalogue.now - catalogue.statistics["first_sold"][rows]) / 86_400.0
    age = np.where(np.isnan(days), NEW_DAYS, days)
    return np.asarray(rows[np.lexsort((catalogue.item_ids[rows].astype(str), age))][:most], dtype=np.int64)
