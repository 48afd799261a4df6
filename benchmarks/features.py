"""What features cost: `python -m benchmarks.features --data complete-journey [--replicate 4] [--json OUT]`.

Seconds and memory of the build and of snapshots for training, milliseconds of one contact online.
`--replicate n` holds every household n times, to see how the cost grows. `--peers` also times Feast's own
materialize over the same tables, which the build replaces.
"""

import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from benchmarks import _report as report
from features.build import build
from features.events.ingest import ingest
from features.events.lake import Lake
from features.items import items_at
from features.live import LiveContacts
from features.snapshots import contact_frame, views_at
from features.store import Store
from nextbest.columns import CONTACT_ID, EVENT_ID, ORDER_ID, TIMESTAMP
from nextbest.settings import Settings

NOW = datetime(2018, 1, 2, tzinfo=UTC)
CUT = datetime(2017, 12, 1, tzinfo=UTC)
CUTS = 12
"""Cuts of the spine, 30 days apart."""
READS = 500


def main() -> None:
    """Measure, print, write."""
    parser = report.options(__doc__.splitlines()[0] if __doc__ else "", "complete-journey")
    parser.add_argument("--replicate", type=int, default=1, help="hold every contact this many times")
    parser.add_argument("--peers", action="store_true", help="also time Feast's own materialize")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(home=Path(folder))
        ingest(settings, asked.data, now=NOW)
        replicate(settings, asked.replicate)
        figures, data = measured(settings)
        peers = {"feast materialize": feast_materialize(settings)} if asked.peers else {}
    for name, value in (data | figures).items():
        print(f"{name:<32}{value:>14}")
    for peer, others in peers.items():
        for name, value in others.items():
            print(f"{peer + ': ' + name:<46}{value:>14}")
    report.write(asked.json, figures, peers, {"name": asked.data, **data}, [asked.seed])


def replicate(settings: Settings, times: int) -> None:
    """Store every event again under other contacts."""
    lake = Lake(settings.lake)
    files = lake.files()

    def copies() -> Iterator[pd.DataFrame]:
        for path in files:
            frame = pq.read_table(path).to_pandas()
            for copy in range(1, times):
                yield frame.assign(
                    **{name: frame[name] + f"-{copy}" for name in (EVENT_ID, CONTACT_ID, ORDER_ID)}
                )

    if times > 1:
        lake.write(copies())


def measured(settings: Settings) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the figures, and the size of what they were measured on."""
    watch = report.Stopwatch()
    summary = build(settings, NOW)
    figures: dict[str, Any] = {"build_seconds": watch.seconds}
    figures |= {f"build_{stage}_seconds": round(seconds, 2) for stage, seconds in summary.seconds.items()}
    views, figures["views_at_seconds"] = timed(lambda: views_at(settings, CUT))
    spine = pd.DataFrame(
        {
            CONTACT_ID: np.tile([view.contact_id for view in views], CUTS),
            TIMESTAMP: np.repeat([CUT - timedelta(days=30 * i) for i in range(CUTS)], len(views)),
        }
    )
    _, figures["contact_frame_seconds"] = timed(lambda: contact_frame(settings, "churn", spine))
    _, figures["items_at_seconds"] = timed(lambda: items_at(settings, CUT))
    figures |= online(settings, [str(view.contact_id) for view in views]) | {"peak_mb": report.peak_mb()}
    data = {"events": summary.events, "contacts": summary.contacts, "spine_rows": len(spine)}
    return figures, data | {f"rows_{name}": rows for name, rows in summary.rows.items()}


def online(settings: Settings, contacts: list[str]) -> dict[str, float]:
    """Return milliseconds of the stored row of one contact, of its live view, and of a hundred live views."""
    store, live = Store(settings), LiveContacts.open(settings)
    asked = [contacts[i % len(contacts)] for i in range(READS)]
    live.get(asked[:1], NOW.timestamp())
    single = [timed(lambda c=c: store.online("contact_card", [c]))[1] for c in asked]  # type: ignore[misc]
    folded = [timed(lambda c=c: live.get([c], NOW.timestamp()))[1] for c in asked]  # type: ignore[misc]
    many = [timed(lambda: live.get(contacts[:100], NOW.timestamp()))[1] for _ in range(10)]
    figures: dict[str, float] = {}
    for name, seconds in (("online_one", single), ("live_one", folded), ("live_hundred", many)):
        for quantile in (50, 99):
            figures[f"{name}_ms_p{quantile}"] = round(float(np.percentile(seconds, quantile)) * 1e3, 2)
    return figures


def feast_materialize(settings: Settings) -> dict[str, float]:
    """Return the seconds Feast's own call takes to put the same rows online."""
    feast = Store(settings)._feast
    views = ["contact", "contact_lists"]
    start = datetime(2016, 1, 1, tzinfo=UTC)
    return {"build_online_seconds": timed(lambda: feast.materialize(start, NOW, feature_views=views))[1]}


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """Return what work gives and the seconds it took."""
    start = time.perf_counter()
    done = work()
    return done, round(time.perf_counter() - start, 5)


if __name__ == "__main__":
    main()
