"""Paths as a tree of suffixes: a node is the last steps, its parent the same without the oldest of them.

Counts are of paths, each once a node, at the first moment it had walked so: a rate is then P(the next order
comes within the horizon | a path gets there), whatever came later.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pandas as pd

from models._walks import DAY, Lists, Rows, Walks
from models.base import Floats

ROOT = 0
MOST_NODES = 2_000
"""Nodes a depth; beyond, those walked most."""


@dataclass(frozen=True)
class Pairs:
    """How many paths through a node ended with a value, where any did; by node, then value."""

    nodes: Rows
    values: Rows
    ordered: Rows


@dataclass(frozen=True)
class Tree:
    """Nodes as parallel arrays, by depth; node 0 is the root: any path, at its first step."""

    parents: Rows
    """-1 for the root."""
    codes: Rows
    """Its oldest step; -1 for the root."""
    paths: Rows
    """Paths that walked so, whose horizon is over."""
    contacts: Rows
    effective: Floats
    """Paths they count for: one contact's are alike. Kish's (Σn)²/Σn² over contacts (1965)."""
    ordered: Rows
    """Of the paths, those with an order within the horizon."""
    categories: Pairs

    def __len__(self) -> int:
        return len(self.parents)

    def save(self, folder: Path) -> None:
        """Write nodes.parquet and categories.parquet."""
        nodes = {name: value for name, value in vars(self).items() if name != "categories"}
        pd.DataFrame(nodes).to_parquet(folder / "nodes.parquet", index=False)
        pd.DataFrame(vars(self.categories)).to_parquet(folder / "categories.parquet", index=False)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote."""
        nodes, pairs = _arrays(folder / "nodes.parquet"), _arrays(folder / "categories.parquet")
        return cls(**nodes, categories=Pairs(**pairs))


def _arrays(path: Path) -> dict[str, Any]:
    return {str(name): values.to_numpy() for name, values in pd.read_parquet(path).items()}


def grow(walks: Walks, until: float, horizon_days: float, length: int, least: int) -> tuple[Tree, Pairs]:
    """Count the suffixes of at most `length` steps that at least `least` paths walked; and the items bought.

    Steps whose horizon is not over by `until` do not count.
    """
    over = walks.steps.times[walks.rows] + horizon_days * DAY <= until
    parents, codes = [np.array([-1])], [np.array([-1])]
    nodes, rows = [], []
    for parent, code, node, row in _depths(walks, over, length, least):
        parents.append(parent)
        codes.append(code)
        nodes.append(node)
        rows.append(row)
    node, row = np.concatenate(nodes), walks.rows[np.concatenate(rows)]
    size, steps = sum(len(part) for part in parents), walks.steps
    converted = steps.wait[row] <= horizon_days * DAY
    contacts, effective = _contacts(node, steps.contacts[row], size)
    bought, buyer = steps.purchases[row[converted]], node[converted]
    tree = Tree(
        np.concatenate(parents),
        np.concatenate(codes),
        np.bincount(node, minlength=size),
        contacts,
        effective,
        np.bincount(buyer, minlength=size),
        _pairs(buyer, bought, steps.categories),
    )
    return tree, _pairs(buyer, bought, steps.items)


Depth = tuple[Rows, Rows, Rows, Rows]


