"""Exact counts of what lies in a basket together, level by level, in bounded memory.

A level's lines are (set, basket, next item): every frequent set where it occurs. The next level pairs each
line with the later lines of the same prefix and basket (its tail; Zaki's prefix classes, 2000) and counts
equal (set, item) by a counting sort, block by block. Level two of n baskets of size s costs the sum of
s(s-1)/2.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pandas as pd
import scipy.sparse as sp

Ints = npt.NDArray[np.integer[Any]]
Floats = npt.NDArray[np.float64]

BLOCK = 2_000_000
"""Pairs of lines counted at once: bounds a block to about 50 MB."""


@dataclass(frozen=True)
class Baskets:
    """Lines of baskets as parallel arrays of numbers: `basket`, and `item`, which counts into item_ids."""

    item_ids: npt.NDArray[np.object_]
    basket: Ints
    item: Ints
    time: Floats | None = None
    """When each basket was bought, epoch seconds; None where no one asked."""
    size: int | None = None
    """How many baskets, where the last may be without a line; None: up to the last number."""

    @classmethod
    def of(
        cls, order_ids: Sequence[str], item_ids: Sequence[str], times: npt.ArrayLike | None = None
    ) -> Self:
        """Number the lines' orders and items, the items by their ids; a basket's time is its last line's."""
        basket, _ = pd.factorize(np.asarray(order_ids, dtype=object))
        item, names = pd.factorize(np.asarray(item_ids, dtype=object), sort=True)
        time = None
        if times is not None:
            time = np.full(int(basket.max()) + 1 if len(basket) else 0, -np.inf)
            np.maximum.at(time, basket, np.asarray(times, dtype=np.float64))
        return cls(np.asarray(names, dtype=object), basket.astype(np.int64), item.astype(np.int64), time)

    def __len__(self) -> int:
        if self.size is not None:
            return self.size
        return int(self.basket.max()) + 1 if len(self.basket) else 0

    def only(self, keep: npt.NDArray[np.bool_]) -> "Baskets":
        """Return some of the baskets, numbered anew, the items as they were."""
        place, lines = np.cumsum(keep) - 1, keep[self.basket]
        time = None if self.time is None else self.time[keep]
        return Baskets(self.item_ids, place[self.basket[lines]], self.item[lines], time, int(keep.sum()))

    def in_months(self, months: Sequence[int]) -> "Baskets":
        """Return the baskets bought in those months (UTC) of any year; 1: January. Needs times."""
        if self.time is None:
            raise ValueError("baskets without times belong to no season")
        month = np.array([datetime.fromtimestamp(at, UTC).month for at in self.time], dtype=np.int64)
        return self.only(np.isin(month, list(months)))

    def decayed(self, half_life_days: float) -> Floats:
        """Return each basket's weight 2^-(age / half-life), its age counted from the newest basket."""
        if self.time is None:
            raise ValueError("baskets without times have no age")
        age = (self.time.max(initial=0.0) - self.time) / 86_400.0
        return np.asarray(np.exp2(-age / half_life_days), dtype=np.float64)


@dataclass(frozen=True)
class Level:
    """Sets of one size that lie in enough baskets, in rising order."""

    items: Ints
    """(sets, size), each row rising."""
    baskets: Ints
    weights: Floats | None
    """The same counts with each basket's weight; None where all weigh one."""
    key: Ints
    """Parent set times the number of items plus the last item, rising: how a set is found."""

    def __len__(self) -> int:
        return len(self.items)


@dataclass(frozen=True)
class _Lines:
    """Where the sets of a level lie, sorted by prefix and basket, then by the set's last item."""

    row: Ints
    """The set, a number of its level."""
    item: Ints
    """Its last item."""
    basket: Ints
    later: Ints
    """How many lines of the same prefix and basket follow."""

    @classmethod
    def of(cls, row: Ints, item: Ints, basket: Ints, group: Ints) -> Self:
        """Take lines sorted by group, which is prefix and basket."""
        last = np.flatnonzero(np.r_[group[1:] != group[:-1], True]) if len(group) else group
        stop = np.repeat(last, np.diff(np.r_[-1, last]))
        later = (stop - np.arange(len(group))).astype(np.int32)
        return cls(row, item, basket, later)


@dataclass(frozen=True)
class _Found:
    """Extended sets of a block: their row and new item, counts, and the lines they came from if asked."""

    row: Ints
    item: Ints
    baskets: Ints
    lines: Ints
    """Positions of the lines extended, set after set; empty unless asked."""


