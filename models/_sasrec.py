"""The sequence model's net and how it learns (PyTorch); models.sequence runs the same net on numpy.

SASRec (Kang & McAuley 2018) with the sampled softmax of eSASRec: a causal transformer over what a contact
bought, whose output is compared with the item embeddings themselves. Orders are sets, so their items are
shuffled anew every epoch, and what a position must foretell is an item of the *next* order, not of its own.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from nextbest.progress import Progress

if TYPE_CHECKING:
    from models.sequence import SequenceConfig

Ints = npt.NDArray[np.int64]
TOKENS, LEAST_TOKENS = 8_192, 256
"""Positions in one batch at most, and at least."""
STEPS = 50
"""Batches an epoch should have, where there is little to make them of."""


@dataclass(frozen=True)
class Histories:
    """Items in order of (contact, time, order), as flat arrays with one entry a line.

    `contact` and `order` are numbers that never fall; `item` counts into the vocabulary.
    """

    contact: Ints
    order: Ints
    item: Ints

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


class Net(nn.Module):
    """Embeddings, `blocks` pre-norm transformer blocks, a last norm."""

    def __init__(self, items: int, config: "SequenceConfig") -> None:
        super().__init__()
        self.items = nn.Embedding(items, config.width)
        self.positions = nn.Embedding(config.length, config.width)
        self.blocks = nn.ModuleList([Block(config) for _ in range(config.blocks)])
        self.norm = nn.LayerNorm(config.width)
        self.dropout = nn.Dropout(config.dropout)
        for weight in (self.items.weight, self.positions.weight):
            nn.init.normal_(weight, std=config.width**-0.5)

    def forward(self, items: Tensor) -> Tensor:
        """Map (B, T) item numbers to (B, T, C) states; a state knows its own item and those before it."""
        x = self.items(items) + self.positions(torch.arange(items.shape[1]))
        x = self.dropout(x)
        for block in self.blocks:
            x = block(x)
        out: Tensor = self.norm(x)
        return out


class Block(nn.Module):
    """Causal attention and a feed-forward layer, each behind a norm and beside a shortcut."""

    def __init__(self, config: "SequenceConfig") -> None:
        super().__init__()
        self.heads = config.heads
        self.norm_attention = nn.LayerNorm(config.width)
        self.attention = nn.Linear(config.width, 3 * config.width)
        self.project = nn.Linear(config.width, config.width)
        self.norm_feed = nn.LayerNorm(config.width)
        self.widen = nn.Linear(config.width, 2 * config.width)
        self.narrow = nn.Linear(2 * config.width, config.width)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) -> (B, T, C)."""
        batch, time, width = x.shape
        parts = self.attention(self.norm_attention(x)).view(batch, time, 3, self.heads, width // self.heads)
        q, k, v = parts.permute(2, 0, 3, 1, 4)  # each (B, heads, T, C / heads)
        y = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.dropout(self.project(y.transpose(1, 2).reshape(batch, time, width)))
        y = self.narrow(functional.relu(self.widen(self.norm_feed(x))))
        return x + self.dropout(y)


def loss_of(net: Net, states: Tensor, targets: Tensor, negatives: Tensor) -> Tensor:
    """Cross-entropy of each target among itself and the shared negatives. States (N, C), targets (N,)."""
    right = (states * net.items(targets)).sum(-1, keepdim=True)
    wrong = states @ net.items(negatives).T
    wrong = wrong.masked_fill(targets[:, None] == negatives[None, :], float("-inf"))
    logits = torch.cat([right, wrong], dim=1)
    return functional.cross_entropy(logits, torch.zeros(len(logits), dtype=torch.long))


def batches(
    histories: Histories, length: int, most: int, random: np.random.Generator
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield (items, targets), each (B, T), in random order; T varies, windows of about equal length together.

    Contacts are cut into windows of `length` at a random place; what is short is filled up on the right with
    item 0 and target -1: a causal net never looks there. At most about `most` lines, whole windows.
    """
    shuffled = histories.shuffled(random)
    targets = shuffled.next_order(random)
    starts, sizes = _windows(histories.contact, length, random)
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


def _windows(contact: Ints, length: int, random: np.random.Generator) -> tuple[Ints, Ints]:
    """Cut every contact's lines into windows; return where they start and how long they are."""
    first = np.flatnonzero(np.r_[True, contact[1:] != contact[:-1]])
    last = np.r_[first[1:], len(contact)]
    starts, stops = [], []
    for begin, end in zip(first.tolist(), last.tolist(), strict=True):
        offset = int(random.integers(length)) if end - begin > length else 0
        cuts = (
            [begin, *range(begin + offset, end, length), end] if offset else [*range(begin, end, length), end]
        )
        starts += cuts[:-1]
        stops += cuts[1:]
    return np.array(starts, dtype=np.int64), np.array(stops, dtype=np.int64) - np.array(
        starts, dtype=np.int64
    )


@dataclass(frozen=True)
class Check:
    """What early stopping looks at: (B, length) items, -1 where there are fewer, and the next order's."""

    items: Ints
    targets: list[npt.NDArray[np.int64]]

    def ndcg(self, net: Net, k: int = 20) -> float:
        """Return the mean NDCG of the next order's items among the k best."""
        net.eval()
        discounts = 1.0 / np.log2(np.arange(2, k + 2))
        found = []
        with torch.no_grad():
            for start in range(0, len(self.items), 256):
                part = self.items[start : start + 256]
                last = torch.from_numpy((part >= 0).sum(1) - 1)
                states = net(torch.from_numpy(np.maximum(part, 0)))[torch.arange(len(part)), last]
                scores = states @ net.items.weight.T
                best = scores.topk(min(k, net.items.num_embeddings)).indices.numpy()
                for row, wanted in zip(best, self.targets[start : start + 256], strict=True):
                    gained = float(discounts[: len(row)][np.isin(row, wanted)].sum())
                    found.append(gained / float(discounts[: len(wanted)].sum()))
        return float(np.mean(found))


def split_last(
    lines: Histories, length: int, contacts: int, most: float, seed: int
) -> tuple[Histories, Check | None]:
    """Take the last order of some contacts with two or more for early stopping; return the rest and it.

    `contacts` of them at most, and no more than the share `most`; None where that leaves nobody.
    """
    if not lines.learnable():
        return lines, None
    first = np.flatnonzero(np.r_[True, lines.contact[1:] != lines.contact[:-1]])
    last = np.r_[first[1:], len(lines.contact)] - 1
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
    return kept, Check(items, targets)


def fit(
    histories: Histories,
    check: Check | None,
    items: int,
    config: "SequenceConfig",
    seed: int,
    progress: Progress,
) -> tuple[dict[str, npt.NDArray[np.float32]], int]:
    """Train; return the weights of the epoch best by `check` (else the last), and its number."""
    with _threads(config.threads):
        return _fit(histories, check, items, config, seed, progress)


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Let torch use so many threads, and then as many as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _fit(
    histories: Histories,
    check: Check | None,
    items: int,
    config: "SequenceConfig",
    seed: int,
    progress: Progress,
) -> tuple[dict[str, npt.NDArray[np.float32]], int]:
    torch.manual_seed(seed)
    random = np.random.default_rng(seed)
    net = Net(items, config)
    adam = torch.optim.Adam(net.parameters(), lr=config.learning_rate)
    best, best_figure, best_epoch = _weights(net), -1.0, 0
    for epoch in range(1, config.epochs + 1):
        _epoch(net, adam, histories, config, random)
        figure = check.ndcg(net) if check is not None else float(epoch)
        progress("sequence: epochs", epoch, config.epochs)
        if figure > best_figure:
            best, best_figure, best_epoch = _weights(net), figure, epoch
        elif epoch - best_epoch >= config.patience:
            break
    progress("sequence: epochs", config.epochs, config.epochs)
    return best, best_epoch


def _epoch(
    net: Net, adam: Any, histories: Histories, config: "SequenceConfig", random: np.random.Generator
) -> None:
    net.train()
    for items, targets in batches(histories, config.length, config.epoch_lines, random):
        known = targets >= 0
        if not known.any():
            continue
        negatives = torch.from_numpy(random.integers(net.items.num_embeddings, size=config.negatives))
        loss = loss_of(net, net(items)[known], targets[known], negatives)
        adam.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        adam.step()


def _weights(net: Net) -> dict[str, npt.NDArray[np.float32]]:
    return {name: tensor.detach().numpy().copy() for name, tensor in net.state_dict().items()}
