"""Borgelt's Eclat in C (pyfim): item sets of exactly two items.

pyfim 6.28 leaves out a pair that is in every single basket; no shop has one.
"""

import fim
import numpy as np
import pandas as pd

from benchmarks.peers._pairs import pairs


def prepare(lines: pd.DataFrame) -> list[list[int]]:
    """Return a list of items a basket."""
    lines = lines.sort_values("basket", kind="stable")
    items, starts = lines["item"].to_numpy(), np.flatnonzero(np.diff(lines["basket"])) + 1
    return [part.tolist() for part in np.split(items, starts)]


def count(baskets: list[list[int]], least: int) -> int:
    """Return the number of pairs; a negative support counts baskets, and "a" reports it so."""
    return len(fim.eclat(baskets, target="s", supp=-least, zmin=2, zmax=2, report="a"))


if __name__ == "__main__":
    pairs(prepare, count)
