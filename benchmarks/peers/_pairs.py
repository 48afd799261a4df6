"""How a miner of pairs takes its baskets and answers."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd

from benchmarks.peers._common import Arguments, answer

Prepared = TypeVar("Prepared")


def pairs(prepare: Callable[[pd.DataFrame], Prepared], count: Callable[[Prepared, int], int]) -> None:
    """Answer with the number of pairs, the seconds of the count and those of bringing baskets into its shape.

    Arguments: `baskets` (Parquet of basket and item), `least` (baskets a pair must be in).
    """

    def work(arguments: Arguments) -> dict[str, Any]:
        lines = pd.read_parquet(Path(arguments["baskets"]), columns=["basket", "item"]).drop_duplicates()
        start = time.perf_counter()
        prepared = prepare(lines)
        between = time.perf_counter()
        found = count(prepared, arguments["least"])
        seconds = time.perf_counter() - between
        return {
            "pairs": found,
            "seconds": round(seconds, 2),
            "prepare_seconds": round(between - start, 2),
        }

    answer(work)
