"""Channels in bulk: `python -m benchmarks.bulk --data 1000000 [--seed N] [--json OUT]`, contacts as said.

Two weeks of a **simulated** world of so many contacts are ingested and made into feature tables; the model is
learned in another of 20,000 contacts and ninety days. Measured is `nextbest score channels` as a process of
its own, start-up included: seconds, and the most memory it held.
"""

import os
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import psutil  # type: ignore[import-untyped]
import pyarrow.parquet as pq

from benchmarks import _report as report
from benchmarks._world_settings import CHANNELS
from benchmarks._world_truth import World
from features.build import build
from features.events.lake import Lake
from nextbest.columns import CONTACT_COLUMNS, EVENT_COLUMNS
from nextbest.settings import Settings

TEACHERS, TAUGHT_DAYS, DAYS = 20_000, 90, 14
ROWS = 500_000
"""Events written at a time."""
COLUMNS = ("contacts", "channels", "seconds", "peak_mb", "contacts_a_second")


def main() -> None:
    """Measure, print, write."""
    asked = report.options((__doc__ or "").splitlines()[0], "how many contacts to simulate").parse_args()
    contacts = int(asked.data)
    with tempfile.TemporaryDirectory() as folder:
        school, shop = Path(folder) / "school", Path(folder) / "shop"
        moment = filled(school, TEACHERS, TAUGHT_DAYS, asked.seed)
        command("train", "channel", home=school, now=moment, NEXTBEST_HOLDOUT_DAYS="8")
        moment = filled(shop, contacts, DAYS, asked.seed + 1)
        everyone, out = Path(folder) / "everyone.parquet", Path(folder) / "channels.parquet"
        pd.DataFrame({"contact_id": [f"simulated-{n}" for n in range(contacts)]}).to_parquet(everyone)
        begun = time.perf_counter()
        registry = f"sqlite:///{school / 'mlflow.db'}"
        peak_mb = command(
            "score", "channels", "--contacts", str(everyone), "--out", str(out),
            "--ask", f"channels={','.join(channel.name for channel in CHANNELS)}",
            home=shop, now=moment, NEXTBEST_MLFLOW=registry,
        )  # fmt: skip
        seconds = time.perf_counter() - begun
        sources = pq.read_table(out, columns=["source"])["source"].value_counts().to_pylist()
    ours = {
        "contacts": contacts,
        "channels": len(CHANNELS),
        "seconds": round(seconds, 1),
        "peak_mb": peak_mb,
        "contacts_a_second": round(contacts / seconds),
        "sources": {one["values"]: one["counts"] for one in sources},
    }
    print("SIMULATED contacts; start-up included")
    report.show({"nextbest score channels": ours}, COLUMNS)
    report.write(asked.json, ours, {}, {"name": "simulated", "contacts": contacts}, [asked.seed])


def filled(home: Path, contacts: int, days: int, seed: int) -> datetime:
    """Simulate a world, and bring it into a state folder; return the moment it ends."""
    world, lake = World.simulated(contacts, days, seed), Lake(Settings(home=home).lake)
    for frame in (world.message_events(), world.order_events(), world.visits.events()):
        events = frame.reindex(columns=list(EVENT_COLUMNS)).assign(received_at=frame["timestamp"])
        for start in range(0, len(events), ROWS):
            lake.write([events.iloc[start : start + ROWS].reset_index(drop=True)])
    lake.write_contacts(world.contacts().reindex(columns=list(CONTACT_COLUMNS)))
    end = datetime.fromtimestamp(world.end, UTC)
    build(Settings(home=home), end, online=False)
    return end


def command(*words: str, home: Path, now: datetime, **more: str) -> float:
    """Run a nextbest command as a user would; return the most memory it held, in megabytes."""
    set_ = {"NEXTBEST_HOME": str(home), "NEXTBEST_NOW": now.isoformat(), "OMP_NUM_THREADS": "1", **more}
    said = home.with_suffix(".out")
    with said.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-c", "from nextbest.cli import app; app()", *words], env=os.environ | set_,
            stdout=output, stderr=subprocess.STDOUT,
        )  # fmt: skip
        watched, most = psutil.Process(process.pid), 0
        while process.poll() is None:  # the kernel's own peak starts with that of the process which forked
            with suppress(psutil.Error):
                most = max(most, watched.memory_info().rss)
            time.sleep(0.05)
    if process.returncode:
        raise SystemExit(f"{' '.join(words)} failed: {said.read_text()[-2000:]}")
    return round(most / 2**20, 1)


if __name__ == "__main__":
    main()
