"""Where the rules of an antecedent stand: rules lie sorted by antecedent, and a question is a few items."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from models._association import ANTECEDENT
from models._mining import Ints

MOST = 3
"""Items of an antecedent at most."""
PLACES = ANTECEDENT[:MOST]


class Antecedents:
    """Finds the rules whose antecedent lies within some items."""

    def __init__(self, rules: pd.DataFrame, items: int) -> None:
        """Take rules sorted by their antecedents, PLACES; `items`: how many there are."""
        table = rules[list(PLACES)].to_numpy(dtype=np.int64)
        first = np.flatnonzero(np.r_[True, (table[1:] != table[:-1]).any(axis=1)][: len(table)])
        self.items = table[first]
        """(antecedents, MOST), -1 where there is no further item."""
        self.start, self.stop = first, np.r_[first[1:], len(table)][: len(first)]
        self.size = (self.items >= 0).sum(axis=1)
        alone = np.flatnonzero(self.size == 1)
        self._alone = np.full(items, -1, dtype=np.int64)
        self._alone[self.items[alone, 0]] = alone
        self._holding, self._bounds = self._by_item(items)

    def __len__(self) -> int:
        return len(self.items)

    def _by_item(self, items: int) -> tuple[Ints, Ints]:
        """Return the antecedents of two items or more that hold each item, and where each item's begin."""
        several = np.flatnonzero(self.size > 1)
        owner, item = np.repeat(several, MOST), self.items[several].ravel()
        owner, item = owner[item >= 0], item[item >= 0]
        order = np.argsort(item, kind="stable")
        return owner[order], np.searchsorted(item[order], np.arange(items + 1))

    def single(self, numbers: Ints) -> Ints:
        """Return the antecedents that are one of the items."""
        found = self._alone[numbers]
        return found[found >= 0]

    def within(self, numbers: Ints) -> Ints:
        """Return the antecedents all of whose items are among `numbers` (distinct)."""
        holding = [self._holding[self._bounds[n] : self._bounds[n + 1]] for n in numbers]
        if not holding:
            return np.empty(0, dtype=np.int64)
        found, times = np.unique(np.concatenate(holding), return_counts=True)
        return np.concatenate([self.single(numbers), found[times == self.size[found]]])

    def rules(self, antecedents: Ints) -> Ints:
        """Return the rows of those antecedents' rules."""
        spans = zip(self.start[antecedents].tolist(), self.stop[antecedents].tolist(), strict=True)
        return np.concatenate([np.empty(0, dtype=np.int64), *(np.arange(*span) for span in spans)])


def numbers_of(items: pd.DataFrame, number: dict[str, int], names: Sequence[str]) -> Ints:
    """Return columns of item_ids as numbers; -1 for no item, -2 for one that is not known."""
    return np.stack(
        [
            np.array([number.get(str(v), -2) if v else -1 for v in items[name]], dtype=np.int64)
            for name in names
        ],
        axis=1,
    )
