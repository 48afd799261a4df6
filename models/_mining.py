"""Exact counts of what lies in a basket together, in bounded memory (sparse products, block by block)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pandas as pd
import scipy.sparse as sp

from nextbest.progress import Progress, silent

Ints = npt.NDArray[np.integer[Any]]

BLOCK = 8_000_000
"""Products summed in one block: bounds a block's result to about this many entries, some 100 MB."""


@dataclass(frozen=True)
class Baskets:
    """Lines of baskets as parallel arrays of numbers: `basket`, and `item`, which counts into item_ids."""

    item_ids: npt.NDArray[np.object_]
    basket: Ints
    item: Ints

    @classmethod
    def of(cls, order_ids: Sequence[str], item_ids: Sequence[str]) -> Self:
        """Number the lines' orders and items, the items by their ids."""
        basket, _ = pd.factorize(np.asarray(order_ids, dtype=object))
        item, names = pd.factorize(np.asarray(item_ids, dtype=object), sort=True)
        return cls(np.asarray(names, dtype=object), basket.astype(np.int64), item.astype(np.int64))

    def __len__(self) -> int:
        return int(self.basket.max()) + 1 if len(self.basket) else 0


def mine(
    baskets: Baskets, least: int, confidence: Sequence[float] = (0.0, 0.0), progress: Progress = silent
) -> pd.DataFrame:
    """Return every rule seen in `least` baskets or more, with its counts.

    `confidence`: the least of rules with one antecedent, then of rules with two; those are not looked for
    where only one is given. Columns: a, b (-1 where the antecedent is one item; else a < b), consequent (all
    numbers into baskets.item_ids), baskets, antecedent_baskets, consequent_baskets; sorted by b, a,
    consequent.
    """
    total, items = len(baskets), len(baskets.item_ids)
    matrix = incidence(baskets.basket, baskets.item, total, items)
    counts = item_counts(matrix)
    frequent = np.flatnonzero(counts >= least)
    matrix = matrix[:, frequent].tocsr()
    progress("counting pairs", 0, len(confidence))
    a, b, both = pairs(matrix, least)
    parts = [
        _rules(a, -1, b, both, counts[frequent][a], confidence[0]),
        _rules(b, -1, a, both, counts[frequent][b], confidence[0]),
    ]
    progress("counting pairs", 1, len(confidence))
    if len(confidence) == 2:
        for pair, item, together in triples(matrix, a, b, least):
            parts.append(_rules(a[pair], b[pair], item, together, both[pair], confidence[1]))
        progress("counting pairs", 2, len(confidence))
    rules = pd.concat(parts, ignore_index=True)
    rules["consequent_baskets"] = counts[frequent][rules["consequent"].to_numpy()]
    names = np.append(frequent, -1)
    for column in ("a", "b", "consequent"):
        rules[column] = names[rules[column].to_numpy()]
    return rules.sort_values(["b", "a", "consequent"], ignore_index=True)


def _rules(
    a: Ints, b: Ints | int, consequent: Ints, baskets: Ints, antecedent: Ints, least: float
) -> pd.DataFrame:
    keep = baskets >= least * antecedent
    frame = pd.DataFrame(
        {"a": a, "b": b, "consequent": consequent, "baskets": baskets, "antecedent_baskets": antecedent},
        dtype=np.int64,
    )
    return frame[keep]


def incidence(basket: Ints, item: Ints, baskets: int, items: int) -> sp.csr_matrix:
    """Return X (baskets, items): 1 where the item is in the basket, however many lines say so."""
    matrix = sp.csr_matrix((np.ones(len(basket), dtype=np.int32), (basket, item)), shape=(baskets, items))
    matrix.sum_duplicates()
    matrix.data[:] = 1
    return matrix


def item_counts(incidence_matrix: sp.csr_matrix) -> Ints:
    """Return in how many baskets each item lies."""
    return np.bincount(incidence_matrix.indices, minlength=incidence_matrix.shape[1]).astype(np.int64)


def pairs(matrix: sp.csr_matrix, least: int) -> tuple[Ints, Ints, Ints]:
    """Return (a, b, baskets) of every pair a < b that lies together in at least `least` baskets, sorted."""
    columns = matrix.T.tocsr()
    found = [
        (rows + start, consequents, counts)
        for start, rows, consequents, counts in _products(columns, matrix, least)
    ]
    a, b, counts = _stacked(found)
    upper = a < b
    return a[upper], b[upper], counts[upper]


def triples(matrix: sp.csr_matrix, a: Ints, b: Ints, least: int) -> Iterator[tuple[Ints, Ints, Ints]]:
    """Yield (pair, item, baskets), block by block: items that lie with a pair in `least` baskets or more.

    `pair` counts into a and b, the pairs. Cost: the sum over pairs of the sizes of the baskets they lie in.
    """
    columns = matrix.T.tocsr()
    columns.sort_indices()
    for start in range(0, len(a), 4096):
        both = columns[a[start : start + 4096]].multiply(columns[b[start : start + 4096]]).tocsr()
        for offset, rows, items, counts in _products(both, matrix, least):
            pair = rows + offset + start
            third = (items != a[pair]) & (items != b[pair])
            yield pair[third], items[third], counts[third]


def _products(
    left: sp.csr_matrix, right: sp.csr_matrix, least: int
) -> Iterator[tuple[int, Ints, Ints, Ints]]:
    """Yield (first row, row in block, column, count) of left @ right, entries of `least` or more."""
    for start, stop in _blocks(left, np.diff(right.indptr)):
        product = (left[start:stop] @ right).tocsr()
        product.sort_indices()
        keep = product.data >= least
        rows = np.repeat(np.arange(stop - start, dtype=np.int64), np.diff(product.indptr))[keep]
        yield start, rows, product.indices[keep].astype(np.int64), product.data[keep].astype(np.int64)


def _blocks(left: sp.csr_matrix, sizes: Ints) -> Iterator[tuple[int, int]]:
    """Cut the rows of `left` so that each block's product sums at most BLOCK terms (or is one row)."""
    terms = np.concatenate([[0], np.cumsum(sizes[left.indices])])[left.indptr]
    start, rows = 0, left.shape[0]
    while start < rows:
        stop = int(np.searchsorted(terms, terms[start] + BLOCK, side="right")) - 1
        stop = min(max(stop, start + 1), rows)
        yield start, stop
        start = stop


def _stacked(parts: list[tuple[Ints, Ints, Ints]]) -> tuple[Ints, Ints, Ints]:
    empty = np.empty(0, dtype=np.int64)
    a, b, c = (np.concatenate([empty, *(part[i] for part in parts)]) for i in range(3))
    return a, b, c
