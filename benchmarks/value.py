"""Value held out: `python -m benchmarks.value --data FILE --calibration-end DATE --holdout-days N`.

FILE: any orders with id, date and amount (found by name, or `--map id=…,date=…,amount=…`), CDNOW's own
files, or complete-journey. Features, training and choice of the model as the product does them, on what was
known when calibration ended; measured on the N days after it: absolute error of spend (and orders) a
customer, and of the total. Beside ours: BG/NBD with Gamma-Gamma alone, the same by `lifetimes`, each
customer's past rate. `--frontier` adds what trees can reach that learn from the held-out days themselves.
"""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from benchmarks import _report as report
from benchmarks._frontier import frontier
from benchmarks._orders_file import after, read, state
from benchmarks.peers.lifetimes_value import LifetimesValue
from features.build import build
from features.events.ingest import ingest
from models._bgnbd import BgNbd
from models.value import History, Value
from nextbest.settings import Settings
from training.base import Context
from training.jobs.value import ValueData, ValueJob
from training.metrics import mean_absolute_error
from training.report import measure

COMPLETE_JOURNEY = "complete-journey"
KNOWN = {COMPLETE_JOURNEY: ("2017-11-30", 30), "cdnow": ("1997-09-30", 273)}
"""Where calibration ends and how long is held out where the caller does not say."""
COLUMNS = ("mae", "better_by", "better_interval", "total_error", "orders_mae", "orders_total_error")
PARAMETERS = ("r", "alpha", "a", "b", "log_likelihood", "seconds")
PUBLISHED = {"r": 0.2426, "alpha": 4.4137, "a": 0.7930, "b": 2.4262, "log_likelihood": -9582.43}
"""Fader, Hardie & Lee (2005), of the CDNOW sample, in weeks."""
WEEK = 7.0
Floats = npt.NDArray[np.float64]


def main() -> None:
    """Measure, print, write."""
    parser = report.options((__doc__ or "").splitlines()[0], f"path of a file, or {COMPLETE_JOURNEY}")
    parser.add_argument("--calibration-end", help="the last day learned from, YYYY-MM-DD")
    parser.add_argument("--holdout-days", type=int, help="days held out after it")
    parser.add_argument("--map", default="", help="id=COLUMN,date=COLUMN,amount=COLUMN")
    parser.add_argument("--home", type=Path, help="a state folder that holds the data already")
    parser.add_argument("--frontier", action="store_true", help="also what trees reach that saw the hold-out")
    asked = parser.parse_args()
    end, days = report.span(asked.data, asked.calibration_end, asked.holdout_days, KNOWN, "--holdout-days")
    with tempfile.TemporaryDirectory() as folder:
        settings, now = state_of(asked.data, asked.map, asked.home or Path(folder), bool(asked.home))
        settings = settings.model_copy(update={"holdout_days": days})
        cut = datetime.fromisoformat(end).replace(tzinfo=UTC) + timedelta(days=1)
        options = {"cut": f"{cut:%Y-%m-%d}", "horizon_days": str(days)}
        found = measured(Context(settings, now, asked.seed, options))
    _show(found, asked.data)
    more: dict[str, Any] = {"estimates": found.estimates, "by_repeat": found.by_repeat.to_dict("records")}
    if asked.frontier:
        more["frontier"] = frontier(found.data.contacts.frame, found.data.contacts.spend, asked.seed)
        print("\nlearned from the held-out days themselves, five folds: no figure to reach, a bound to know")
        report.show(more["frontier"], ("mae", "total_error"))
    data = {"name": Path(asked.data).name, "calibration_end": end, "holdout_days": days, **found.facts}
    report.write(asked.json, found.ours, found.peers, data, [asked.seed], **more)


@dataclass(frozen=True)
class Found:
    """What was measured."""

    ours: dict[str, Any]
    peers: dict[str, dict[str, Any]]
    estimates: dict[str, dict[str, Any]]
    by_repeat: pd.DataFrame
    data: ValueData
    facts: Mapping[str, Any]


