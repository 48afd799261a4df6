"""Value: BG/NBD and Gamma-Gamma on everyone who has ordered, held against their past rate."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from models._pyfunc import predict
from models.rate import Rate
from models.value import Value, ValueConfig
from training import plots
from training._numbers import whole
from training._snapshots import Snapshots, snapshots, split_of
from training.base import Context, Evaluation
from training.metrics import mean_absolute_error, mean_of
from training.split import TemporalSplit

MOST_ORDERS_A_ROW = 7


@dataclass(frozen=True)
class ValueData:
    """Contacts with orders at the cut, and their orders and spend in the horizon after it."""

    split: TemporalSplit
    contacts: Snapshots
    horizon_days: int


class ValueJob:
    """Orders and spend to come."""

    name: ClassVar[str] = "value"
    metric: ClassVar[str] = "mae"
    higher_is_better: ClassVar[bool] = False
    description: ClassVar[str] = (
        "Expected orders and spend of every contact with orders over the horizon, the probability of none, "
        "and the probability of still being a customer: BG/NBD (Fader, Hardie & Lee 2005) and Gamma-Gamma "
        "(Fader & Hardie 2013), by maximum likelihood. Knows only when and for how much a contact ordered: "
        "no season, no campaign; someone with a single order counts as still a customer."
    )
    options: ClassVar[Mapping[str, str]] = {
        "cut": "where the hold-out begins, YYYY-MM-DD (its last days)",
        "horizon_days": "days ahead (churn_horizon_days of the settings)",
    }

    def prepare(self, context: Context) -> ValueData:
        """Read the contacts at the cut."""
        days = whole(context, "horizon_days", context.settings.churn_horizon_days)
        split = split_of(context, days)
        return ValueData(split, snapshots(context, "value", [split.cut], days), days)

    def fit(self, data: ValueData, context: Context) -> Value:
        """Learn both models from what was known at the cut."""
        del context
        return Value.learn(data.contacts.frame, ValueConfig(horizon_days=float(data.horizon_days)))

    def baselines(self, data: ValueData, context: Context) -> Mapping[str, Any]:
        """Return each contact's past rate."""
        del context
        return {"rate": Rate(float(data.horizon_days))}

    def evaluate(self, model: Any, data: ValueData) -> Evaluation:
        """Compare expected with actual orders and spend; `mae` is of orders a contact."""
        scores, actual = model.score(data.contacts.frame), data.contacts
        expected = scores["expected_orders"].to_numpy(np.float64)
        metrics = {
            "mae": mean_absolute_error(actual.orders, expected),
            "total_error": float(expected.sum() / max(actual.orders.sum(), 1.0) - 1),
        }
        spend = scores["expected_spend"].to_numpy(np.float64)
        if np.isfinite(spend).all() and actual.spend.sum() > 0:
            metrics["spend_mae"] = mean_absolute_error(actual.spend, spend)
            metrics["spend_total_error"] = float(spend.sum() / actual.spend.sum() - 1)
        if "orders_low" in scores:
            inside = (actual.orders >= scores["orders_low"]) & (actual.orders <= scores["orders_high"])
            metrics["interval_coverage"] = float(inside.mean())
        return Evaluation(metrics, len(actual), mean_of(np.abs(expected - actual.orders)))

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
            "simulated": False,
        }
