"""Churn, value and next order in bulk: `python -m benchmarks.predictions --data 1000000 [--json OUT]`.

A year of orders of so many **simulated** contacts (BG/NBD buyers with gamma order values) is ingested and
made into feature tables; the models are learned from 20,000 others. Measured is `nextbest score predictions`,
all three tasks, as a process of its own, start-up included: seconds, and the most memory it held.
"""

import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from benchmarks import _report as report
from benchmarks.bulk import command
from features.build import build
from features.events.lake import Lake
from nextbest.columns import EVENT_COLUMNS, ORDER_COMPLETED
from nextbest.settings import Settings

END = datetime(2026, 1, 1, tzinfo=UTC)
DAYS = 365
TEACHERS = 20_000
CONTACTS_AT_A_TIME = 200_000
COLUMNS = ("contacts", "seconds", "peak_mb", "contacts_a_second")


def main() -> None:
    """Measure, print, write."""
    asked = report.options((__doc__ or "").splitlines()[0], "how many contacts to simulate").parse_args()
    contacts = int(asked.data)
    with tempfile.TemporaryDirectory() as folder:
        school, shop = Path(folder) / "school", Path(folder) / "shop"
        filled(school, TEACHERS, asked.seed)
        command("train", "rfm", "value", "churn", home=school, now=END)
        command("models", "promote", "churn", "1", home=school, now=END)  # BG/NBD is the truth here, and wins
        events = filled(shop, contacts, asked.seed + 1)
        out = Path(folder) / "predictions.parquet"
        begun = time.perf_counter()
        registry = f"sqlite:///{school / 'mlflow.db'}"
        peak_mb = command(
            "score", "predictions", "--out", str(out), home=shop, now=END, NEXTBEST_MLFLOW=registry
        )
        seconds = time.perf_counter() - begun
        told = (
            pq.read_table(out, columns=["task", "source"])
            .group_by(["task", "source"])
            .aggregate([([], "count_all")])
        )
    ours = {
        "contacts": contacts,
        "orders": events,
        "seconds": round(seconds, 1),
        "peak_mb": peak_mb,
        "contacts_a_second": round(contacts / seconds),
        "rows": {f"{row['task']} by {row['source']}": row["count_all"] for row in told.to_pylist()},
    }
    print("SIMULATED contacts; start-up included")
    report.show({"nextbest score predictions": ours}, COLUMNS)
    report.write(asked.json, ours, {}, {"name": "simulated", "contacts": contacts}, [asked.seed])


def filled(home: Path, contacts: int, seed: int) -> int:
    """Simulate buyers into a lake and make the tables; returns the orders."""
    settings, random, orders = Settings(home=home), np.random.default_rng(seed), 0
    for start in range(0, contacts, CONTACTS_AT_A_TIME):
        frame = simulated(start, min(CONTACTS_AT_A_TIME, contacts - start), random)
        Lake(settings.lake).write([frame])
        orders += len(frame)
    build(settings, END, online=False)
    return orders


def simulated(start: int, contacts: int, random: np.random.Generator) -> pd.DataFrame:
    """Return a year's orders of buyers who come at their own rate and leave after an order by chance."""
    rate = random.gamma(0.8, 1 / 40.0, contacts)
    leaving, worth = random.beta(0.8, 4.0, contacts), random.gamma(4.0, 10.0, contacts)
    who, at = np.arange(contacts), random.uniform(0, DAYS, contacts)
    owners, moments = [who], [at]
    while len(who):
        stays = random.random(len(who)) > leaving[who]
        who, at = who[stays], at[stays]
        at = at + random.exponential(1 / rate[who])
        who, at = who[at < DAYS], at[at < DAYS]
        owners.append(who)
        moments.append(at)
    owner, moment = np.concatenate(owners), np.concatenate(moments)
    ids = (start + owner).astype(str).astype(object)
    times = pd.Series(pd.Timestamp(END - timedelta(days=DAYS)) + pd.to_timedelta(moment, unit="D")).dt.floor(
        "s"
    )
    names = [f"simulated-{contact}-{n}" for contact, n in zip(ids, range(len(ids)), strict=True)]
    frame = pd.DataFrame({"event_id": names, "order_id": names, "contact_id": "simulated-" + ids})
    frame["timestamp"] = frame["received_at"] = times.astype("datetime64[us, UTC]")
    frame = frame.assign(event=ORDER_COMPLETED, item_id="item", quantity=1.0)
    frame["price"] = random.gamma(3.0, worth[owner] / 3.0)
    return frame.reindex(columns=list(EVENT_COLUMNS)).astype({"price": float})


if __name__ == "__main__":
    main()