def levels(
    baskets: Baskets, least: int, length: int, weights: Floats | None = None, known: Level | None = None
) -> list[Level]:
    """Return the items, pairs, … up to `length` items that lie in `least` baskets or more, by size.

    Their items count into baskets.item_ids. `known`: the pairs, where they are counted already. Levels end
    with the first that is empty.
    """
    lines, names, counts = first_lines(baskets, least)
    weighed = _weighed(lines.item, lines.basket, weights, len(names))
    found = [Level(np.arange(len(names))[:, None], counts, weighed, np.arange(len(names)))]
    for size in range(2, length + 1):
        if size == 2 and known is not None and weights is None:
            level, lines = _given(known, lines, names, len(baskets), carry=length > 2)
        else:
            level, lines = _next(found[-1], lines, len(names), least, weights, carry=size < length)
        found.append(level)
        if not len(level):
            break
    return [Level(names[one.items], one.baskets, one.weights, one.key) for one in found]


def _given(known: Level, lines: _Lines, names: Ints, baskets: int, carry: bool) -> tuple[Level, _Lines]:
    """Return pairs that are counted already, and where they lie if `carry`: where both columns have a
    basket."""
    items = np.searchsorted(names, known.items)
    level = Level(items, known.baskets, None, items[:, 0] * len(names) + items[:, 1])
    if not carry:
        return level, lines
    ones = np.ones(len(lines.item), dtype=np.int8)
    columns = sp.csr_matrix((ones, (lines.item, lines.basket)), shape=(len(names), baskets))
    columns.sort_indices()
    sizes = np.concatenate([[0], np.cumsum(np.diff(columns.indptr)[items].sum(axis=1))])
    parts = []
    for start, stop in _blocks(sizes):
        a, b = items[start:stop].T
        parts.append(columns[a].multiply(columns[b]).tocsr().indices)
    row = np.repeat(np.arange(len(items), dtype=np.int32), known.baskets)
    basket = np.concatenate([np.empty(0, dtype=np.int32), *parts])
    group = items[row, 0] * baskets + basket
    order = np.argsort(group, kind="stable")
    last = items[row[order], 1].astype(np.int32)
    return level, _Lines.of(row[order], last, basket[order], group[order])


def first_lines(baskets: Baskets, least: int) -> tuple[_Lines, Ints, Ints]:
    """Return the lines of items in `least` baskets or more, once a basket; those items and their counts."""
    shape = (len(baskets), len(baskets.item_ids))
    ones = np.ones(len(baskets.basket), dtype=np.int8)
    matrix = sp.csr_matrix((ones, (baskets.basket, baskets.item)), shape=shape)
    matrix.sum_duplicates()
    counts = np.bincount(matrix.indices, minlength=shape[1]).astype(np.int64)
    frequent = counts >= least
    keep = frequent[matrix.indices]
    basket = np.repeat(np.arange(shape[0], dtype=np.int32), np.diff(matrix.indptr))[keep]
    place = (np.cumsum(frequent) - 1).astype(np.int32)
    item = place[matrix.indices[keep]]
    return _Lines.of(item, item, basket, basket), np.flatnonzero(frequent), counts[frequent]


def _next(
    level: Level, lines: _Lines, items: int, least: int, weights: Floats | None, carry: bool
) -> tuple[Level, _Lines]:
    """Return the sets with one more item, and where they lie if `carry`."""
    carry_lines = carry or weights is not None
    parts = list(extended(lines, len(level), items, least, carry_lines))
    row, item, counts, origin = (
        np.concatenate([np.empty(0, dtype=np.int64), *(getattr(part, name) for part in parts)])
        for name in ("row", "item", "baskets", "lines")
    )
    key = row * items + item
    sets = np.hstack([level.items[row], item[:, None]])
    if not carry_lines:
        return Level(sets, counts, None, key), lines
    number = np.repeat(np.arange(len(sets)), counts)
    basket = lines.basket[origin]
    weighed = _weighed(number, basket, weights, len(sets))
    order = np.argsort(origin, kind="stable")
    below = _Lines.of(
        number[order].astype(np.int32), item[number[order]].astype(np.int32), basket[order], origin[order]
    )
    return Level(sets, counts, weighed, key), below


def _weighed(owner: Ints, basket: Ints, weights: Floats | None, sets: int) -> Floats | None:
    """Return the sum of the weights of each set's baskets."""
    if weights is None:
        return None
    return np.asarray(np.bincount(owner, weights[basket], sets), dtype=np.float64)


