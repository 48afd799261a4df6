"""How a peer takes its arguments and answers: JSON on stdin, JSON in the last line of stdout."""

import json
import resource
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks._next_item_data import Items, figures

Arguments = Mapping[str, Any]


def answer(work: Callable[[Arguments], Mapping[str, Any]]) -> None:
    """Do the work and print what came of it, with the most memory a process of it has held."""
    found = dict(work(json.load(sys.stdin)))
    kilobytes = max(
        resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    print(json.dumps(found | {"peak_mb": round(kilobytes / 1024, 1)}))


def next_item(recommend: Callable[[pd.DataFrame, Items, Arguments], Items]) -> None:
    """Answer with the figures of a recommender and the seconds it took to learn and to rank.

    `recommend(train, users, arguments)` gets the interactions (user, item, time) and returns the items ranked
    for those users, (users, k), their own left out. Arguments: `train`, `test` (Parquet), `k`, `seed`.
    """

    def work(arguments: Arguments) -> dict[str, Any]:
        train, test = (pd.read_parquet(Path(arguments[name])) for name in ("train", "test"))
        start = time.perf_counter()
        ranked = recommend(train, test["user"].to_numpy(), arguments)
        seconds = time.perf_counter() - start
        return {**figures(ranked, test["item"].to_numpy()), "seconds": round(seconds, 2)}

    answer(work)


def filled(rows: pd.DataFrame, users: Items, k: int) -> Items:
    """Return (users, k) from a table of user, rank (from 0) and item; -1 where a user has fewer."""
    wide = rows.pivot(index="user", columns="rank", values="item")
    return wide.reindex(index=users, columns=range(k)).fillna(-1).to_numpy(dtype="int64")
