"""The k embeddings with the largest inner product with a query: exact for few items, by a graph for many.

Many are searched by HNSW (Malkov and Yashunin 2018, usearch's), which brings candidates that are then scored
exactly: a score is never approximate, only which items are found may be. How many of the true ones are found
is measured when the graph is built; where too few are, the search stays exact. The graph knows angles, so
inner products are made into them by one more dimension (Bachrach et al. 2014): every row gets the length of
the longest, sqrt(M² - |x|²) in a place where queries have 0.
"""

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt

from nextbest.errors import ArtifactError, BadInput

if TYPE_CHECKING:
    from usearch.index import Index

log = logging.getLogger(__name__)

Floats32 = npt.NDArray[np.float32]
Numbers = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

EXACT_UP_TO = 100_000
"""Items up to which all are scored: two milliseconds, of which the graph saves one."""
LEAST_RECALL = 0.95
"""Recall below which the graph is not used."""
RECALL_AT = 100
"""Items a query of the measured recall asks for."""
SAMPLE = 200
"""Items the recall is measured with, each as the query, itself left out."""
CONNECTIVITY = 16
"""Neighbours of an item in the graph (M in the paper)."""
BUILDING = 128
"""Candidates looked at for the neighbours of an item that is added (efConstruction)."""
EXPANSIONS = (128, 256, 512, 1024)
"""Candidates a search keeps at least (ef), tried in turn until the recall is reached."""
SPARE = 2
"""Candidates fetched for each item asked for; half precision and the graph's edge cost some of them."""
MOST_FETCHED = 0.005
"""Share of the items from which fetching costs as much as scoring all of them."""
FEW = 0.25
"""Share of the items below which those allowed are taken out and scored alone."""
GRAPH, FACTS = "nearest.usearch", "nearest.json"


class Nearest:
    """Embeddings and, if they are many, a graph over them; those after the graph's are always scored."""

    def __init__(self, embeddings: Floats32, graph: "Index | None" = None, recall: float = 1.0) -> None:
        """Take embeddings (items, C) and a graph of the first of them; `over` and `load` make one."""
        if embeddings.ndim != 2:
            raise BadInput(f"embeddings have the shape {embeddings.shape}; it must be (items, numbers)")
        self.embeddings = embeddings
        self.recall = recall
        """Share of the true RECALL_AT nearest that are found; 1 where the search is exact."""
        self._graph = graph

    @classmethod
    def over(cls, embeddings: Floats32, seed: int = 0, exact_up_to: int = EXACT_UP_TO) -> Self:
        """Make the search for embeddings (items, C), exact up to so many items.

        A bias of each item is one more column, which is 1 in every query. The recall is that of queries like
        the items, a sample drawn by `seed`; others may find fewer. Building takes minutes for half a million
        items, on one thread, and gives the same graph each time. Raises BadInput for what is not finite.
        """
        exact = cls(embeddings)
        if len(embeddings) <= max(exact_up_to, 1):
            return exact
        if not np.isfinite(embeddings).all():
            raise BadInput(
                "embeddings hold numbers that are not finite; learn again at a lower learning_rate"
            )
        graph, check = _graph_of(embeddings), _Check.by(exact, seed)
        recall = 0.0
        for expansion in EXPANSIONS:
            _keep(graph, expansion)
            recall = check.recall(cls(embeddings, graph))
            if recall >= LEAST_RECALL:
                return cls(embeddings, graph, recall)
        log.warning(
            "of the %d nearest of %d items the graph finds %.3f, less than %.2f: all are scored instead",
            RECALL_AT, len(embeddings), recall, LEAST_RECALL,
        )  # fmt: skip
        return exact

    def __len__(self) -> int:
        return len(self.embeddings)

    @property
    def is_exact(self) -> bool:
        """Return whether every item is scored."""
        return self._graph is None

    def with_more(self, embeddings: Floats32) -> Self:
        """Return the same with newcomers (items, C) behind the others, scored beside the graph."""
        return type(self)(np.concatenate([self.embeddings, embeddings]), self._graph, self.recall)

    def search(self, query: Floats32, k: int, allowed: Mask | None = None) -> tuple[Numbers, Floats32]:
        """Return the numbers of the k best items and their inner products with the query (C,), best first.

        `allowed` (items,) tells which may be found; fewer than k are returned only if fewer are allowed.
        Equal scores are in order of their numbers. Raises BadInput for another shape, or k below 1.
        """
        self._check(query, k, allowed)
        rows = None if self._graph is None else self._fetched(self._graph, query, k, allowed)
        return self._exact(query, k, allowed) if rows is None else self._best(rows, query, k)

    def save(self, folder: Path) -> None:
        """Write nearest.usearch and nearest.json, if there is a graph; the embeddings are the caller's."""
        if self._graph is None:
            return
        facts = {
            "items": len(self._graph),
            "recall": self.recall,
            "expansion": int(self._graph.expansion_search),
        }
        (folder / FACTS).write_text(json.dumps(facts, indent=1))
        self._graph.save(str(folder / GRAPH))

    @classmethod
    def load(cls, folder: Path, embeddings: Floats32) -> Self:
        """Read what `save` wrote, for the same embeddings; exact where it wrote nothing.

        Raises ArtifactError where the graph is of other embeddings.
        """
        if not (folder / GRAPH).exists():
            return cls(embeddings)
        facts = json.loads((folder / FACTS).read_text())
        graph = _empty(embeddings.shape[1] + 1)
        graph.load(str(folder / GRAPH))
        if not len(graph) == facts["items"] <= len(embeddings) or graph.ndim != embeddings.shape[1] + 1:
            raise ArtifactError(
                f"{folder / GRAPH} holds {len(graph)} items of {graph.ndim - 1} numbers, the model "
                f"{len(embeddings)} of {embeddings.shape[1]}: train it again"
            )
        _keep(graph, facts["expansion"])
        return cls(embeddings, graph, facts["recall"])

    def _check(self, query: Floats32, k: int, allowed: Mask | None) -> None:
        if query.shape != self.embeddings.shape[1:]:
            raise BadInput(f"the query has the shape {query.shape}; it must be {self.embeddings.shape[1:]}")
        if allowed is not None and allowed.shape != (len(self),):
            raise BadInput(f"allowed has the shape {allowed.shape}; it must be {(len(self),)}")
        if k < 1:
            raise BadInput(f"k is {k}; it must be 1 or more")

    def _exact(self, query: Floats32, k: int, allowed: Mask | None) -> tuple[Numbers, Floats32]:
        if allowed is not None and np.count_nonzero(allowed) < FEW * len(self):
            return self._best(np.flatnonzero(allowed), query, k)
        scores = _products(self.embeddings, query)
        if allowed is not None:
            scores[~allowed] = -np.inf
        found = top(scores, k)
        found = found[np.isfinite(scores[found])]
        return found, scores[found]

    def _best(self, rows: Numbers, query: Floats32, k: int) -> tuple[Numbers, Floats32]:
        """Return the k best of the rows, which rise."""
        scores = _products(self.embeddings[rows], query)
        best = top(scores, k)
        return rows[best], scores[best]

    def _fetched(self, graph: "Index", query: Floats32, k: int, allowed: Mask | None) -> Numbers | None:
        """Return allowed rows the k best are among, rising; None where scoring all is cheaper.

        The rarer the allowed items, the more are fetched; more again until k of them are there.
        """
        share = 1.0 if allowed is None else np.count_nonzero(allowed) / len(self)
        fetch = int(np.ceil(SPARE * k / max(share, 1e-9)))
        while fetch <= MOST_FETCHED * len(graph):
            near = graph.search(_asked(query), fetch, threads=1).keys.astype(np.int64)
            near = near if allowed is None else near[allowed[near]]
            if len(near) >= k:
                newcomers = np.arange(len(graph), len(self))
                newcomers = newcomers if allowed is None else newcomers[allowed[newcomers]]
                return np.concatenate([np.sort(near), newcomers])
            fetch *= 4
        return None