def extended(lines: _Lines, rows: int, items: int, least: int, carry: bool) -> Iterator[_Found]:
    """Yield, block by block in rising order, the sets (row, item) that lie in `least` baskets or more."""
    by_row = sp.csr_matrix(
        (np.arange(len(lines.row), dtype=np.int32), lines.row, [0, len(lines.row)]), shape=(1, rows)
    ).tocsc()  # a counting sort
    order, bounds = by_row.data, by_row.indptr
    terms = np.concatenate([[0], np.cumsum(lines.later[order], dtype=np.int64)])
    for span in _blocks(terms[bounds]):
        yield _counted(lines, order, bounds, terms, span, items, least, carry)


def _counted(
    lines: _Lines, order: Ints, bounds: Ints, terms: Ints, span: tuple[int, int], items: int, least: int,
    carry: bool,
) -> _Found:  # fmt: skip
    """Count the (row, item) of the rows in a span."""
    begin, stop = bounds[span[0]], bounds[span[1]]
    ends = (terms[bounds[span[0] : span[1] + 1]] - terms[begin]).astype(np.int32)
    block, later = order[begin:stop], lines.later[order[begin:stop]]
    first = block + 1 - (terms[begin:stop] - terms[begin]).astype(np.int32)
    tails = np.repeat(first, later)
    tails += np.arange(len(tails), dtype=np.int32)
    item = lines.item[tails]
    data = np.repeat(block, later) if carry else np.zeros(len(tails), dtype=np.int8)
    del tails
    # the rows' entries sorted by item, rows rising within: what is counted lies together
    table = sp.csr_matrix((data, item, ends), shape=(span[1] - span[0], items)).tocsc()
    row, found_item, at, count = _runs(table.indices, table.indptr, least)
    columns = np.searchsorted(found_item, np.arange(items + 1)).astype(np.int32)
    rank = sp.csc_matrix((np.arange(len(at), dtype=np.int32), row, columns), shape=table.shape).tocsr().data
    row, at, count, found_item = row[rank], at[rank], count[rank], found_item[rank]
    origin = np.empty(0, dtype=np.int64)
    if carry:
        offset = np.arange(int(count.sum())) - np.repeat(np.cumsum(count) - count, count)
        origin = table.data[np.repeat(at, count) + offset].astype(np.int64)
    return _Found(row + span[0], found_item, count, origin)


def _runs(rows: Ints, bounds: Ints, least: int) -> tuple[Ints, Ints, Ints, Ints]:
    """Return row, column, start and length of every run of `least` equal rows or more within a column."""
    if len(rows) < least:
        none = np.empty(0, dtype=np.int64)
        return none, none, none, none
    ahead = least - 1
    column = np.repeat(np.arange(len(bounds) - 1, dtype=np.int32), np.diff(bounds))
    hit = np.flatnonzero(rows[ahead:] == rows[: len(rows) - ahead]) if ahead else np.arange(len(rows))
    hit = hit[column[hit] == column[hit + ahead]] if ahead else hit
    in_row, in_column = (rows[hit], column[hit]) if ahead else (rows, column)
    new = (in_row[1:] != in_row[:-1]) | (in_column[1:] != in_column[:-1])
    begins = np.flatnonzero(np.r_[True, new][: len(hit)])
    count = np.diff(np.r_[begins, len(hit)]) + ahead
    return in_row[begins].astype(np.int64), in_column[begins].astype(np.int64), hit[begins], count


def _blocks(terms: Ints) -> Iterator[tuple[int, int]]:
    """Cut rows, whose terms are summed up in `terms`, into spans of at most BLOCK terms (or of one row)."""
    start, rows = 0, len(terms) - 1
    while start < rows:
        stop = int(np.searchsorted(terms, terms[start] + BLOCK, side="right")) - 1
        stop = min(max(stop, start + 1), rows)
        yield start, stop
        start = stop


def pair_counts(baskets: Baskets, least: int = 1) -> tuple[Ints, Ints, Ints]:
    """Return (a, b, baskets) of every pair a < b that lies together in `least` baskets or more, sorted."""
    lines, names, _ = first_lines(baskets, least)
    parts = list(extended(lines, len(names), len(names), least, carry=False))
    empty = np.empty(0, dtype=np.int64)
    a, b, counts = (
        np.concatenate([empty, *(getattr(part, name) for part in parts)])
        for name in ("row", "item", "baskets")
    )
    return names[a], names[b], counts
