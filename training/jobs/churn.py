"""Churn: learn on many past cuts, calibrate on a later one, measure on the last."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pandas as pd

from models._pyfunc import predict
from models.bgnbd import BgNbdChurn
from models.churn import Churn, ChurnConfig, ChurnHistory
from models.recency import Recency
from models.rfm import SEGMENT_NAMES, Rfm
from models.value import Value, ValueConfig
from nextbest.errors import NotReady
from training import plots
from training._numbers import positive, whole
from training._snapshots import Snapshots, snapshots, split_of
from training.base import Context, Evaluation
from training.metrics import brier, expected_calibration_error, lift_at, log_loss, roc_auc
from training.split import TemporalSplit

Floats = npt.NDArray[np.float64]
EVERY_DAYS, CUTS = 14, 18


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

    @property
    def history(self) -> ChurnHistory:
        """What the model learns from."""
        return ChurnHistory(
            self.train.frame, self.train.left, self.later.frame, self.later.left, self.latest.frame
        )


class ChurnJob:
    """No order within the horizon."""

    name: ClassVar[str] = "churn"
    metric: ClassVar[str] = "auc"
    higher_is_better: ClassVar[bool] = True
    description: ClassVar[str] = (
        "Probability that a contact with at least one order places none within the horizon. Boosted trees "
        "over decayed counters, the BG/NBD model's answers, RFM classes and the rule score, learned on past "
        "cuts and calibrated on a later one. Says nothing of why, nor of whom a message would keep; seasons "
        "that the data do not repeat are not known to it."
    )
    options: ClassVar[Mapping[str, str]] = {
        "cut": "where the hold-out begins, YYYY-MM-DD (its last days)",
        "horizon_days": "churned: no order in this many days (churn_horizon_days of the settings)",
        "every_days": f"days between training cuts ({EVERY_DAYS})",
        "cuts": f"training cuts at most ({CUTS})",
        "leaves": f"leaves a tree ({ChurnConfig.leaves})",
        "rounds": f"trees ({ChurnConfig.rounds})",
        "learning_rate": f"({ChurnConfig.learning_rate})",
    }

    def prepare(self, context: Context) -> ChurnData:
        """Take the snapshots: cuts whose labels end by the calibration cut, that cut, the hold-out's."""
        days = whole(context, "horizon_days", context.settings.churn_horizon_days)
        config = _config(context, days)
        split = split_of(context, days)
        horizon = timedelta(days=days)
        step = timedelta(days=whole(context, "every_days", EVERY_DAYS))
        cuts = [split.cut - 2 * horizon - i * step for i in range(whole(context, "cuts", CUTS))]
        later = split.cut - horizon
        every = snapshots(context, "churn", [*cuts, later, split.cut], days)
        return ChurnData(
            split, every.at(cuts), every.at(cuts[:1]), every.at([later]), every.at([split.cut]), config
        )

    def fit(self, data: ChurnData, context: Context) -> Churn:
        """Learn the trees and their calibration."""
        return Churn.learn(data.history, data.config, context.seed, context.progress)

    def baselines(self, data: ChurnData, context: Context) -> Mapping[str, Any]:
        """Return BG/NBD and recency against own cadence, first what ranks better on the calibration cut."""
        found: dict[str, Any] = {}
        try:
            config = ValueConfig(horizon_days=data.config.horizon_days)
            value = Value.learn(data.latest.frame, config)
            found["bgnbd"] = BgNbdChurn.learn(data.latest.frame, value)
        except NotReady as error:
            context.progress(f"churn without BG/NBD: {error}", 0, 0)
        try:
            found["recency"] = Recency.learn(data.train.frame, data.train.left, context.seed)
        except NotReady as error:
            context.progress(f"churn without recency: {error}", 0, 0)
        ranks = {
            name: roc_auc(data.later.left, probability(model, data.later, data))
            for name, model in found.items()
        }
        return dict(sorted(found.items(), key=lambda pair: -ranks[pair[0]]))

    def evaluate(self, model: Any, data: ChurnData) -> Evaluation:
        """Measure ranking and calibration at the hold-out cut."""
        labels, p = data.holdout.left, probability(model, data.holdout, data)
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
        labels, p = data.holdout.left, probability(model, data.holdout, data)
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
                "observed": data.holdout.left,
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
            "holdout_rate": float(data.holdout.left.mean()),
            "unanswered": "where a model has no probability, the rate at the calibration cut",
            "simulated": False,
        }


def probability(model: Any, contacts: Snapshots, data: ChurnData) -> Floats:
    """Return a model's P(no order); where it has no answer, the rate at the calibration cut."""
    found = model.score(contacts.frame)["probability"].to_numpy(np.float64)
    return np.where(np.isfinite(found), found, float(data.later.left.mean()))


def _rates(table: pd.DataFrame, key: str) -> pd.DataFrame:
    grouped = table.groupby(key, as_index=False)
    return grouped.agg(
        contacts=("observed", "size"), predicted=("predicted", "mean"), observed=("observed", "mean")
    )


def _config(context: Context, days: int) -> ChurnConfig:
    return ChurnConfig(
        horizon_days=float(days),
        leaves=whole(context, "leaves", ChurnConfig.leaves, least=2),
        rounds=whole(context, "rounds", ChurnConfig.rounds),
        learning_rate=positive(context, "learning_rate", ChurnConfig.learning_rate),
    )
