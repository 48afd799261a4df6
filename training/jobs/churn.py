"""Churn: learn on many past cuts, calibrate on a later one, measure on the last."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pandas as pd

from features.cadence import bought_days, cadences
from features.events.lake import Lake
from models._leaving import HORIZON, asked_days
from models._pyfunc import predict
from models._survival import Trees, Waits
from models.bgnbd import BgNbdChurn
from models.churn import TOP_CATEGORY, Cadence, Churn, ChurnConfig, ChurnHistory
from models.recency import Recency
from models.rfm import SEGMENT_NAMES, Rfm
from models.value import Value, ValueConfig
from nextbest.columns import CONTACT_ID, TIMESTAMP
from nextbest.errors import NotReady
from nextbest.settings import Settings
from training import plots
from training._numbers import positive, whole
from training._snapshots import Snapshots, snapshots, split_of
from training.base import Context, Evaluation
from training.metrics import brier, expected_calibration_error, lift_at, log_loss, roc_auc
from training.split import TemporalSplit

Floats = npt.NDArray[np.float64]
EVERY_DAYS, CUTS = 14, 18
CALIBRATION_CUTS, CALIBRATION_DAYS = 3, 7
"""Several calibration cuts, so that no single week's weather is taken for the rule."""
CADENCE = "cadence"
LEAST_PAIRS = 20
"""Contacts with a gap in a category from which on it has a cadence."""


@dataclass(frozen=True)
class ChurnData:
    """Snapshots for learning, for calibration and for the hold-out; their label windows do not overlap."""

    split: TemporalSplit
    train: Snapshots
    latest: Snapshots
    """The latest of the training cuts."""
    later: Snapshots
    holdout: Snapshots
    config: ChurnConfig
    window_days: int
    category_gaps: Mapping[str, float] = field(default_factory=dict)

    @property
    def left(self) -> Floats:
        """1 where no order came within the horizon asked about, at the hold-out's cut."""
        return self.holdout.left_within(self._days(self.holdout))

    @property
    def later_left(self) -> Floats:
        """The same at the calibration cut."""
        return self.later.left_within(self._days(self.later))

    def _days(self, contacts: Snapshots) -> Floats:
        return asked_days(contacts.frame, np.full(len(contacts), self.config.horizon_days or np.nan))

    @property
    def history(self) -> ChurnHistory:
        """What the model learns from: each part is looked at until the next one begins."""
        later = self.later.frame[TIMESTAMP].min().to_pydatetime()
        whole = Snapshots.together([self.later, self.train])
        return ChurnHistory(
            _waits(self.train, later), _waits(self.later, self.split.cut), self.latest.frame,
            _waits(whole, self.split.cut), self.category_gaps,
        )  # fmt: skip


