"""What comes next after what was bought: a small causal transformer over purchases (see models._sasrec)."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
import pandas as pd
from safetensors.numpy import load_file, save_file

from models._shelf import shelf_of
from models.base import Ranking, Reason, Shopper
from models.catalogue import Catalogue
from nextbest.errors import BadInput, NotReady
from nextbest.progress import Progress, silent

if TYPE_CHECKING:
    from models._sasrec import Histories

Floats32 = npt.NDArray[np.float32]
Weights = Mapping[str, Floats32]
CHECKED_CONTACTS = 1_000
"""Contacts whose last order early stopping looks at."""
MOST_CHECKED = 0.3
"""Share of the contacts with two orders or more that may be kept for it."""


@dataclass(frozen=True)
class SequenceConfig:
    """Size of the net and how long it learns."""

    width: int = 64
    """Numbers an item is described by."""
    blocks: int = 1
    heads: int = 1
    dropout: float = 0.2
    length: int = 50
    """Last purchases that are looked at."""
    negatives: int = 512
    """Items drawn a batch, that a target must beat."""
    learning_rate: float = 0.002
    epochs: int = 8
    """Passes over the purchases at most."""
    patience: int = 2
    """Epochs without a better validation after which learning stops."""
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
        for name in (
            "width",
            "blocks",
            "heads",
            "length",
            "negatives",
            "epochs",
            "epoch_lines",
            "min_count",
            "max_items",
            "threads",
        ):
            if getattr(self, name) < 1:
                raise BadInput(f"{name} is {getattr(self, name)}; it must be 1 or more")
        if self.width % self.heads:
            raise BadInput(f"width {self.width} is not a multiple of heads {self.heads}")
        if not (0 <= self.dropout < 1 and self.learning_rate > 0):
            raise BadInput("dropout must be in [0, 1) and learning_rate above 0")


class SequenceModel:
    """Vocabulary and weights; one shopper costs a forward pass on numpy and a product with every item."""

    kind: ClassVar[str] = "sequence"

    def __init__(
        self, config: SequenceConfig, item_ids: Sequence[str], weights: Weights, epochs: int
    ) -> None:
        self.config = config
        self.item_ids = np.asarray(item_ids, dtype=object)
        self.weights = {
            name: np.ascontiguousarray(values, dtype=np.float32) for name, values in weights.items()
        }
        self.epochs = epochs
        """Epochs the weights have learned."""
        self.number = {str(item): number for number, item in enumerate(self.item_ids)}

    @classmethod
    def learn(
        cls,
        data: pd.DataFrame,
        config: SequenceConfig | None = None,
        seed: int = 0,
        progress: Progress = silent,
    ) -> Self:
        """Learn from purchases: `contact_id`, `order_id`, `item_id`, `time` (epoch seconds), in any order.

        Raises NotReady where too few items or contacts with two orders are left to learn from.
        """
        from models import _sasrec  # torch takes a second to import and serving does without

        config = config or SequenceConfig()
        item_ids = vocabulary(data, config)
        lines = _numbered(data, item_ids)
        histories, check = _sasrec.split_last(lines, config.length, CHECKED_CONTACTS, MOST_CHECKED, seed)
        if len(item_ids) < 2 or not histories.learnable():
            raise NotReady(
                f"there is no sequence to learn: {len(item_ids)} items were bought {config.min_count} times "
                "or more, and no contact has two orders of them; ingest more orders or use --set min_count=1"
            )
        weights, epochs = _sasrec.fit(histories, check, len(item_ids), config, seed, progress)
        model = cls(config, item_ids, weights, epochs)
        return model.relearned(data, seed, progress) if config.refit and check is not None else model

    def relearned(self, data: pd.DataFrame, seed: int = 0, progress: Progress = silent) -> Self:
        """Learn anew from other purchases, for as many epochs as were best, keeping none of them back."""
        from models import _sasrec

        item_ids = vocabulary(data, self.config)
        config = replace(self.config, epochs=self.epochs)
        lines = _numbered(data, item_ids)
        weights, _ = _sasrec.fit(lines, None, len(item_ids), config, seed, progress)
        return type(self)(self.config, item_ids, weights, self.epochs)

    def scores(self, items: Sequence[str]) -> Floats32 | None:
        """Return the log-probability of every item of the vocabulary after `items` (oldest first).

        None where none of them is known.
        """
        number = self.number
        known = (number[item] for item in reversed(items) if item in number)
        numbers = list(islice(known, self.config.length))[::-1]
        if not numbers:
            return None
        state = self._state(np.array(numbers))
        # not `@`: BLAS would wake its threads, and waiting for busy cores costs a hundred times the product
        logits = np.einsum("ic,c->i", self.weights["items.weight"], state)
        logits -= logits.max()
        return np.asarray(logits - np.log(np.exp(logits).sum()), dtype=np.float32)

    def _state(self, numbers: npt.NDArray[np.int64]) -> Floats32:
        """The net of models._sasrec at its last position, shape (C,)."""
        w = self.weights
        x = w["items.weight"][numbers] + w["positions.weight"][: len(numbers)]  # (T, C)
        for block in range(self.config.blocks):
            x = self._block(x, f"blocks.{block}.", only_last=block == self.config.blocks - 1)
        return _norm(x[-1:], w["norm.weight"], w["norm.bias"])[0]

    def _block(self, x: Floats32, at: str, only_last: bool) -> Floats32:
        w, heads = self.weights, self.config.heads
        width = x.shape[1]
        normed = _norm(x, w[at + "norm_attention.weight"], w[at + "norm_attention.bias"])
        asking = normed[-1:] if only_last else normed

        def part(rows: Floats32, number: int) -> Floats32:
            """Query, key or value, (heads, T, C / heads); one by one they stay below what BLAS splits up."""
            span = slice(number * width, (number + 1) * width)
            made = rows @ w[at + "attention.weight"][span].T + w[at + "attention.bias"][span]
            return made.reshape(len(rows), heads, width // heads).transpose(1, 0, 2)

        q, k, v = part(asking, 0), part(normed, 1), part(normed, 2)
        logits = q @ k.transpose(0, 2, 1) / np.float32(np.sqrt(width // heads))  # (heads, Q, T)
        if only_last:
            x = x[-1:]
        else:
            logits = np.where(np.tri(len(x), dtype=np.bool_), logits, np.float32(-np.inf))
        attention = np.exp(logits - logits.max(-1, keepdims=True))
        attention /= attention.sum(-1, keepdims=True)
        y = (attention @ v).transpose(1, 0, 2).reshape(len(x), width)
        x = x + y @ w[at + "project.weight"].T + w[at + "project.bias"]
        normed = _norm(x, w[at + "norm_feed.weight"], w[at + "norm_feed.bias"])
        hidden = np.maximum(normed @ w[at + "widen.weight"].T + w[at + "widen.bias"], 0)
        return x + hidden @ w[at + "narrow.weight"].T + w[at + "narrow.bias"]

    def recommend(
        self, shopper: Shopper, catalogue: Catalogue, k: int, context: Sequence[str] = ()
    ) -> Ranking:
        """Return the k items most probable after the purchases, the context taken for the latest of them.

        Empty where neither holds an item that is known.
        """
        past = [*reversed(shopper.recent_items), *context]
        scores = self.scores(past)
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
        """Write sequence.json, items.parquet and weights.safetensors."""
        facts = {"config": asdict(self.config), "epochs": self.epochs}
        (folder / "sequence.json").write_text(json.dumps(facts, indent=1))
        pd.DataFrame({"item_id": self.item_ids.astype(str)}).to_parquet(folder / "items.parquet", index=False)
        save_file(self.weights, folder / "weights.safetensors")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote."""
        facts = json.loads((folder / "sequence.json").read_text())
        items = pd.read_parquet(folder / "items.parquet")["item_id"].tolist()
        weights = load_file(folder / "weights.safetensors")
        return cls(SequenceConfig(**facts["config"]), items, weights, facts["epochs"])


