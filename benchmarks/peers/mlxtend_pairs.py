"""mlxtend's FP-growth, up to two items, on its sparse one-hot frame (0.23.1; later ones make it dense)."""

import numpy as np
import pandas as pd
from mlxtend.frequent_patterns import fpgrowth
from scipy.sparse import csr_matrix

from benchmarks.peers._pairs import pairs


def prepare(lines: pd.DataFrame) -> pd.DataFrame:
    """Return a sparse frame of booleans, a basket a row and an item a column."""
    basket, item = (pd.factorize(lines[name])[0] for name in ("basket", "item"))
    table = csr_matrix((np.ones(len(lines), dtype=bool), (basket, item)))
    return pd.DataFrame.sparse.from_spmatrix(table)  # type: ignore[attr-defined]


def count(baskets: pd.DataFrame, least: int) -> int:
    """Return the number of pairs; half a basket is taken off the share, for rounding must not lose any."""
    found = fpgrowth(baskets, min_support=(least - 0.5) / len(baskets), max_len=2)
    return int((found["itemsets"].map(len) == 2).sum())


if __name__ == "__main__":
    pairs(prepare, count)
