"""Value: how many orders a contact will place, what they will be worth, and whether it has left.

BG/NBD says how often, Gamma-Gamma for how much, both from when and for how much a contact ordered alone. On
top of them boosted trees (models._value_head) correct what else is known, where they were better on a window
they had not seen.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import ClassVar, Self

import lightgbm as lgb
import numpy as np
import pandas as pd

from models._bgnbd import BgNbd
from models._frame import floats, orders
from models._gamma_gamma import GammaGamma
from models._spread import Spread
from models._value_head import FEATURES, Head, HeadConfig, head_features, trusted
from models.base import Floats
from nextbest.errors import BadInput, NotReady
from nextbest.progress import Progress, silent

NOT_ENOUGH_DATA = "not_enough_data"
MOST_ORDERS = 1000
"""The upper end of an interval of orders is not sought beyond this."""
AHEAD = (90, 365)
"""Days for which orders and spend are always told, beside the horizon."""
PACE_DAYS = 30.0
"""What is expected a day is the mean over this many days."""
TARGETS = ("orders", "spend")
TRIALS = 3
"""Past windows, every other one, on which it is tried how far a head can be trusted."""


@dataclass(frozen=True)
class ValueConfig:
    """Settings of the value model."""

    horizon_days: float = 30.0
    """The days ahead that expected orders, spend and P(no order) are about."""
    interval: float = 0.9
    """Probability held by orders_low … orders_high, and by spend_low … spend_high."""
    least_repeat_buyers: int = 50
    """Contacts with two orders or more below which nothing is learned."""
    head: HeadConfig = field(default_factory=HeadConfig)


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


@dataclass(frozen=True)
class Window:
    """Contacts with orders at a past moment, and their orders and spend in the `days` after it."""

    frame: pd.DataFrame
    orders: Floats
    spend: Floats
    days: float


class Value:
    """BG/NBD for how often, Gamma-Gamma for how much, and the trees' factors on both."""

    kind: ClassVar[str] = "value"

    def __init__(
        self,
        config: ValueConfig,
        often: BgNbd,
        worth: GammaGamma | None,
        heads: Mapping[str, Head] | None = None,
        spread: Spread | None = None,
    ) -> None:
        self.config, self.often, self.worth = config, often, worth
        self.heads, self.spread = dict(heads or {}), spread

    @classmethod
    def learn(cls, frame: pd.DataFrame, config: ValueConfig | None = None) -> Self:
        """Learn the parametric part from contacts with orders.

        Raises NotReady with too few repeat buyers or without convergence. Where no order has a price, spend
        stays unknown and the rest works.
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

    def with_heads(self, windows: Sequence[Window], seed: int = 7, progress: Progress = silent) -> Self:
        """Return the model with the factors that pay, learned on past windows, the latest first.

        How far a head is trusted, from not at all to wholly, is what gave the least absolute error on the
        TRIALS latest windows, each foreseen by a head learned on those that had ended when it began; then it
        is learned again with all. Each window is seen through parameters fitted at its own moment.
        """
        held = [seen for window in windows if (seen := _seen(window, self.config)) is not None]
        heads: dict[str, Head] = {}
        spread: Spread | None = None
        for place, target in enumerate(TARGETS):
            progress("value: heads", place, len(TARGETS))
            known = [one for one in held if one.tells(target)]
            trials = _trials(known, target, self.config.head, seed)
            trust = trusted([trial.actual for trial in trials], [trial.at for trial in trials])
            if trust > 0:
                heads[target] = _head(known, target, self.config.head, seed).tempered(trust)
            if target == "spend" and known:
                ours = trials[0].at(trust) if trials else known[0].expected[target]
                spread = Spread.learn(ours, known[0].actual[target], self.config.interval)
        progress("value: heads", len(TARGETS), len(TARGETS))
        return type(self)(self.config, self.often, self.worth, heads, spread)

    def pattern(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Return what the parametric part alone says: p_alive, p_no_order, expected_orders, order_value.

        And what is expected a day in the coming month: orders_a_day, spend_a_day (by the contact's own mean
        order where Gamma-Gamma is unknown).
        """
        usable = _usable(frame)
        known, out = frame[usable], pd.DataFrame(np.nan, index=frame.index, columns=list(PATTERN))
        if len(known):
            seen = _seen_of(History.of(known))
            month = self.often.expected_orders(*seen, PACE_DAYS)
            worth = self._order_value(known)
            parts = {
                "p_alive": self.often.p_alive(*seen),
                "p_no_order": self.often.p_none(*seen, self.config.horizon_days),
                "expected_orders": self.often.expected_orders(*seen, self.config.horizon_days),
                "order_value": worth,
                "orders_a_day": month / PACE_DAYS,
                "spend_a_day": month / PACE_DAYS * worth,
            }
            out.loc[usable] = np.column_stack([parts[name] for name in PATTERN])
        return out

    def p_none(self, frame: pd.DataFrame, days: Floats | float) -> Floats:
        """Return BG/NBD's P(no order within days), shape (rows,); days: one for all, or one a row."""
        history = History.of(frame)
        p = self.often.p_none(*_seen_of(history), np.asarray(days, dtype=np.float64))
        return np.where(_usable(frame).to_numpy(), p, np.nan)

    def score(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Return COLUMNS and source, a row a contact.

        Of the horizon: p_alive, p_no_order, expected_orders, orders_low … orders_high (`interval` of BG/NBD's
        distribution, drawn out by the orders' factor), order_value, expected_spend, spend_low … spend_high;
        next_order_days: BG/NBD's median wait, NaN where an order is less likely than not ever to come;
        orders_90d, spend_90d, orders_365d, spend_365d; past_spend; total_value: past and the coming year's.
        Source "not_enough_data" and NaN throughout for a contact without orders.
        """
        usable = _usable(frame)
        known = frame[usable]
        parts = self._scores(known) if len(known) else {name: np.empty(0) for name in COLUMNS}
        out = pd.DataFrame(np.nan, index=frame.index, columns=list(COLUMNS))
        out.loc[usable] = np.column_stack([parts[name] for name in COLUMNS])
        out["source"] = np.where(usable, self.kind, NOT_ENOUGH_DATA)
        return out

    predict = score

    def _scores(self, frame: pd.DataFrame) -> dict[str, Floats]:
        history, days = History.of(frame), self.config.horizon_days
        seen = _seen_of(history)
        pattern = self.pattern(frame)
        factors = self._factors(frame, pattern)
        worth = floats(pattern, "order_value")
        expected = floats(pattern, "expected_orders")
        low, high = self._interval(history, days * factors["orders"])
        found = {
            "p_alive": floats(pattern, "p_alive"), "p_no_order": floats(pattern, "p_no_order"),
            "expected_orders": expected * factors["orders"], "orders_low": low, "orders_high": high,
            "order_value": worth, "expected_spend": expected * worth * factors["spend"],
            "next_order_days": self.often.median_wait(*seen), "past_spend": floats(frame, "spend_total"),
        }  # fmt: skip
        if self.spread is None:
            found |= {"spend_low": low * worth, "spend_high": high * worth}
        else:
            ends = self.spread.interval(found["expected_spend"])
            found |= dict(zip(("spend_low", "spend_high"), ends, strict=True))
        for ahead in AHEAD:
            coming = expected if ahead == days else self.often.expected_orders(*seen, float(ahead))
            found[f"orders_{ahead}d"] = coming * factors["orders"]
            found[f"spend_{ahead}d"] = coming * worth * factors["spend"]
        found["total_value"] = found["past_spend"] + found[f"spend_{AHEAD[-1]}d"]
        return found

    def _factors(self, frame: pd.DataFrame, pattern: pd.DataFrame) -> dict[str, Floats]:
        ones = np.ones(len(frame))
        values = head_features(frame, pattern) if self.heads else None
        return {
            name: self.heads[name].factor(values) if values is not None and name in self.heads else ones
            for name in TARGETS
        }

    def _order_value(self, frame: pd.DataFrame) -> Floats:
        if self.worth is None:
            return np.full(len(frame), np.nan)
        mean = floats(frame, "spend_total") / orders(frame)
        return self.worth.expected_value(np.where(mean > 0, orders(frame), 0.0), mean)

    def _interval(self, history: History, days: Floats) -> tuple[Floats, Floats]:
        """Return the smallest counts whose predicted distribution reaches the interval's two ends.

        days: the horizon times the factor on the orders, as if so much more time passed.
        """
        tail = (1 - self.config.interval) / 2
        low, high = np.zeros(len(history.x)), np.zeros(len(history.x))
        rows = np.arange(len(history.x))
        for n in range(1, MOST_ORDERS):
            x, t_x, seen = history.x[rows], history.t_x[rows], history.seen[rows]
            more = self.often.p_at_least(n, x, t_x, seen, days[rows])
            low[rows[more > 1 - tail]] = n
            rows = rows[more > tail]
            high[rows] = n
            if not len(rows):
                break
        return low, high

    def save(self, folder: Path) -> None:
        """Write value.json, and a booster for each head."""
        parts = {
            "config": asdict(self.config),
            "bgnbd": asdict(self.often),
            "gamma_gamma": asdict(self.worth) if self.worth else None,
            "features": FEATURES,
            "heads": {name: [head.level, head.trust] for name, head in self.heads.items()},
            "spread": self.spread.to_json() if self.spread else None,
        }
        (folder / "value.json").write_text(json.dumps(parts, indent=1))
        for name, head in self.heads.items():
            head.booster.save_model(folder / f"{name}.txt")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what save wrote; raises BadInput where heads were learned on other features than known now."""
        parts = json.loads((folder / "value.json").read_text())
        worth = GammaGamma(**parts["gamma_gamma"]) if parts["gamma_gamma"] else None
        if parts.get("heads") and tuple(parts["features"]) != FEATURES:
            raise BadInput("the value model was learned on other features; nextbest train value mends it")
        heads = {
            name: Head(lgb.Booster(model_file=folder / f"{name}.txt"), *told)
            for name, told in parts.get("heads", {}).items()
        }
        config = {**parts["config"], "head": HeadConfig(**parts["config"].get("head", {}))}
        spread = Spread.from_json(parts["spread"]) if parts.get("spread") else None
        return cls(ValueConfig(**config), BgNbd(**parts["bgnbd"]), worth, heads, spread)


PATTERN = ("p_alive", "p_no_order", "expected_orders", "order_value", "orders_a_day", "spend_a_day")
COLUMNS = (
    "p_alive", "p_no_order", "expected_orders", "orders_low", "orders_high", "order_value", "expected_spend",
    "spend_low", "spend_high", "next_order_days", "orders_90d", "spend_90d", "orders_365d", "spend_365d",
    "past_spend", "total_value",
)  # fmt: skip


@dataclass(frozen=True)
class _Seen:
    """A window through parameters fitted at its moment."""

    begun: float
    days: float
    values: Floats
    expected: dict[str, Floats]
    actual: dict[str, Floats]

    def tells(self, target: str) -> bool:
        """Tell whether something was expected, and something came."""
        return bool(np.isfinite(self.expected[target]).any() and (self.actual[target] > 0).any())

    def ended_by(self, other: "_Seen") -> bool:
        """Tell whether this window was over when another began."""
        return self.begun + self.days <= other.begun + 1e-6


def _seen(window: Window, config: ValueConfig) -> _Seen | None:
    """Fit the parametric part at the window's moment; None where there are too few repeat buyers yet."""
    usable = _usable(window.frame).to_numpy()
    frame = window.frame[usable]
    try:
        value = Value.learn(frame, replace(config, horizon_days=window.days))
    except NotReady:
        return None
    pattern = value.pattern(frame)
    often = floats(pattern, "expected_orders")
    begun = float(pd.DatetimeIndex(frame["timestamp"]).as_unit("us").asi8[0]) / 86_400e6
    return _Seen(
        begun, window.days, head_features(frame, pattern),
        {"orders": often, "spend": often * floats(pattern, "order_value")},
        {"orders": window.orders[usable], "spend": window.spend[usable]},
    )  # fmt: skip


@dataclass(frozen=True)
class _Trial:
    """A window foreseen by a head that did not see it."""

    expected: Floats
    factor: Floats
    actual: Floats

    def at(self, trust: float) -> Floats:
        """Return what is expected when the head is trusted so far."""
        return self.expected * self.factor**trust


def _trials(windows: Sequence[_Seen], target: str, config: HeadConfig, seed: int) -> list[_Trial]:
    """Return the latest windows, each foreseen from those that had ended when it began."""
    found = []
    for window in windows[: 2 * TRIALS : 2]:
        before = [one for one in windows if one.ended_by(window)]
        if before:
            factor = _head(before, target, config, seed).factor(window.values)
            found.append(_Trial(window.expected[target], factor, window.actual[target]))
    return found


def _head(windows: Sequence[_Seen], target: str, config: HeadConfig, seed: int) -> Head:
    values = np.vstack([window.values for window in windows])
    expected, actual = (
        np.concatenate([side[target] for side in sides])
        for sides in ([window.expected for window in windows], [window.actual for window in windows])
    )
    held = np.isfinite(expected)
    return Head.learn(values[held], expected[held], actual[held], config, seed)


def _seen_of(history: History) -> tuple[Floats, Floats, Floats]:
    return history.x, history.t_x, history.seen


def _usable(frame: pd.DataFrame) -> "pd.Series[bool]":
    """Tell which contacts have orders, and when the last was."""
    return pd.Series((orders(frame) > 0) & np.isfinite(floats(frame, "recency_days")), index=frame.index)


def _worth(bought: pd.DataFrame, config: ValueConfig) -> GammaGamma | None:
    count, spend = orders(bought), floats(bought, "spend_total")
    paid = spend > 0
    if int((paid & (count > 1)).sum()) < config.least_repeat_buyers:
        return None
    return GammaGamma.fit(count[paid], spend[paid] / count[paid])
