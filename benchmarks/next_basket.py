"""Next basket: `python -m benchmarks.next_basket --data complete-journey [--seed N] [--json OUT]`.

Ingest, features and training as the product does them, in a folder that is thrown away (or `--home`, one
that was built before). The target is what a contact who had ordered before buys in the first order of the 30
days from 2017-12-01, out of the whole catalogue. The ranker learns from moments before
the cut; its generators are then learned again on everything before it. Sizes were chosen on the cut before.
"""

import tempfile
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import _report as report
from features.build import build
from features.events.ingest import ingest
from models.frequency import Frequency, FrequencyConfig
from models.next_purchase import NextPurchase
from models.popularity import Popularity, PopularityConfig
from nextbest.errors import BadInput
from nextbest.settings import Settings
from training.base import Context
from training.jobs.next_purchase import NextPurchaseData, NextPurchaseJob
from training.report import measure

CUTS = {"complete-journey": "2017-12-01"}
NOW = datetime(2018, 1, 2, tzinfo=UTC)
COLUMNS = ("ndcg@10", "ndcg@10_interval", "recall@10", "better_by", "better_interval")
TIMED = 300
"""Shoppers asked one by one."""


def main() -> None:
    """Measure, print, write."""
    parser = report.options((__doc__ or "").splitlines()[0], f"one of {', '.join(CUTS)}")
    parser.add_argument("--home", type=Path, help="a state folder with the data ingested and features built")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="an option of the job"
    )
    asked = parser.parse_args()
    if asked.data not in CUTS:
        raise BadInput(f"no data {asked.data!r}; known: {', '.join(CUTS)}")
    options = {"cut": CUTS[asked.data]} | dict(text.split("=", 1) for text in asked.set)
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(home=asked.home or Path(folder))
        if asked.home is None:
            ingest(settings, asked.data, now=NOW)
            build(settings, NOW)
        ours, peers, facts = measured(Context(settings, NOW, asked.seed, options))
    report.show({"nextbest next_purchase": ours, **peers}, COLUMNS)
    print(f"\nlearned in {ours['seconds']} s, an answer of 20 items in {ours['answer_ms']:.2f} ms")
    report.write(asked.json, ours, peers, {"name": asked.data, **options, **facts}, [asked.seed])


def measured(context: Context) -> tuple[dict[str, Any], dict[str, dict[str, Any]], Mapping[str, Any]]:
    """Return our figures, the peers', and the facts of the data."""
    job = NextPurchaseJob()
    data = job.prepare(context)
    watch = report.Stopwatch()
    model = job.fit(data, context)
    seconds = watch.seconds
    peers = {
        "half-life of 90 days": Frequency(),
        "personal top": Frequency(FrequencyConfig("repeat_count", "sold_total")),
        "popularity": Popularity(PopularityConfig(statistic="sold_total")),
    }
    contenders = [("ours", job.evaluate(model, data))]
    contenders += [(name, job.evaluate(peer, data)) for name, peer in peers.items()]
    rows: dict[str, dict[str, Any]] = {}
    for one in measure(contenders, job.metric, job.higher_is_better, context.seed):
        rows[one.name] = {**one.metrics, f"{job.metric}_interval": [one.low, one.high]}
        if one.improvement is not None:
            interval = [one.improvement_low, one.improvement_high]
            rows[one.name] |= {"better_by": one.improvement, "better_interval": interval}
    timed = answer_ms(model, data) | {"seconds": seconds, "peak_mb": report.peak_mb()}
    return rows.pop("ours") | timed, rows, job.facts(data)


def answer_ms(model: NextPurchase, data: NextPurchaseData) -> dict[str, float]:
    """Return the median milliseconds of one answer of 20 items, by the clock and of this thread's work."""
    taken = []
    for shopper in data.holdout.shoppers[:TIMED]:
        start = time.perf_counter(), time.thread_time()
        model.recommend(shopper, data.holdout.catalogue, 20)
        taken.append((time.perf_counter() - start[0], time.thread_time() - start[1]))
    clock, work = np.median(taken, axis=0) * 1000
    return {"answer_ms": float(clock), "answer_cpu_ms": float(work)}


if __name__ == "__main__":
    main()
