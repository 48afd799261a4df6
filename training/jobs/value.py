"""Value: BG/NBD, Gamma-Gamma and what trees add, on everyone who has ordered, held against past rates."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from models._pyfunc import predict
from models.rate import Rate
from models.value import Value, ValueConfig, Window
from nextbest.errors import NotReady
from training import plots
from training._numbers import whole
from training._snapshots import Snapshots, snapshots, split_of
from training.base import Context, Evaluation
from training.metrics import mean_absolute_error, mean_of
from training.split import TemporalSplit

MOST_ORDERS_A_ROW = 7


SHORTEST, LONGEST = 30, 90
"""Days of a window to learn from: half the horizon, within these."""
EVERY_DAYS, WINDOWS = 14, 12


@dataclass(frozen=True)
class ValueData:
    """Contacts with orders at the cut and what they did in the horizon after it; the past windows."""

    split: TemporalSplit
    contacts: Snapshots
    windows: Sequence[Window]
    """The latest first; all end by the cut."""
    horizon_days: int

    @property
    def spend_known(self) -> bool:
        """Whether orders have prices."""
        return bool((self.contacts.frame["spend_total"] > 0).any())


class ValueJob:
    """Orders and spend to come."""

    name: ClassVar[str] = "value"
    metric: ClassVar[str] = "mae"
    higher_is_better: ClassVar[bool] = False
    description: ClassVar[str] = (
        "Expected orders and spend of every contact with orders over the horizon, 90 and 365 days, the "
        "probability of none, and the probability of still being a customer: BG/NBD (Fader, Hardie & Lee "
        "2005) and Gamma-Gamma (Fader & Hardie 2013) by maximum likelihood, and on top of them boosted trees "
        "over the contact's features where those were better on the last window before the cut. Knows no "
        "season the data do not repeat, and no campaign; beyond the windows' length the trees' correction is "
        "taken to stay; to BG/NBD someone with a single order is still a customer."
    )
    options: ClassVar[Mapping[str, str]] = {
        "cut": "where the hold-out begins, YYYY-MM-DD (its last days)",
        "horizon_days": "days ahead (churn_horizon_days of the settings)",
        "window_days": f"days of a past window (half the horizon, from {SHORTEST} to {LONGEST})",
        "every_days": f"days between the windows' beginnings ({EVERY_DAYS})",
        "windows": f"windows at most; 0: BG/NBD and Gamma-Gamma alone ({WINDOWS})",
    }

    def prepare(self, context: Context) -> ValueData:
        """Read the contacts at the cut, and at the beginnings of the windows before it."""
        days = whole(context, "horizon_days", context.settings.horizon_days)
        split = split_of(context, days, before=1)
        length = whole(context, "window_days", min(max(days // 2, SHORTEST), LONGEST))
        step = timedelta(days=whole(context, "every_days", EVERY_DAYS))
        first = split.cut - timedelta(days=length)
        moments = [first - n * step for n in range(whole(context, "windows", WINDOWS, least=0))]
        contacts = snapshots(context, "value", [split.cut], days)
        windows = _windows(context, moments, length) if moments else []
        return ValueData(split, contacts, windows, days)

    def fit(self, data: ValueData, context: Context) -> Value:
        """Learn the parametric part from what was known at the cut, and what trees add from the windows."""
        value = Value.learn(data.contacts.frame, ValueConfig(horizon_days=float(data.horizon_days)))
        return value.with_heads(data.windows, context.seed, context.progress)

    def baselines(self, data: ValueData, context: Context) -> Mapping[str, Any]:
        """Return each contact's past rate, and BG/NBD with Gamma-Gamma alone."""
        del context
        config = ValueConfig(horizon_days=float(data.horizon_days))
        return {
            "rate": Rate(float(data.horizon_days)),
            "bgnbd_gamma_gamma": Value.learn(data.contacts.frame, config),
        }

    def evaluate(self, model: Any, data: ValueData) -> Evaluation:
        """Compare expected with actual spend, or orders where nothing has a price: `mae` a contact."""
        scores, actual = model.score(data.contacts.frame), data.contacts
        orders = scores["expected_orders"].to_numpy(np.float64)
        spend = scores["expected_spend"].to_numpy(np.float64)
        expected, came = (spend, actual.spend) if data.spend_known else (orders, actual.orders)
        metrics = {
            "mae": mean_absolute_error(came, expected),
            "total_error": float(expected.sum() / max(float(came.sum()), 1.0) - 1),
            "orders_mae": mean_absolute_error(actual.orders, orders),
            "orders_total_error": float(orders.sum() / max(float(actual.orders.sum()), 1.0) - 1),
        }
        for name, held in (("orders", actual.orders), ("spend", actual.spend)):
            if f"{name}_low" in scores and scores[f"{name}_low"].notna().all():
                inside = (held >= scores[f"{name}_low"]) & (held <= scores[f"{name}_high"])
                metrics[f"{name}_interval_coverage"] = float(inside.mean())
        return Evaluation(metrics, len(actual), mean_of(np.abs(expected - came)))

    def figures(self, model: Value, data: ValueData) -> Mapping[str, Any]:
        """Draw expected against actual orders, and the calibration of P(no order)."""
        scores = model.score(data.contacts.frame)
        title = f"Orders in {data.horizon_days} days"
        return {
            "orders.png": plots.scatter(
                scores["expected_orders"], data.contacts.orders, title, "Expected", "Actual", diagonal=True
            ),
            "no_order_calibration.png": plots.calibration(
                data.contacts.left, scores["p_no_order"], "P(no order)"
            ),
        }

    def tables(self, model: Value, data: ValueData) -> Mapping[str, pd.DataFrame]:
        """Return actual and expected orders by the number of repeat orders seen, as the papers print them."""
        scores = model.score(data.contacts.frame)
        repeat = np.minimum(data.contacts.frame["orders_total"] - 1, MOST_ORDERS_A_ROW)
        table = pd.DataFrame(
            {"repeat_orders": repeat, "actual": data.contacts.orders, "expected": scores["expected_orders"]}
        ).groupby("repeat_orders", as_index=False)
        rows = table.agg(
            contacts=("actual", "size"), actual=("actual", "mean"), expected=("expected", "mean")
        )
        return {"orders_by_repeat_orders": rows}

    def example(self, model: Value, data: ValueData) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Return a few contacts and their value."""
        frame = data.contacts.features(5)
        return frame, predict(model, frame)

    def facts(self, data: ValueData) -> Mapping[str, Any]:
        """Return rows, dates and the horizon."""
        return {
            **data.split.facts(),
            "contacts": len(data.contacts),
            "horizon_days": data.horizon_days,
            "share_without_order": float(data.contacts.left.mean()),
            "windows": len(data.windows),
            "window_days": data.windows[0].days if data.windows else 0.0,
            "spend_known": data.spend_known,
            "simulated": False,
        }


def _windows(context: Context, moments: Sequence[datetime], days: int) -> list[Window]:
    """Return what is there of the windows, the latest first; none where nobody had ordered by then."""
    try:
        every = snapshots(context, "value", moments, days)
    except NotReady:
        return []
    parts = [every.at([moment]) for moment in moments]
    return [Window(part.frame, part.orders, part.spend, float(days)) for part in parts if len(part)]