class ChurnJob:
    """No order within the horizon."""

    name: ClassVar[str] = "churn"
    metric: ClassVar[str] = "auc"
    higher_is_better: ClassVar[bool] = True
    description: ClassVar[str] = (
        "Probability that a contact with at least one order places none within a horizon, and so the date "
        "its next order is to be expected: one survival curve a contact. Boosted trees over decayed "
        "counters, RFM classes and the rule score, on top of BG/NBD, learned on past cuts at many horizons "
        "and calibrated on a later one. Says nothing of why, nor of whom a message would keep; seasons "
        "that the data do not repeat are not known to it."
    )
    options: ClassVar[Mapping[str, str]] = {
        "cut": "where the hold-out begins, YYYY-MM-DD (its last days)",
        "horizon_days": (
            "churned: no order in this many days, or 'cadence': three usual gaps of each contact "
            "(churn_horizon_days of the settings)"
        ),
        "every_days": f"days between training cuts ({EVERY_DAYS})",
        "cuts": f"training cuts at most ({CUTS})",
        "leaves": f"leaves a tree ({Trees.leaves})",
        "rounds": f"trees ({Trees.rounds})",
        "learning_rate": f"({Trees.learning_rate})",
    }

    def prepare(self, context: Context) -> ChurnData:
        """Take the snapshots: cuts whose labels end by the calibration cut, that cut, the hold-out's."""
        config = _config(context)
        days = context.settings.holdout_days if config.horizon_days is None else round(config.horizon_days)
        split = split_of(context, days, before=1)
        window = _window(context, split)
        step = timedelta(days=whole(context, "every_days", EVERY_DAYS))
        later = _back(split.cut - timedelta(days=window), timedelta(days=CALIBRATION_DAYS), CALIBRATION_CUTS)
        cuts = _back(later[-1] - timedelta(days=window), step, whole(context, "cuts", CUTS))
        every = snapshots(context, "churn", [*cuts, *later, split.cut], days)
        latest = every.at(cuts[:1])
        calibration, holdout = every.at(later), every.at([split.cut])
        gaps: dict[str, float] = {}
        if config.horizon_days is None:
            gaps = _category_gaps(context.settings, cuts[0])
            cadence = Cadence.learn(latest.frame, gaps, config)
            calibration, holdout = (
                _by_cadence(context.settings, one, cadence, window) for one in (calibration, holdout)
            )
        return ChurnData(split, every.at(cuts), latest, calibration, holdout, config, window, gaps)

    def fit(self, data: ChurnData, context: Context) -> Churn:
        """Learn the trees and their calibration."""
        return Churn.learn(data.history, data.config, context.seed, context.progress)

    def baselines(self, data: ChurnData, context: Context) -> Mapping[str, Any]:
        """Return BG/NBD and recency against own cadence, first what ranks better on the calibration cut."""
        found: dict[str, Any] = {}
        try:
            config = ValueConfig(horizon_days=data.config.horizon_days or float(data.window_days))
            value = Value.learn(data.holdout.frame, config)
            found["bgnbd"] = BgNbdChurn.learn(data.later.frame, value)
        except NotReady as error:
            context.progress(f"churn without BG/NBD: {error}", 0, 0)
        try:
            found["recency"] = Recency.learn(data.train.frame, data.train.left, context.seed)
        except NotReady as error:
            context.progress(f"churn without recency: {error}", 0, 0)
        ranks = {
            name: roc_auc(data.later_left, probability(model, data.later, data))
            for name, model in found.items()
        }
        return dict(sorted(found.items(), key=lambda pair: -ranks[pair[0]]))

    def evaluate(self, model: Any, data: ChurnData) -> Evaluation:
        """Measure ranking and calibration at the hold-out cut."""
        labels, p = data.left, probability(model, data.holdout, data)
        metrics = {
            "auc": roc_auc(labels, p),
            "ece": expected_calibration_error(labels, p),
            "brier": brier(labels, p),
            "log_loss": log_loss(labels, p),
            "lift_top_decile": lift_at(labels, p, 0.1),
        }
        return Evaluation(metrics, len(labels), lambda rows: roc_auc(labels[rows], p[rows]))

    def figures(self, model: Churn, data: ChurnData) -> Mapping[str, Any]:
        """Draw calibration, gains, lift and what the trees rest on."""
        labels, p = data.left, probability(model, data.holdout, data)
        weight = model.importance()
        return {
            "calibration.png": plots.calibration(labels, p),
            "gains.png": plots.gains(labels, {"churn": p}),
            "lift.png": plots.lift(labels, {"churn": p}),
            "importance.png": plots.importance(weight["feature"].tolist(), weight["gain"].to_numpy()),
        }

    def tables(self, model: Churn, data: ChurnData) -> Mapping[str, pd.DataFrame]:
        """Return predicted and observed rates by RFM segment and by band, and the features' weights."""
        frame = data.holdout.frame
        table = pd.DataFrame(
            {
                "segment": Rfm.learn(data.latest.frame).score(frame)["segment"],
                "band": model.score(frame)["band"],
                "predicted": probability(model, data.holdout, data),
                "observed": data.left,
            }
        )
        by_segment, by_band = (_rates(table, key) for key in ("segment", "band"))
        order = {name: place for place, name in enumerate(SEGMENT_NAMES)}
        return {
            "by_segment": by_segment.sort_values("segment", key=lambda s: s.map(order), ignore_index=True),
            "by_band": by_band,
            "importance": model.importance().head(20),
        }

    def example(self, model: Churn, data: ChurnData) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Return a few contacts and their scores."""
        frame = data.holdout.features(5)
        return frame, predict(model, frame)

    def facts(self, data: ChurnData) -> Mapping[str, Any]:
        """Return rows, dates, base rates, and what stands in where a baseline has no answer."""
        moments = data.train.frame["timestamp"]
        return {
            **data.split.facts(),
            "horizon_days": data.config.horizon_days,
            "training_cuts": int(moments.nunique()),
            "first_training_cut": moments.min().isoformat(),
            "last_training_cut": moments.max().isoformat(),
            "training_rows": len(data.train),
            "calibration_rows": len(data.later),
            "holdout_rows": len(data.holdout),
            "training_rate": float(data.train.left.mean()),
            "holdout_rate": float(data.left.mean()),
            "unanswered": "where a model has no probability, the rate at the calibration cut",
            "simulated": False,
        }


def probability(model: Any, contacts: Snapshots, data: ChurnData) -> Floats:
    """Return a model's P(no order); where it has no answer, the rate at the calibration cut."""
    found = model.score(contacts.frame)["probability"].to_numpy(np.float64)
    return np.where(np.isfinite(found), found, float(data.later_left.mean()))