def _depths(walks: Walks, over: npt.NDArray[np.bool_], length: int, least: int) -> Iterator[Depth]:
    """Yield, depth by depth, the new nodes' parents and codes, and the node and row of each path there."""
    paths = walks.steps.paths[walks.rows]
    alive = np.flatnonzero(over)
    none = np.empty(0, dtype=np.int64)
    first = alive[np.unique(paths[alive], return_index=True)[1]]
    yield none, none, np.zeros(len(first), dtype=np.int64), first
    at, size, width = np.zeros(len(walks), dtype=np.int64), 1, int(walks.codes.max(initial=0)) + 1
    for depth in range(length):
        back = walks.back(depth)
        alive = alive[back[alive] >= 0]
        keys, number = np.unique(at[alive] * width + back[alive], return_inverse=True)
        if not len(keys):
            return
        _, once = np.unique(number * (int(paths.max()) + 1) + paths[alive], return_index=True)
        support = np.bincount(number[once], minlength=len(keys))
        kept = _most(support, least)
        renumbered = np.where(kept, size + np.cumsum(kept) - 1, -1)
        once = once[kept[number[once]]]
        parent, code = np.divmod(keys[kept], width)
        yield parent, code, renumbered[number[once]], alive[once]
        stays = kept[number]
        at[alive[stays]] = renumbered[number[stays]]
        alive, size = alive[stays], size + int(kept.sum())


def _most(support: Rows, least: int) -> npt.NDArray[np.bool_]:
    kept = np.zeros(len(support), dtype=np.bool_)
    kept[np.argsort(-support, kind="stable")[:MOST_NODES]] = True
    return kept & (support >= least)


def _contacts(node: Rows, contact: Rows, size: int) -> tuple[Rows, Floats]:
    """Return each node's contacts, and the paths they effectively are."""
    width = int(contact.max(initial=0)) + 1
    pairs, count = np.unique(node * width + contact, return_counts=True)
    owner = pairs // width
    total = np.bincount(owner, count, size)
    squares = np.bincount(owner, count.astype(np.float64) ** 2, size)
    return np.bincount(owner, minlength=size), total**2 / np.maximum(squares, 1.0)


def _pairs(node: Rows, purchase: Rows, lists: Lists) -> Pairs:
    values, owner = lists.of(purchase)
    width = max(len(lists.names), 1)
    pairs, count = np.unique(node[owner] * width + values, return_counts=True)
    nodes, held = np.divmod(pairs, width)
    return Pairs(nodes, held, count)


def shares(tree: Tree, items: Pairs, prior: float) -> tuple[Rows, Rows, Floats, Rows]:
    """Return (nodes, items, smoothed shares, paths that ended with it) for the items of each node.

    A share is shrunk to the parent's as if that had been seen on `prior` paths more: back-off from longer to
    shorter suffixes (MacKay and Peto 1995). An item of a node its ancestors get too, with 0 paths if need be.
    """
    width = int(items.values.max(initial=0)) + 1
    held = items.nodes * width + items.values
    keys = held
    fresh = held
    while len(fresh):
        nodes, values = np.divmod(fresh, width)
        up = tree.parents[nodes]
        fresh = np.setdiff1d(up[up >= 0] * width + values[up >= 0], keys)
        keys = np.union1d(keys, fresh)
    nodes, values = np.divmod(keys, width)
    count = np.zeros(len(keys), dtype=np.int64)
    count[np.searchsorted(keys, held)] = items.ordered
    share = np.zeros(len(keys))
    for start, stop in _by_depth(tree, nodes):
        up = tree.parents[nodes[start:stop]]
        above = np.searchsorted(keys, np.maximum(up, 0) * width + values[start:stop])
        parent = np.where(up >= 0, share[above], 0.0)
        strength = np.where(up >= 0, prior, 0.0)
        share[start:stop] = (count[start:stop] + strength * parent) / (
            tree.paths[nodes[start:stop]] + strength
        )
    return nodes, values, share, count


def _by_depth(tree: Tree, nodes: Rows) -> Iterator[tuple[int, int]]:
    """Cut sorted nodes into spans of one depth."""
    depth = depths(tree.parents)[nodes]
    bounds = np.searchsorted(depth, np.arange(int(depth.max(initial=0)) + 2))
    yield from zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True)


def depths(parents: Rows) -> Rows:
    """Return how many steps each node is; parents come before their children."""
    out = np.zeros(len(parents), dtype=np.int64)
    for node, parent in enumerate(parents.tolist()):
        out[node] = out[parent] + 1 if parent >= 0 else 0
    return out
