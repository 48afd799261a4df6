"""Lifecycle: learn at which engagement the stages begin, and see whether the index ranks who orders next."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import spearmanr

from models._frame import floats, orders
from models._lifecycle_rules import AFTER, BEFORE, HALVES, STAGES, LifecycleRules
from models._pyfunc import predict
from models.lifecycle import LEAST_OF_EACH, Lifecycle, too_few
from nextbest.columns import CONTACT_FEATURES, CONTACT_ID, TIME_COLUMNS, TIMESTAMP
from nextbest.errors import NotReady
from training import plots
from training._nobody import rows_of_nobody
from training._snapshots import contacts_seen, frames, split_of
from training.base import Context, Evaluation
from training.metrics import bootstrap_interval, roc_auc, wilson
from training.split import TemporalSplit

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]
MOST_CONTACTS = 50_000
"""More are sampled: a cut-off is one number a stage."""
READ = [*CONTACT_FEATURES, *TIME_COLUMNS]


@dataclass(frozen=True)
class Followed:
    """Everyone seen by a moment, and their orders in the horizon after it; parallel arrays."""

    frame: pd.DataFrame
    orders: Floats

    @property
    def ordered(self) -> Floats:
        """1 where an order came."""
        return (self.orders > 0).astype(np.float64)

    @property
    def half(self) -> npt.NDArray[np.str_]:
        """Before or after the first order."""
        return np.where(orders(self.frame) > 0, AFTER, BEFORE)

    def measurable(self) -> list[str]:
        """Return the halves in which enough contacts ordered, and enough did not."""
        came = {half: self.ordered[self.half == half] for half in HALVES}
        return [h for h, y in came.items() if min(y.sum(), len(y) - y.sum()) >= LEAST_OF_EACH]


@dataclass(frozen=True)
class LifecycleData:
    """Contacts a horizon before the cut, to learn from, and at the cut, to measure on."""

    split: TemporalSplit
    rules: LifecycleRules
    train: Followed
    holdout: Followed
    horizon_days: int


class SeenLast:
    """The later somebody was seen, the better: what an index must add to."""

    kind: ClassVar[str] = "seen_last"

    def score(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Return index: days since anything happened, negative."""
        return pd.DataFrame({"index": -floats(frame, "seen_days")}, index=frame.index)

    def save(self, folder: Path) -> None:
        """Write nothing: there is nothing to keep."""

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Return the rule."""
        del folder
        return cls()


class LifecycleJob:
    """Cut-offs of the lifecycle's stages."""

    name: ClassVar[str] = "lifecycle"
    metric: ClassVar[str] = "auc"
    higher_is_better: ClassVar[bool] = True
    tolerance: ClassVar[float] = 2.0
    """The whole range of the measure: stages describe contacts, and what they rest on is set by rules; the
    figures say how much they tell here."""
    description: ClassVar[str] = (
        "Learns at which engagement index (0-100) the stages of a contact's life begin, in two halves: "
        "before the first order (lead, engaged, sales_ready) and after it (lost, leaving, slipping, active, "
        "loyal): where the odds of an order in the days that follow cross multiples of everyone's odds. A "
        "half with too few contacts keeps the cut-offs of the rules. Answers only where the rules say "
        "`cutoffs: learned`. Measured by the AUC of the index within each half against an order in the "
        "days after the cut, weighted by contacts, beside days since last seen. The parts and weights of "
        "the index are given, not learned."
    )
    options: ClassVar[Mapping[str, str]] = {"cut": "where the hold-out begins, YYYY-MM-DD (its last days)"}

    def prepare(self, context: Context) -> LifecycleData:
        """Read everyone seen a horizon before the cut, and at it."""
        rules = LifecycleRules.load(context.settings.lifecycle)
        days = context.settings.purchase_horizon_days
        split = split_of(context, days)
        train, holdout = (
            _followed(context, at, days) for at in (split.cut - timedelta(days=days), split.cut)
        )
        if not holdout.measurable():
            raise NotReady(
                f"{int(holdout.ordered.sum()):,} of {len(holdout.orders):,} contacts ordered within {days} "
                f"days; to measure an index {LEAST_OF_EACH} must have, and {LEAST_OF_EACH} not, either "
                "before the first order or after it: nextbest ingest more"
            )
        return LifecycleData(split, rules, train, holdout, days)

    def fit(self, data: LifecycleData, context: Context) -> Lifecycle:
        """Learn the cut-offs."""
        del context
        return Lifecycle.learn(data.train.frame, data.train.ordered, data.rules)

    def baselines(self, data: LifecycleData, context: Context) -> Mapping[str, Any]:
        """Return days since last seen."""
        del data, context
        return {"seen_last": SeenLast()}

    def evaluate(self, model: Any, data: LifecycleData) -> Evaluation:
        """Measure how the index ranks who orders: `auc`, and AUC and rank correlation by half."""
        index, held = _index(model, data), data.holdout
        metrics = {}
        for half in held.measurable():
            rows = held.half == half
            metrics[f"{half}.auc"] = roc_auc(held.ordered[rows], index[rows])
            metrics[f"{half}.spearman"] = float(spearmanr(index[rows], held.orders[rows]).statistic)
        statistic = _within_halves(index, held)
        return Evaluation({"auc": statistic(np.arange(len(index))), **metrics}, len(index), statistic)

    def figures(self, model: Lifecycle, data: LifecycleData) -> Mapping[str, Any]:
        """Draw the share that ordered by stage."""
        table = self.tables(model, data)["stages"]
        ends = table["low"].to_numpy(), table["high"].to_numpy()
        title, label = f"Orders within {data.horizon_days} days by stage", "Share of contacts that ordered"
        return {"stages.png": plots.bars(list(table["stage"]), table["share_ordering"], title, label, ends)}

    def tables(self, model: Lifecycle, data: LifecycleData) -> Mapping[str, pd.DataFrame]:
        """Return what each stage did next, and each half's cut-offs and figures with 95 % intervals."""
        held, scores = data.holdout, model.score(data.holdout.frame)
        followed = pd.DataFrame({"stage": scores["stage"], "came": held.ordered, "orders": held.orders})
        stages = followed.groupby("stage").agg(
            contacts=("came", "size"), share_ordering=("came", "mean"), mean_orders=("orders", "mean")
        )
        stages = stages.reindex([stage for stage in STAGES if stage in stages.index]).reset_index()
        share, count = stages["share_ordering"].to_numpy(), stages["contacts"].to_numpy(np.float64)
        stages["low"], stages["high"] = wilson(share, count)
        return {"stages": stages, "halves": pd.DataFrame([_half_row(half, model, data) for half in HALVES])}

    def example(self, model: Lifecycle, data: LifecycleData) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Return rows that are nobody's, and their stages."""
        frame = rows_of_nobody(data.holdout.frame, READ, 5)
        return frame, predict(model, frame)

    def facts(self, data: LifecycleData) -> Mapping[str, Any]:
        """Return rows and dates, and why a half learned nothing where so."""
        halves = {h: data.train.ordered[data.train.half == h] for h in HALVES}
        counts = {f"contacts_{half}_first_order": len(ordered) for half, ordered in halves.items()}
        kept = {f"{h}_keeps_its_cutoffs": why for h, y in halves.items() if (why := too_few(y))}
        told = {"horizon_days": data.horizon_days, "contacts": len(data.holdout.orders), "simulated": False}
        return {**data.split.facts(), **told, **counts, **kept}


