"""Churn: `python -m benchmarks.churn --data complete-journey|FILE [--calibration-end DATE --horizon-days N]`.

FILE: orders with id, date and amount, as benchmarks.value reads them. Ingest, features and training as the
product does them, in a folder that is thrown away (or `--home`, one that was built before). Hold-out:
contacts with an order when calibration ended, and whether they order in the N days after. Peers: BG/NBD
fitted when calibration ended, recency against own cadence, days since the last order (ranks only). `--curve`
learns from a part of the contacts: where the curve is flat, more of these data would not help.
"""

import tempfile
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks import _report as report
from benchmarks.value import state_of
from nextbest.errors import BadInput
from training._snapshots import Snapshots
from training.base import Context, Evaluation
from training.jobs.churn import CADENCE, ChurnData, ChurnJob
from training.metrics import roc_auc
from training.report import measure

KNOWN = {"complete-journey": ("2017-11-30", 30), "cdnow": ("1998-03-31", 90)}
"""Where calibration ends, and the horizon, where the caller does not say."""
SHARES = (0.125, 0.25, 0.5, 1.0)
COLUMNS = (
    "auc", "auc_interval", "better_by", "better_interval", "ece", "brier", "log_loss", "lift_top_decile",
)  # fmt: skip


def main() -> None:
    """Measure, print, write."""
    parser = report.options((__doc__ or "").splitlines()[0], "complete-journey, or the path of a file")
    parser.add_argument("--home", type=Path, help="a state folder with the data ingested and features built")
    parser.add_argument("--calibration-end", help="the last day learned from, YYYY-MM-DD")
    parser.add_argument(
        "--horizon-days", help="churned: no order in so many days, or cadence: in three of the contact's gaps"
    )
    parser.add_argument("--holdout-days", type=int, help="days held out, where the horizon is by cadence")
    parser.add_argument("--map", default="", help="id=COLUMN,date=COLUMN,amount=COLUMN")
    parser.add_argument("--curve", action="store_true", help="also learn from a part of the contacts")
    asked = parser.parse_args()
    by_cadence = asked.horizon_days == CADENCE
    days = asked.holdout_days if by_cadence else _days(asked.horizon_days)
    end, days = report.span(asked.data, asked.calibration_end, days, KNOWN, "--horizon-days")
    horizon = CADENCE if by_cadence else str(days)
    with tempfile.TemporaryDirectory() as folder:
        settings, now = state_of(asked.data, asked.map, asked.home or Path(folder), bool(asked.home))
        settings = settings.model_copy(update={"holdout_days": days})
        cut = datetime.fromisoformat(end).replace(tzinfo=UTC) + timedelta(days=1)
        context = Context(settings, now, asked.seed, {"cut": f"{cut:%Y-%m-%d}", "horizon_days": horizon})
        data = ChurnJob().prepare(context)
        ours, peers, facts = measured(data, context)
        curve = learning_curve(data, context) if asked.curve else {}
    said = "three usual gaps" if by_cadence else f"{days} days"
    print(f"no order in {said}, {len(data.holdout):,} contacts, {facts['holdout_rate']:.1%} of them")
    report.show({"nextbest churn": ours, **peers}, COLUMNS)
    if curve:
        print("\nlearned from a part of the contacts, judged on all")
        report.show(curve, ("contacts", "auc", "ece", "better_than_bgnbd"))
    about = {"name": Path(asked.data).name, "calibration_end": end, **facts, "horizon_days": horizon}
    report.write(asked.json, ours, peers, about, [asked.seed], learning_curve=curve)


def _days(text: str | None) -> int | None:
    if text is not None and not text.isdecimal():
        raise BadInput(f"--horizon-days is {text!r}; it must be a whole number of days, or {CADENCE}")
    return None if text is None else int(text)


def learning_curve(data: ChurnData, context: Context) -> dict[str, dict[str, Any]]:
    """Return the figures on the whole hold-out of models learned from a share of the contacts."""
    job = ChurnJob()
    everyone = pd.Index(sorted(set(data.train.frame["contact_id"]) | set(data.later.frame["contact_id"])))
    order = np.random.default_rng(context.seed).permutation(len(everyone))
    peers = job.baselines(data, context)
    bgnbd = job.evaluate(peers["bgnbd"], data).metrics["auc"] if "bgnbd" in peers else float("nan")
    found = {}
    for share in SHARES:
        kept = everyone[order[: round(share * len(everyone))]]
        part = replace(
            data, train=_of(data.train, kept), latest=_of(data.latest, kept), later=_of(data.later, kept)
        )
        metrics = job.evaluate(job.fit(part, context), data).metrics
        found[f"{share:.1%} of the contacts"] = {
            "contacts": len(kept), "auc": metrics["auc"], "ece": metrics["ece"],
            "better_than_bgnbd": metrics["auc"] - bgnbd,
        }  # fmt: skip
    return found


def _of(contacts: Snapshots, kept: "pd.Index[str]") -> Snapshots:
    return contacts.take(contacts.frame["contact_id"].isin(kept).to_numpy())


def measured(
    data: ChurnData, context: Context
) -> tuple[dict[str, Any], dict[str, dict[str, Any]], Mapping[str, Any]]:
    """Return our figures, the peers', and the facts of the data."""
    job = ChurnJob()
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
    labels, days = data.left, data.holdout.frame["recency_days"].to_numpy(np.float64)
    return Evaluation(
        {"auc": roc_auc(labels, days)}, len(labels), lambda rows: roc_auc(labels[rows], days[rows])
    )


if __name__ == "__main__":
    report.run(main)
