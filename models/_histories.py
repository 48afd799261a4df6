"""Purchase histories as flat arrays, and the batches a sequence model learns from."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import Tensor

Ints = npt.NDArray[np.int64]
TOKENS, LEAST_TOKENS = 4_096, 256
"""Positions in one batch at most, and at least."""
SELDOM = 0.01
"""Share of purchases of something bought before, below which nothing is taken to be bought again."""
STEPS = 150
"""Batches an epoch should have, where there is little to make them of."""


@dataclass(frozen=True)
class Histories:
    """Items in order of (contact, time, order), as flat arrays with one entry a line.

    `contact` and `order` are numbers that never fall; `item` counts into the vocabulary.
    """

    contact: Ints
    order: Ints
    item: Ints

    @classmethod
    def of(cls, data: pd.DataFrame, item_ids: Sequence[str]) -> "Histories":
        """Read lines as `SequenceModel.learn` takes them; what is not of `item_ids` is left out."""
        known = pd.Categorical(data["item_id"], categories=list(item_ids)).codes.astype(np.int64)
        lines = data.assign(item=known)
        lines = lines[(lines["item"] >= 0) & lines["contact_id"].notna()]
        lines = lines.sort_values(["contact_id", "time", "order_id", "item"])
        contact = pd.factorize(lines["contact_id"])[0].astype(np.int64)
        order = pd.factorize(lines["order_id"])[0]
        first = (np.diff(order, prepend=-1) != 0) | (np.diff(contact, prepend=-1) != 0)
        return cls(contact, np.cumsum(first), lines["item"].to_numpy(np.int64))

    def learnable(self) -> bool:
        """Say whether any contact has an order after another."""
        return bool(len(self.item)) and bool((self.next_order(np.random.default_rng(0)) >= 0).any())

    def shuffled(self, random: np.random.Generator) -> "Histories":
        """Return the same with the items of each order in a new order."""
        place = np.lexsort((random.random(len(self.item)), self.order))
        return Histories(self.contact, self.order, self.item[place])

    def next_order(self, random: np.random.Generator) -> Ints:
        """Return for each line a random item of the contact's next order, -1 where there is none."""
        if not len(self.order):
            return np.empty(0, dtype=np.int64)
        number, first, size = np.unique(self.order, return_index=True, return_counts=True)
        place = np.searchsorted(number, self.order)
        following = np.minimum(place + 1, len(number) - 1)
        drawn = first[following] + (random.random(len(self.order)) * size[following]).astype(np.int64)
        same = (place + 1 < len(number)) & (self.contact[drawn] == self.contact)
        return np.where(same, self.item[drawn], -1)

    def repeats(self) -> float:
        """Return the share of lines with an item that the contact's earlier lines hold."""
        pairs = np.unique(np.stack([self.contact, self.item]), axis=1).shape[1]
        return 1.0 - pairs / max(len(self.item), 1)

    def spans(self) -> tuple[Ints, Ints]:
        """Return where each contact's lines begin, and where they end."""
        first = np.flatnonzero(np.r_[True, self.contact[1:] != self.contact[:-1]])
        return first, np.r_[first[1:], len(self.contact)]


def batches(
    histories: Histories, length: int, most: int, random: np.random.Generator
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield (items, targets), each (B, T), in random order; T varies, windows of about equal length together.

    Contacts are cut into windows of `length` at a random place; what is short is filled up on the right with
    item 0 and target -1: a causal net never looks there. At most about `most` lines, whole windows.
    """
    shuffled = histories.shuffled(random)
    targets = shuffled.next_order(random)
    starts, sizes = _windows(histories, length, random)
    order = random.permutation(len(sizes))
    order = order[: int(np.searchsorted(np.cumsum(sizes[order]), most)) + 1]
    order = order[np.argsort(sizes[order], kind="stable")]
    tokens = int(np.clip(sizes[order].sum() // STEPS, LEAST_TOKENS, TOKENS))
    groups = []
    while len(order):
        longest = int(sizes[order[-1]])
        count = max(tokens // longest, 1)
        groups.append(order[-count:])
        order = order[:-count]
    for group in random.permutation(len(groups)):
        rows = groups[group]
        place = starts[rows][:, None] + np.arange(sizes[rows].max())[None, :]
        inside = np.arange(sizes[rows].max())[None, :] < sizes[rows][:, None]
        place = np.where(inside, place, 0)
        yield (
            torch.from_numpy(np.where(inside, shuffled.item[place], 0)),
            torch.from_numpy(np.where(inside, targets[place], -1)),
        )


def _windows(histories: Histories, length: int, random: np.random.Generator) -> tuple[Ints, Ints]:
    """Cut every contact's lines into windows; return where they start and how long they are."""
    starts, stops = [], []
    for begin, end in zip(*(span.tolist() for span in histories.spans()), strict=True):
        offset = int(random.integers(length)) if end - begin > length else 0
        first = [begin, *range(begin + offset, end, length)] if offset else list(range(begin, end, length))
        starts += first
        stops += [*first[1:], end]
    beginning = np.array(starts, dtype=np.int64)
    return beginning, np.array(stops, dtype=np.int64) - beginning


@dataclass(frozen=True)
class Check:
    """What early stopping looks at: (B, length) items, -1 where there are fewer, and the next order's."""

    items: Ints
    targets: list[Ints]
    only_new: bool
    """Whether what was bought before is left out, because nobody buys anything twice."""


def split_last(
    lines: Histories, length: int, contacts: int, most: float, seed: int
) -> tuple[Histories, Check | None]:
    """Take the last order of some contacts with two or more for early stopping; return the rest and it.

    `contacts` of them at most, and no more than the share `most`; None where that leaves nobody.
    """
    if not lines.learnable():
        return lines, None
    first, stop = lines.spans()
    last = stop - 1
    several = np.flatnonzero(lines.order[first] != lines.order[last])
    count = min(contacts, int(len(several) * most))
    if count == 0:
        return lines, None
    chosen = np.sort(np.random.default_rng(seed).choice(several, count, replace=False))
    keep = np.ones(len(lines.item), dtype=np.bool_)
    items, targets = np.full((count, length), -1, dtype=np.int64), []
    for row, contact in enumerate(chosen.tolist()):
        cut = int(np.searchsorted(lines.order, lines.order[last[contact]]))
        keep[cut : last[contact] + 1] = False
        past = lines.item[max(first[contact], cut - length) : cut]
        items[row, : len(past)] = past
        targets.append(np.unique(lines.item[cut : last[contact] + 1]))
    kept = Histories(lines.contact[keep], lines.order[keep], lines.item[keep])
    return kept, Check(items, targets, lines.repeats() < SELDOM)