def measured(context: Context) -> Found:
    """Learn, and measure ours and the peers on the same customers."""
    job = ValueJob()
    data = job.prepare(context)
    watch = report.Stopwatch()
    model = job.fit(data, context)
    seconds = watch.seconds
    contenders = [("value", job.evaluate(model, data))]
    contenders += [(name, job.evaluate(peer, data)) for name, peer in job.baselines(data, context).items()]
    rows: dict[str, dict[str, Any]] = {}
    for one in measure(contenders, job.metric, job.higher_is_better, context.seed):
        rows[one.name] = {**one.metrics, "mae_interval": [one.low, one.high]}
        if one.improvement is not None:
            interval = [one.improvement_low, one.improvement_high]
            rows[one.name] |= {"better_by": one.improvement, "better_interval": interval}
    ours = rows.pop("value") | {"seconds": seconds, "peak_mb": report.peak_mb()}
    ours["trust"] = {name: head.trust for name, head in model.heads.items()}
    estimates, theirs = _estimates(data)
    if theirs is not None:
        rows["lifetimes"] = theirs
    return Found(ours, rows, estimates, _by_repeat(model, data), data, job.facts(data))


def _estimates(data: ValueData) -> tuple[dict[str, dict[str, Any]], dict[str, Any] | None]:
    """Return BG/NBD's parameters in weeks, ours and lifetimes', and how lifetimes does on the hold-out."""
    frame = data.contacts.frame
    history = History.of(frame)
    x, t_x, seen = history.x, history.t_x / WEEK, history.seen / WEEK
    watch = report.Stopwatch()
    ours = BgNbd.fit(x, t_x, seen)
    found = {"nextbest": _told(ours, (x, t_x, seen), watch.seconds)}
    peer = LifetimesValue.found()
    if peer is None:
        return found, None
    try:
        theirs, row = _peer(peer, data, (x, t_x, seen))
    except Exception as error:  # a peer that fails takes nothing of ours with it
        print(f"lifetimes failed: {type(error).__name__}: {str(error).splitlines()[0]}")
        return found, None
    return found | {"lifetimes": theirs}, row


def _peer(
    peer: LifetimesValue, data: ValueData, history: tuple[Floats, Floats, Floats]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return lifetimes' parameters, and how it does on the hold-out; raises what it raises."""
    watch = report.Stopwatch()
    peer.fit(*history)
    theirs = _told(BgNbd(**peer.parameters()), history, watch.seconds)
    frame, actual = data.contacts.frame, data.contacts
    count, spend = frame["orders_total"].to_numpy(np.float64), frame["spend_total"].to_numpy(np.float64)
    orders, paid = peer.orders(*history, data.horizon_days / WEEK), spend > 0
    expected = orders * peer.order_value(np.where(paid, count, 0.0), np.where(paid, spend / count, 0.0))
    return theirs, {
        "mae": mean_absolute_error(actual.spend, expected),
        "total_error": float(expected.sum() / max(float(actual.spend.sum()), 1.0) - 1),
        "orders_mae": mean_absolute_error(actual.orders, orders),
        "orders_total_error": float(orders.sum() / max(float(actual.orders.sum()), 1.0) - 1),
    }


def _told(model: BgNbd, seen: tuple[Floats, Floats, Floats], seconds: float) -> dict[str, Any]:
    return {**vars(model), "log_likelihood": model.log_likelihood(*seen), "seconds": seconds}


def _by_repeat(model: Value, data: ValueData) -> pd.DataFrame:
    """Return actual and expected orders by the repeat orders seen, as the papers print them."""
    return ValueJob().tables(model, data)["orders_by_repeat_orders"]


def _show(found: Found, data: str) -> None:
    print(f"spend and orders in {found.data.horizon_days} days, {len(found.data.contacts):,} customers")
    report.show({"nextbest value": found.ours, **found.peers}, COLUMNS)
    print("\nBG/NBD's parameters, in weeks")
    published = {"published": PUBLISHED} if "cdnow_sample" in Path(data).name else {}
    report.show({**found.estimates, **published}, PARAMETERS)
    print("\norders by repeat orders before\n" + found.by_repeat.round(3).to_string(index=False))


def state_of(data: str, mapping: str, home: Path, built: bool) -> tuple[Settings, datetime]:
    """Return a state folder that holds the data, and the moment at which they are over."""
    if data == COMPLETE_JOURNEY:
        settings, now = Settings(home=home), datetime(2018, 1, 2, tzinfo=UTC)
        if not built:
            ingest(settings, data, now=now)
            build(settings, now, online=False)
        return settings, now
    orders = read(Path(data), dict(part.split("=", 1) for part in mapping.split(",") if "=" in part))
    if orders.dropped:
        print(f"{orders.dropped:,} of {orders.rows:,} rows have no id, date or amount and are left out")
    return Settings(home=home) if built else state(orders, home), after(orders.days)


if __name__ == "__main__":
    report.run(main)
