"""Churn on Complete Journey: `python -m benchmarks.churn --data complete-journey [--seed N] [--json OUT]`.

Ingest, features and training as the product does them, in a folder that is thrown away (or `--home`, one
that was built before). Hold-out: orders in the 30 days from 2017-12-01, contacts with an order before. Peers,
learned on the same cuts: BG/NBD, recency against own cadence, and days since the last order (ranks only).
"""

import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import _report as report
from features.build import build
from features.events.ingest import ingest
from nextbest.errors import BadInput
from nextbest.settings import Settings
from training.base import Context, Evaluation
from training.jobs.churn import ChurnData, ChurnJob
from training.metrics import roc_auc
from training.report import measure

CUTS = {"complete-journey": "2017-12-01"}
NOW = datetime(2018, 1, 2, tzinfo=UTC)
COLUMNS = (
    "auc",
    "auc_interval",
    "better_by",
    "better_interval",
    "ece",
    "brier",
    "log_loss",
    "lift_top_decile",
)


def main() -> None:
    """Measure, print, write."""
    parser = report.options(__doc__.splitlines()[0] if __doc__ else "", f"one of {', '.join(CUTS)}")
    parser.add_argument("--home", type=Path, help="a state folder with the data ingested and features built")
    parser.add_argument("--cut", help="where the hold-out begins; default as published with the data")
    asked = parser.parse_args()
    if asked.data not in CUTS:
        raise BadInput(f"no data {asked.data!r}; known: {', '.join(CUTS)}")
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(home=asked.home or Path(folder))
        if asked.home is None:
            ingest(settings, asked.data, now=NOW)
            build(settings, NOW)
        cut = asked.cut or CUTS[asked.data]
        context = Context(settings, NOW, asked.seed, {"cut": cut})
        ours, peers, facts = measured(context)
    report.show({"nextbest churn": ours, **peers}, COLUMNS)
    report.write(asked.json, ours, peers, {"name": asked.data, "cut": cut, **facts}, [asked.seed])


def measured(context: Context) -> tuple[dict[str, Any], dict[str, dict[str, Any]], Mapping[str, Any]]:
    """Return our figures, the peers', and the facts of the data."""
    job = ChurnJob()
    data = job.prepare(context)
    watch = report.Stopwatch()
    model = job.fit(data, context)
    seconds = watch.seconds
    contenders = [("churn", job.evaluate(model, data))]
    contenders += [(name, job.evaluate(peer, data)) for name, peer in job.baselines(data, context).items()]
    contenders.append(("days_since_order", _recency_alone(data)))
    rows: dict[str, dict[str, Any]] = {}
    for one in measure(contenders, job.metric, job.higher_is_better, context.seed):
        rows[one.name] = {**one.metrics, "auc_interval": [one.low, one.high]}
        if one.improvement is not None:
            interval = [one.improvement_low, one.improvement_high]
            rows[one.name] |= {"better_by": one.improvement, "better_interval": interval}
    ours = rows.pop("churn") | {"seconds": seconds, "peak_mb": report.peak_mb()}
    return ours, rows, job.facts(data)


def _recency_alone(data: ChurnData) -> Evaluation:
    labels, days = data.holdout.left, data.holdout.frame["recency_days"].to_numpy(np.float64)
    return Evaluation(
        {"auc": roc_auc(labels, days)}, len(labels), lambda rows: roc_auc(labels[rows], days[rows])
    )


if __name__ == "__main__":
    main()