def vocabulary(data: pd.DataFrame, config: SequenceConfig) -> list[str]:
    """Return the items bought often enough, the most bought if they are too many, in order of their ids."""
    counts = data["item_id"].value_counts()
    counts = counts[counts >= config.min_count].sort_index().sort_values(ascending=False, kind="stable")
    return sorted(str(item) for item in counts.index[: config.max_items])


def top(scores: npt.NDArray[np.floating[Any]], k: int) -> npt.NDArray[np.int64]:
    """Return the positions of the k highest scores, highest first, equal ones in order of position."""
    found = np.sort(np.argpartition(-scores, k)[:k]) if k < len(scores) else np.arange(len(scores))
    return found[np.argsort(-scores[found], kind="stable")].astype(np.int64)


def _numbered(data: pd.DataFrame, item_ids: Sequence[str]) -> "Histories":
    from models._sasrec import Histories

    lines = data.assign(
        item=pd.Categorical(data["item_id"], categories=list(item_ids)).codes.astype(np.int64)
    )
    lines = lines[(lines["item"] >= 0) & lines["contact_id"].notna()]
    lines = lines.sort_values(["contact_id", "time", "order_id", "item"])
    contact = pd.factorize(lines["contact_id"])[0].astype(np.int64)
    order = pd.factorize(lines["order_id"])[0]
    first = (np.diff(order, prepend=-1) != 0) | (np.diff(contact, prepend=-1) != 0)
    return Histories(contact, np.cumsum(first), lines["item"].to_numpy(np.int64))


def _norm(x: Floats32, weight: Floats32, bias: Floats32) -> Floats32:
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt((centred * centred).mean(-1, keepdims=True) + np.float32(1e-5)) * weight + bias