def _followed(context: Context, at: datetime, days: int) -> Followed:
    seen = contacts_seen(context.settings)
    seen = seen[seen["first"] <= at]
    if len(seen) > MOST_CONTACTS:
        seen = seen.sample(MOST_CONTACTS, random_state=context.seed).sort_values(CONTACT_ID)
    moments = [pd.Timestamp(moment).as_unit("us") for moment in (at, at + timedelta(days=days))]
    spines = [
        pd.DataFrame({CONTACT_ID: seen[CONTACT_ID].to_numpy(), TIMESTAMP: moment}) for moment in moments
    ]
    both = frames(context.settings, "churn", pd.concat(spines, ignore_index=True))
    now, then = both.iloc[: len(seen)], both.iloc[len(seen) :]
    return Followed(now, then["orders_total"].to_numpy() - now["orders_total"].to_numpy())


def _index(model: Any, data: LifecycleData) -> Floats:
    return np.asarray(model.score(data.holdout.frame)["index"], dtype=np.float64)


def _within_halves(index: Floats, held: Followed) -> Callable[[Rows], float]:
    """Return the AUC within each measurable half, weighted by its contacts."""
    came, parts = held.ordered, [held.half == half for half in held.measurable()]

    def statistic(rows: Rows) -> float:
        found = [
            (part[rows].sum(), roc_auc(came[own], index[own]))
            for part in parts
            if len(own := rows[part[rows]])
        ]
        defined = [(count, value) for count, value in found if np.isfinite(value)]
        return (
            float(np.average([v for _, v in defined], weights=[c for c, _ in defined])) if defined else np.nan
        )

    return statistic


def _half_row(half: str, model: Lifecycle, data: LifecycleData) -> dict[str, Any]:
    held = data.holdout
    rows = held.half == half
    came = held.ordered[rows]
    row: dict[str, Any] = {
        "half": half,
        "contacts": int(rows.sum()),
        "share_ordering": float(came.mean()) if len(came) else None,
        "cutoffs": ", ".join(f"{name} {at:g}" for name, at in model.rules.half(half).stages.items()),
        "origin": model.origin[half],
    }
    for name, scorer in (("index", model), ("seen_last", SeenLast())):
        score, measured = _index(scorer, data)[rows], half in held.measurable()
        found = bootstrap_interval(_auc(came, score), len(came), seed=0, rounds=300) if measured else None
        row[f"auc_{name}"] = (
            f"{found.estimate:.3f} ({found.low:.3f} to {found.high:.3f})" if found else "too few"
        )
    return row


def _auc(came: Floats, score: Floats) -> Callable[[Rows], float]:
    return lambda rows: roc_auc(came[rows], score[rows])
