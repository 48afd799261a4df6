"""The paths as a table: support, conversion with its interval, lift over the base rate, chance or not."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.special import betainc

from models._path_tree import ROOT, Tree, depths
from models._walks import Rows
from models.base import Floats

Z = 1.959964
"""Of a 95 % interval."""
EXPECTED = 3.0
"""Orders that chance would give, from which a path without any is worth listing."""
COLUMNS = (
    "path", "steps", "category", "paths", "contacts", "ordered", "conversion", "low", "high", "base", "lift",
    "p_value", "q_value",
)  # fmt: skip


def table(tree: Tree, texts: Sequence[str], categories: Sequence[str]) -> pd.DataFrame:
    """Return COLUMNS, a row a path and category of the order that followed; category None: any order.

    Rates rest on all paths, interval and test on the effective ones. q_value controls the false discovery
    rate over all paths, and for categories over all paths and categories (Benjamini and Hochberg 1995).
    """
    nodes = np.arange(1, len(tree))
    overall = _rows(
        tree, nodes, tree.ordered[nodes], np.full(len(nodes), int(tree.ordered[ROOT])), len(nodes)
    )
    counts, numbers, where = _pairs(tree, len(categories))
    base = np.zeros(len(categories), dtype=np.int64)
    base[tree.categories.values[: _root_pairs(tree)]] = tree.categories.ordered[: _root_pairs(tree)]
    by_category = _rows(tree, where, counts, base[numbers], len(nodes) * len(categories))
    both = pd.concat([overall, by_category], ignore_index=True)
    node = np.concatenate([nodes, where])
    named = [None] * len(nodes) + [categories[number] for number in numbers]
    both.insert(0, "path", [texts[place] for place in node])
    both.insert(1, "steps", depths(tree.parents)[node])
    both.insert(2, "category", pd.Series(named, dtype=object))
    return both[list(COLUMNS)]


def _rows(tree: Tree, nodes: Rows, ordered: Rows, base_ordered: Rows, tests: int) -> pd.DataFrame:
    paths, effective = tree.paths[nodes], tree.effective[nodes]
    rate = ordered / paths
    base = np.maximum(base_ordered, 0.5) / max(int(tree.paths[ROOT]), 1)
    low, high = wilson(rate, effective)
    p_value = two_sided(rate * effective, effective, base)
    return pd.DataFrame(
        {
            "paths": paths,
            "contacts": tree.contacts[nodes],
            "ordered": ordered,
            "conversion": rate,
            "low": low,
            "high": high,
            "base": base,
            "lift": rate / base,
            "p_value": p_value,
            "q_value": false_discovery(p_value, tests),
        }
    )


def _root_pairs(tree: Tree) -> int:
    return int(np.searchsorted(tree.categories.nodes, ROOT, side="right"))


def _pairs(tree: Tree, width: int) -> tuple[Rows, Rows, Rows]:
    """Return (orders, category, node) of the pairs that occur or that chance would have let occur."""
    dense = np.zeros((len(tree), width), dtype=np.int64)
    dense[tree.categories.nodes, tree.categories.values] = tree.categories.ordered
    expected = tree.effective[:, None] * dense[ROOT] / max(int(tree.paths[ROOT]), 1)
    listed = (dense > 0) | (expected >= EXPECTED)
    listed[ROOT] = False
    nodes, numbers = np.nonzero(listed)
    return dense[nodes, numbers], numbers, nodes


def wilson(rate: Floats, count: Floats) -> tuple[Floats, Floats]:
    """Return Wilson's 95 % score interval of a rate seen in `count` trials (Wilson 1927)."""
    centre = (rate + Z**2 / (2 * count)) / (1 + Z**2 / count)
    half = Z / (1 + Z**2 / count) * np.sqrt(rate * (1 - rate) / count + Z**2 / (4 * count**2))
    return np.maximum(centre - half, 0.0), np.minimum(centre + half, 1.0)


def two_sided(successes: Floats, count: Floats, rate: Floats) -> Floats:
    """Return twice the smaller tail of the binomial, at most 1; counts need not be whole numbers."""
    above = np.where(successes > 0, betainc(np.maximum(successes, 1e-9), count - successes + 1, rate), 1.0)
    rest = np.maximum(count - successes, 1e-9)
    below = np.where(successes < count, betainc(rest, successes + 1, 1 - rate), 1.0)
    return np.minimum(2 * np.minimum(above, below), 1.0)


def false_discovery(p_values: Floats, tests: int) -> Floats:
    """Return q-values among `tests` hypotheses, those not given taken for chance."""
    order = np.argsort(p_values, kind="stable")
    scaled = p_values[order] * tests / np.arange(1, len(order) + 1)
    out = np.empty(len(order))
    out[order] = np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 1.0)
    return out
