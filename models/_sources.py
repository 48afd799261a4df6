"""Further sources of candidates, each a model of its own: what one must offer to be merged and ranked.

A new one is a model with `columns`, `tied` and the three methods of every model, named in SOURCES; the job
learns it. A source that is missing leaves its columns unknown.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from models._shelf import Rows, Shelf
from models.base import Floats, Model, Shopper

FLOOR = 0.1
"""Part of the best score below which the best are looked for only where there are too few above."""


@dataclass(frozen=True)
class Asked:
    """What a source says to one shopper."""

    offered: Rows
    """Catalogue rows it proposes."""
    scores: Floats
    """(columns, items of the source): what it says of each."""
    numbers: Rows
    """Each catalogue row's number among the items of the source, -1: unknown to it."""

    def of(self, rows: Rows) -> Floats:
        """Return (columns, rows) and below it each as a part of its best, 0 for what is unknown to it."""
        numbers = self.numbers[rows]
        said = np.where(numbers >= 0, self.scores[:, numbers], 0.0)
        peaks = self.scores.max(axis=1, initial=0.0, keepdims=True)
        return np.concatenate([said, said / np.maximum(peaks, 1e-12)])


class Tied(Protocol):
    """A source tied to a shelf: its own numbers are catalogue rows."""

    def ask(self, shopper: Shopper, context: Sequence[str]) -> Asked | None:
        """Say what it knows; None: nothing of this shopper."""


def columns_of(source: "type[Source]") -> tuple[str, ...]:
    """Return the ranker's names of what a source says; those of its `plain`, if any, as they are alone."""
    best_of: tuple[str, ...] = tuple(f"{name}_best" for name in source.columns)
    return (*source.columns, *best_of, *getattr(source, "plain", ()))


@runtime_checkable
class Source(Model, Protocol):
    """A model that proposes items and says something of each."""

    columns: ClassVar[tuple[str, ...]]
    """What it says of a candidate; the ranker sees each also as a part of the best there is."""

    def tied(self, shelf: Shelf) -> Tied:
        """Return it with its item numbers turned into rows of the shelf."""


def numbered(rows: Rows, size: int) -> Rows:
    """Turn the catalogue row of each number into the number of each of `size` rows, -1: none."""
    numbers = np.full(size, -1, dtype=np.int64)
    known = np.flatnonzero(rows >= 0)
    numbers[rows[known]] = known
    return numbers


def weighed(matrix: sp.csr_matrix, rows: Rows, weights: npt.NDArray[np.floating[Any]]) -> Floats:
    """Return the sum of the matrix's rows, each times its weight: matrix[rows].T @ weights.

    For a few rows scipy takes longer to check and to make its matrices than to multiply.
    """
    starts, stops = matrix.indptr[rows], matrix.indptr[rows + 1]
    spans = [slice(*span) for span in zip(starts.tolist(), stops.tolist(), strict=True)]
    at = np.concatenate([matrix.indices[span] for span in spans])
    values = np.concatenate([matrix.data[span] for span in spans])
    return np.asarray(np.bincount(at, values * np.repeat(weights, stops - starts), matrix.shape[1]))


def best(scores: Floats, k: int) -> Rows:
    """Return the places of the k highest scores above 0, in no order."""
    found = np.flatnonzero(scores > FLOOR * scores.max(initial=0.0))
    if len(found) < k:
        found = np.flatnonzero(scores > 0)
    if len(found) > k:
        found = found[np.argpartition(-scores[found], k)[:k]]
    return found