def _window(context: Context, split: TemporalSplit) -> int:
    """Return the days of the calibration window: the hold-out's, or a third of the history if less."""
    span = Lake(context.settings.lake).span()
    history = split.cut - span[0] if span else timedelta(0)
    return max(int(min(split.end - split.cut, history / 3) / timedelta(days=1)), 1)


def _back(moment: datetime, step: timedelta, count: int) -> list[datetime]:
    """Return a moment and those before it, a step apart."""
    return [moment - n * step for n in range(count)]


def _by_cadence(settings: Settings, contacts: Snapshots, cadence: Cadence, window: int) -> Snapshots:
    """Put each contact's own horizon into the frame; those that the window is too short for are left out."""
    frame = contacts.frame
    top = pd.Series(None, index=frame.index, dtype=object)
    for moment in frame[TIMESTAMP].unique():
        rows = frame[TIMESTAMP] == moment
        top[rows] = frame.loc[rows, CONTACT_ID].map(_top_categories(settings, pd.Timestamp(moment)))
    days = cadence.horizons(frame.assign(**{TOP_CATEGORY: top}))
    held = contacts.take(days <= window)
    return replace(held, frame=held.frame.assign(**{HORIZON: days[days <= window]}))


def _category_gaps(settings: Settings, until: datetime) -> dict[str, float]:
    """Return the usual days between purchases in each category, of contacts who bought in it repeatedly."""
    pairs = cadences(bought_days(settings, until))
    repeated = pairs.dropna(subset=["gap_days"]).groupby("category", observed=True)["gap_days"]
    found = repeated.agg(["size", "median"])
    usual = found.loc[found["size"] >= LEAST_PAIRS, "median"]
    return {str(name): float(gap) for name, gap in usual.items()}


def _top_categories(settings: Settings, until: datetime) -> dict[str, str]:
    """Return the category each contact had bought in on most days."""
    pairs = cadences(bought_days(settings, until)).sort_values(["purchases", "last"], ascending=False)
    most = pairs.drop_duplicates(CONTACT_ID)
    return dict(zip(most[CONTACT_ID].astype(str), most["category"].astype(str), strict=True))


def _waits(contacts: Snapshots, until: datetime) -> Waits:
    """Return what is known of the contacts' next orders up to a moment, and of nothing after it."""
    seen = contacts.seen(until)
    return Waits(contacts.frame, np.where(contacts.waits <= seen, contacts.waits, np.inf), seen)


def _rates(table: pd.DataFrame, key: str) -> pd.DataFrame:
    grouped = table.groupby(key, as_index=False)
    return grouped.agg(
        contacts=("observed", "size"), predicted=("predicted", "mean"), observed=("observed", "mean")
    )


def _config(context: Context) -> ChurnConfig:
    told = context.options.get("horizon_days", str(context.settings.churn_horizon_days)).strip()
    days = None if told == CADENCE else float(whole(context, "horizon_days", context.settings.horizon_days))
    trees = Trees(
        leaves=whole(context, "leaves", Trees.leaves, least=2),
        rounds=whole(context, "rounds", Trees.rounds),
        learning_rate=positive(context, "learning_rate", Trees.learning_rate),
    )
    return ChurnConfig(horizon_days=days, trees=trees)
