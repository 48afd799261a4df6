"""Next basket: `python -m benchmarks.next_basket --data complete-journey|FILE.json [--seed N] [--json OUT]`.

Ingest, features and training as the product does them, in a folder that is thrown away (or `--home`, one
that was built before). On Complete Journey the target is what a contact who had ordered before buys in the
first order of the 30 days from 2017-12-01, out of the whole catalogue. A FILE.json holds user -> baskets in
order, the last one the target (benchmarks._baskets). The ranker learns from moments before the cut; its
generators are then learned again on everything before it. `--validate` measures on the window before the
cut instead: there sizes were chosen.
"""

import tempfile
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import _baskets as baskets
from benchmarks import _report as report
from features.build import build
from features.events.ingest import ingest
from models.frequency import Frequency, FrequencyConfig
from models.next_purchase import NextPurchase
from models.popularity import Popularity, PopularityConfig
from nextbest.settings import Settings
from training._moments import K
from training.base import Context, Evaluation
from training.jobs.next_purchase import NextPurchaseData, NextPurchaseJob
from training.metrics import ndcg_at_k, recall_at_k
from training.report import measure

JOURNEY, CUT, BEFORE = "complete-journey", "2017-12-01", "2017-11-01"
NOW = datetime(2018, 1, 2, tzinfo=UTC)
COLUMNS = ("ndcg@10", "ndcg@10_interval", "recall@10", "better_by", "better_interval")
TIMED = 300
"""Shoppers asked one by one."""


def main() -> None:
    """Measure, print, write."""
    parser = report.options((__doc__ or "").splitlines()[0], f"{JOURNEY} or FILE.json")
    parser.add_argument("--home", type=Path, help="a state folder with the data ingested and features built")
    parser.add_argument("--validate", action="store_true", help="measure on the window before the cut")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="an option of the job"
    )
    asked = parser.parse_args()
    file = None if asked.data == JOURNEY else Path(asked.data)
    options = {"cut": _cut(file, asked.validate)} | dict(text.split("=", 1) for text in asked.set)
    with tempfile.TemporaryDirectory() as folder:
        settings = _settings(file, asked.home or Path(folder))
        if asked.home is None:
            _fill(settings, file)
        context = Context(settings, NOW, asked.seed, options)
        more = {} if file is None else baskets.Peers(baskets.read(file), 1 + asked.validate).ranked()
        ours, peers, facts = measured(context, more)
    report.show({"nextbest next_purchase": ours, **peers}, COLUMNS)
    print(
        f"\nlearned in {ours['seconds']} s, an answer of 20 items in {ours['answer_ms']:.2f} ms; ece", end=""
    )
    print("".join(f" {name} {value:.4f}" for name, value in ours.items() if name.startswith("ece")))
    report.write(asked.json, ours, peers, {"name": asked.data, **options, **facts}, [asked.seed])


def _cut(file: Path | None, validate: bool) -> str:
    if file is None:
        return BEFORE if validate else CUT
    return f"{baskets.CUT - timedelta(days=baskets.DAYS * validate):%Y-%m-%d}"


def _settings(file: Path | None, home: Path) -> Settings:
    """Return the settings; a file's baskets come once a week, so that is its horizon."""
    if file is None:
        return Settings(home=home)
    return Settings(home=home, purchase_horizon_days=baskets.DAYS, holdout_days=baskets.DAYS)


def _fill(settings: Settings, file: Path | None) -> None:
    if file is not None:
        return baskets.shop(settings, baskets.read(file))
    ingest(settings, JOURNEY, now=NOW)
    build(settings, NOW)
    return None


def measured(
    context: Context, more: Mapping[str, Mapping[str, list[str]]]
) -> tuple[dict[str, Any], dict[str, dict[str, Any]], Mapping[str, Any]]:
    """Return our figures, the peers' (`more`: peer -> user -> items), and the facts of the data."""
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
    contenders += [(name, _told(ranked, data)) for name, ranked in more.items()]
    rows: dict[str, dict[str, Any]] = {}
    for one in measure(contenders, job.metric, job.higher_is_better, context.seed):
        rows[one.name] = {**one.metrics, f"{job.metric}_interval": [one.low, one.high]}
        if one.improvement is not None:
            interval = [one.improvement_low, one.improvement_high]
            rows[one.name] |= {"better_by": one.improvement, "better_interval": interval}
    timed = answer_ms(model, data) | {"seconds": seconds, "peak_mb": report.peak_mb()}
    return rows.pop("ours") | timed, rows, job.facts(data)


def _told(ranked: Mapping[str, list[str]], data: NextPurchaseData) -> Evaluation:
    """Measure lists made elsewhere on the same users."""
    wanted = [data.holdout.next_order[unit] for unit in data.units]
    said = [ranked.get(str(data.holdout.shoppers[unit].contact_id), []) for unit in data.units]
    ndcg = ndcg_at_k(said, wanted, K)
    figures = {f"ndcg@{K}": float(ndcg.mean()), f"recall@{K}": float(recall_at_k(said, wanted, K).mean())}
    return Evaluation(figures, len(data.units), lambda rows: float(ndcg[rows].mean()))


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
