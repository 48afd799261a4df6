"""A file of baskets - user -> baskets in order, the last one the test - as a shop of its own, and its peers.

The file has no times. Everyone gets a basket a week, counted back from the same last day, so that each
user's last known basket lies half a day before the cut and the next one within the week after it.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp

from features.build import build
from features.events.lake import Lake
from models.base import Floats
from nextbest.columns import EVENT_COLUMNS, ITEM_COLUMNS, ORDER_COMPLETED
from nextbest.errors import BadInput
from nextbest.settings import Settings

Baskets = Mapping[str, Sequence[Sequence[str]]]
END = datetime(2018, 1, 2, tzinfo=UTC)
DAYS = 7
CUT = END - timedelta(days=DAYS)
"""Between everyone's last basket and the one before."""
K = 10
CHUNK = 500
"""Users whose scores are in memory at once."""


def read(path: Path) -> Baskets:
    """Return user -> baskets of item ids, each item once. Raises BadInput for another kind of file."""
    try:
        users = json.loads(path.read_text())
        read = {
            str(user): [sorted({str(item) for item in basket}) for basket in baskets]
            for user, baskets in users.items()
        }
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise BadInput(f"{path} is no JSON of user -> baskets in order -> items: {error}") from None
    if not any(len(baskets) > 1 for baskets in read.values()):
        raise BadInput(f"{path}: nobody has two baskets, so there is nothing to foretell")
    return read


def shop(settings: Settings, baskets: Baskets) -> None:
    """Put the baskets into a lake and build the features."""
    users = np.repeat(list(baskets), [sum(map(len, own)) for own in baskets.values()])
    rows = [
        (f"{user}-{place}", item, END - timedelta(days=DAYS * (len(own) - 1 - place), hours=12))
        for user, own in baskets.items()
        for place, basket in enumerate(own)
        for item in basket
    ]
    events = pd.DataFrame(rows, columns=["order_id", "item_id", "timestamp"])
    events = events.assign(
        contact_id=users,
        event=ORDER_COMPLETED,
        quantity=1.0,
        price=1.0,
        event_id=[f"e{number}" for number in range(len(events))],
    )
    events["timestamp"] = events["received_at"] = events["timestamp"].astype("datetime64[us, UTC]")
    lake = Lake(settings.lake)
    lake.write([events.sort_values("timestamp").reindex(columns=list(EVENT_COLUMNS))])
    items = pd.DataFrame({"item_id": sorted(set(events["item_id"]))})
    lake.write_items(items.reindex(columns=list(ITEM_COLUMNS)))
    build(settings, END)


class Peers:
    """The published peers on what is known `before` baskets from the end: matrices of users by items."""

    def __init__(self, baskets: Baskets, before: int) -> None:
        self.users = [user for user, own in baskets.items() if len(own) > before]
        self._baskets = [baskets[user][: len(baskets[user]) - before] for user in self.users]
        names = sorted({item for own in self._baskets for basket in own for item in basket})
        self.item_ids = np.array(names, dtype=object)
        self._number = {item: number for number, item in enumerate(names)}

    def ranked(self) -> dict[str, dict[str, list[str]]]:
        """Return each peer's K items a user, by the peer's name."""
        counts = self._weighed(lambda *_: 1.0)
        decayed = self._weighed(lambda back, _: 0.8**back)
        vectors = self._weighed(_group_decayed)
        sold = np.asarray(counts.sum(axis=0)).ravel()
        little = sold / (sold.max() + 1.0)
        return {
            "P-TopFreq": self._best(lambda a, b: counts[a:b].toarray()),
            "GP-TopFreq": self._best(lambda a, b: counts[a:b].toarray() + little),
            "decayed personal": self._best(lambda a, b: decayed[a:b].toarray() + 1e-6 * little),
            "TIFU-KNN": self._best(lambda a, b: _tifu_knn(vectors, a, b)),
        }

    def _weighed(self, weight: Any) -> sp.csr_matrix:
        """Return users x items, each basket counting `weight(baskets after it, baskets)`."""
        parts = [
            (user, self._number[item], weight(len(own) - 1 - place, len(own)))
            for user, own in enumerate(self._baskets)
            for place, basket in enumerate(own)
            for item in basket
        ]
        rows, columns, values = (np.array(part) for part in zip(*parts, strict=True))
        shape = len(self.users), len(self.item_ids)
        return sp.csr_matrix((values.astype(np.float32), (rows, columns)), shape=shape)

    def _best(self, scores: Any) -> dict[str, list[str]]:
        found = dict[str, list[str]]()
        for start in range(0, len(self.users), CHUNK):
            stop = min(start + CHUNK, len(self.users))
            some: Floats = scores(start, stop)
            order = np.argsort(-some, axis=1, kind="stable")[:, :K]
            for user, best in zip(self.users[start:stop], order, strict=True):
                found[user] = [str(item) for item in self.item_ids[best]]
        return found


GROUP, WITHIN, BETWEEN, OWN, NEIGHBOURS = 7, 0.9, 0.7, 0.7, 300
"""TIFU-KNN as published for Ta-Feng (Hu et al. 2020)."""


def _group_decayed(back: int, n: int) -> float:
    """Return a basket's weight in TIFU-KNN's vector; groups of seven are counted from the latest."""
    groups = -(-n // GROUP)
    group = back // GROUP
    size = GROUP if group < groups - 1 else n - GROUP * (groups - 1)
    return float(WITHIN ** (back % GROUP) / size * BETWEEN**group / groups)


def _tifu_knn(vectors: sp.csr_matrix, start: int, stop: int) -> Floats:
    """Return own and the nearest users' mean vectors, the nearest by Euclidean distance."""
    lengths = np.asarray(vectors.multiply(vectors).sum(axis=1)).ravel()
    near = 2 * (vectors[start:stop] @ vectors.T).toarray() - lengths
    near[np.arange(stop - start), np.arange(start, stop)] = -np.inf
    count = min(NEIGHBOURS, len(lengths) - 1)
    users = np.argpartition(-near, count, axis=1)[:, :count]
    rows = np.repeat(np.arange(stop - start), count)
    mean = sp.csr_matrix(
        (np.full(rows.size, 1.0 / count, dtype=np.float32), (rows, users.ravel())),
        shape=(stop - start, len(lengths)),
    )
    return np.asarray((OWN * vectors[start:stop] + (1 - OWN) * (mean @ vectors)).toarray())
