"""Value: how many orders a contact will place, what they will be worth, and whether it has left."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
import pandas as pd

from models._bgnbd import BgNbd
from models._frame import floats, orders
from models._gamma_gamma import GammaGamma
from models.base import Floats
from nextbest.errors import NotReady

NOT_ENOUGH_DATA = "not_enough_data"
MOST_ORDERS = 1000
"""The upper end of an interval of orders is not sought beyond this."""


@dataclass(frozen=True)
class ValueConfig:
    """Settings of the value model."""

    horizon_days: float = 30.0
    """The days ahead that expected orders, spend and P(no order) are about."""
    interval: float = 0.9
    """Probability held by orders_low … orders_high."""
    least_repeat_buyers: int = 50
    """Contacts with two orders or more below which nothing is learned."""


@dataclass(frozen=True)
class History:
    """x repeat orders, the last t_x days after the first, seen for T days; arrays of shape (contacts,)."""

    x: Floats
    t_x: Floats
    seen: Floats

    @classmethod
    def of(cls, frame: pd.DataFrame) -> Self:
        """Read orders_total, recency_days (since the last order) and order_gap_days (mean between orders)."""
        x = np.maximum(orders(frame) - 1, 0.0)
        t_x = np.where(x > 0, x * np.nan_to_num(np.maximum(floats(frame, "order_gap_days"), 0.0)), 0.0)
        return cls(x, t_x, t_x + np.maximum(floats(frame, "recency_days"), 0.0))


class Value:
    """BG/NBD for how often, Gamma-Gamma for how much; both learned by maximum likelihood."""

    kind: ClassVar[str] = "value"

    def __init__(self, config: ValueConfig, often: BgNbd, worth: GammaGamma | None) -> None:
        self.config, self.often, self.worth = config, often, worth

    @classmethod
    def learn(cls, frame: pd.DataFrame, config: ValueConfig | None = None) -> Self:
        """Learn from contacts with orders; raises NotReady with too few repeat buyers or without convergence.

        Where no order has a price, spend stays unknown and the rest works.
        """
        config = config or ValueConfig()
        bought = frame[_usable(frame)]
        history = History.of(bought)
        repeat = int((history.x > 0).sum())
        if repeat < config.least_repeat_buyers:
            raise NotReady(
                f"{repeat} contacts have ordered at least twice; value needs {config.least_repeat_buyers}"
            )
        return cls(config, BgNbd.fit(history.x, history.t_x, history.seen), _worth(bought, config))

    def score(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Return p_alive, p_no_order, expected_orders and its interval, order_value, expected_spend, source.

        orders_low and orders_high hold `interval` of the predicted distribution; next_order_days is the
        median wait, NaN where an order is less likely than not ever to come. Source "not_enough_data" and
        NaN throughout for a contact without orders.
        """
        usable = _usable(frame)
        known = frame[usable]
        history = History.of(known)
        parts = self._scores(history, known) if len(known) else {name: np.empty(0) for name in COLUMNS}
        out = pd.DataFrame(np.nan, index=frame.index, columns=list(COLUMNS))
        out.loc[usable] = np.column_stack([parts[name] for name in COLUMNS])
        out["source"] = np.where(usable, self.kind, NOT_ENOUGH_DATA)
        return out

    predict = score

    def _scores(self, history: History, frame: pd.DataFrame) -> dict[str, Floats]:
        seen = (history.x, history.t_x, history.seen)
        days = self.config.horizon_days
        expected = self.often.expected_orders(*seen, days)
        low, high = self._interval(history)
        worth = self._order_value(frame)
        return {
            "p_alive": self.often.p_alive(*seen),
            "p_no_order": self.often.p_none(*seen, days),
            "expected_orders": expected,
            "orders_low": low,
            "orders_high": high,
            "order_value": worth,
            "expected_spend": expected * worth,
            "next_order_days": self.often.median_wait(*seen),
        }

    def _order_value(self, frame: pd.DataFrame) -> Floats:
        if self.worth is None:
            return np.full(len(frame), np.nan)
        mean = floats(frame, "spend_total") / orders(frame)
        return self.worth.expected_value(np.where(mean > 0, orders(frame), 0.0), mean)

    def _interval(self, history: History) -> tuple[Floats, Floats]:
        """Return the smallest counts whose predicted distribution reaches the interval's two ends."""
        tail = (1 - self.config.interval) / 2
        low, high = np.zeros(len(history.x)), np.zeros(len(history.x))
        for n in range(1, MOST_ORDERS):
            more = self.often.p_at_least(n, history.x, history.t_x, history.seen, self.config.horizon_days)
            low[more > 1 - tail] = n
            high[more > tail] = n
            if not (more > tail).any():
                break
        return low, high

    def save(self, folder: Path) -> None:
        """Write value.json."""
        parts = {
            "config": asdict(self.config),
            "bgnbd": asdict(self.often),
            "gamma_gamma": asdict(self.worth) if self.worth else None,
        }
        (folder / "value.json").write_text(json.dumps(parts, indent=1))

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what save wrote."""
        parts = json.loads((folder / "value.json").read_text())
        worth = GammaGamma(**parts["gamma_gamma"]) if parts["gamma_gamma"] else None
        return cls(ValueConfig(**parts["config"]), BgNbd(**parts["bgnbd"]), worth)


COLUMNS = (
    "p_alive", "p_no_order", "expected_orders", "orders_low", "orders_high",
    "order_value", "expected_spend", "next_order_days",
)  # fmt: skip


def _usable(frame: pd.DataFrame) -> "pd.Series[bool]":
    """Tell which contacts have orders, and when the last was."""
    return pd.Series((orders(frame) > 0) & np.isfinite(floats(frame, "recency_days")), index=frame.index)


def _worth(bought: pd.DataFrame, config: ValueConfig) -> GammaGamma | None:
    count, spend = orders(bought), floats(bought, "spend_total")
    paid = spend > 0
    if int((paid & (count > 1)).sum()) < config.least_repeat_buyers:
        return None
    return GammaGamma.fit(count[paid], spend[paid] / count[paid])
