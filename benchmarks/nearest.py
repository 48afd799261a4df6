"""Nearest items: `python -m benchmarks.nearest --data 500000 [--seed N] [--json OUT]`.

**Simulated** embeddings of up to `--data` items: clusters, and directions of falling weight, as learned ones
have. A query is one of the same clusters that is no item, asked alone, as serving does. Each is answered by a
numpy product with every item and by models.nearest, one after the other, so that both see the same machine.
From 50,000 items on the graph is measured; `used` says what the models take at that size.
"""

import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import _report as report
from models.nearest import EXACT_UP_TO, Floats32, Nearest, Numbers

SIZES = (10_000, 50_000, 100_000, 500_000)
GRAPH_FROM = 50_000
"""Items from which the graph is measured, used or not."""
WIDTH = 64
A_CLUSTER = 50
"""Items of a cluster on average."""
SPREAD = 0.7
"""Distance of items from their cluster's centre, the centres' own from each other being 1."""
QUERIES = 300
K = 100
SHOWN = (
    "exact_ms", "ours_ms", "times_quicker", "recall@10", "recall@100", "build_seconds", "graph_mb", "used",
)  # fmt: skip


def main() -> None:
    """Measure each size, print, write."""
    parser = report.options((__doc__ or "").splitlines()[0], "simulated items at most")
    asked = parser.parse_args()
    most = int(asked.data)
    sizes = [size for size in SIZES if size < most] + [most]
    figures = {f"{size} simulated items": measured(size, asked.seed) for size in sizes}
    report.show(figures, SHOWN)
    data = {"name": "simulated", "sizes": sizes, "width": WIDTH, "queries": QUERIES}
    report.write(asked.json, figures, {}, data, [asked.seed])


def simulated(items: int, seed: int) -> tuple[Floats32, Floats32]:
    """Return the unit vectors of items (items, WIDTH) and of queries (QUERIES, WIDTH)."""
    random = np.random.default_rng(seed)
    weight = 1.0 / np.sqrt(np.arange(1, WIDTH + 1))
    centres = random.normal(size=(max(items // A_CLUSTER, 1), WIDTH))
    cluster = random.integers(0, len(centres), items + QUERIES)
    rows = random.normal(size=(len(cluster), WIDTH)).astype(np.float32)
    rows = ((centres[cluster] + SPREAD * rows) * weight).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows[:items], rows[items:]


def measured(items: int, seed: int) -> dict[str, Any]:
    """Return milliseconds a query both ways, how many are found, and what the graph costs."""
    rows, queries = simulated(items, seed)
    watch = report.Stopwatch()
    ours = Nearest.over(rows, seed, exact_up_to=GRAPH_FROM - 1)
    seconds, exact = watch.seconds, Nearest(rows)
    spent, recalls = [], []
    for query in queries:
        wanted, slow = _timed(exact, query)
        found, quick = _timed(ours, query)
        few = ours.search(query, 10)[0]
        spent.append((slow, quick))
        recalls.append((np.isin(wanted[:10], few).mean(), np.isin(wanted, found).mean()))
    exact_ms, ours_ms = np.median(spent, axis=0)
    at_10, at_100 = np.mean(recalls, axis=0)
    return {
        "exact_ms": float(exact_ms),
        "ours_ms": float(ours_ms),
        "times_quicker": float(exact_ms / ours_ms),
        "recall@10": float(at_10),
        "recall@100": float(at_100),
        "own_recall": ours.recall,
        "build_seconds": seconds,
        "graph_mb": _saved_mb(ours),
        "embeddings_mb": round(rows.nbytes / 1e6, 1),
        "used": "exact" if items <= EXACT_UP_TO else "graph",
    }


def _timed(search: Nearest, query: Floats32) -> tuple[Numbers, float]:
    start = time.perf_counter()
    numbers, _ = search.search(query, K)
    return numbers, (time.perf_counter() - start) * 1e3


def _saved_mb(search: Nearest) -> float:
    with tempfile.TemporaryDirectory() as folder:
        search.save(Path(folder))
        return round(sum(file.stat().st_size for file in Path(folder).iterdir()) / 1e6, 1)


if __name__ == "__main__":
    main()