@dataclass(frozen=True)
class _Check:
    """What a sample of items must find, each as the query, itself left out."""

    items: Numbers
    k: int
    least: Sequence[float]
    """The k-th best score of each: whatever scores as much is rightly found."""

    @classmethod
    def by(cls, exact: Nearest, seed: int) -> Self:
        items = np.random.default_rng(seed).choice(len(exact), min(SAMPLE, len(exact)), replace=False)
        k = min(RECALL_AT, len(exact) - 1)
        return cls(items, k, [float(_like(exact, item, k)[-1]) for item in items])

    def recall(self, search: Nearest) -> float:
        pairs = zip(self.items, self.least, strict=True)
        hits = [np.count_nonzero(_like(search, item, self.k) >= least) for item, least in pairs]
        return float(np.mean(hits)) / self.k


def _like(search: Nearest, item: int, k: int) -> Floats32:
    """Return the scores of the k items that go with the item most, but for itself."""
    others = np.ones(len(search), dtype=np.bool_)
    others[item] = False
    return search.search(search.embeddings[item], k, others)[1]


def _graph_of(embeddings: Floats32) -> "Index":
    squares = np.einsum("ic,ic->i", embeddings, embeddings)
    longest = max(float(np.sqrt(squares.max())), 1e-12)
    rest = np.sqrt(np.maximum(longest**2 - squares, 0.0))
    rows = np.column_stack([embeddings, rest]).astype(np.float32) / np.float32(longest)
    graph = _empty(rows.shape[1])
    graph.add(np.arange(len(rows)), rows, threads=1)  # more would make another graph each time
    return graph


def _empty(width: int) -> "Index":
    from usearch.index import Index  # a tenth of a second, and few shops have so many items

    return Index(
        ndim=width, metric="ip", dtype="f16", connectivity=CONNECTIVITY, expansion_add=BUILDING,
        enable_key_lookups=False,
    )  # fmt: skip


def _keep(graph: "Index", expansion: int) -> None:
    """Let every search keep at least so many candidates."""
    graph.expansion_search = expansion  # type: ignore[misc]  # its setter has another name


def _asked(query: Floats32) -> Floats32:
    length = max(float(np.linalg.norm(query)), 1e-12)
    return np.append(query / length, 0.0).astype(np.float32)


def _products(rows: Floats32, query: Floats32) -> Floats32:
    # not `@`: BLAS would wake its threads, and waiting for busy cores costs a hundred times the product
    return np.asarray(np.einsum("ic,c->i", rows, query))


def top(scores: npt.NDArray[np.floating[Any]], k: int) -> Numbers:
    """Return the positions of the k highest scores, highest first, equal ones in order of position."""
    found = np.arange(len(scores))
    if k < len(scores):  # values alone are parted three times as fast as places
        least = np.partition(scores, len(scores) - k)[len(scores) - k]
        above, at = np.flatnonzero(scores > least), np.flatnonzero(scores == least)
        found = np.sort(np.concatenate([above, at[: k - len(above)]]))
    return found[np.argsort(-scores[found], kind="stable")].astype(np.int64)
