"""Churn: P(a contact with orders places none within the horizon), by boosted trees, calibrated."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import ClassVar, Self

import lightgbm as lgb
import numpy as np
import pandas as pd

from models._calibration import Calibration
from models._frame import matrix, orders
from models._leaving import leaving
from models._phrases import phrase
from models._standing import Standing
from models.base import Floats
from models.rfm import Rfm
from models.rules import Rules
from models.value import Value, ValueConfig
from nextbest.columns import CONTACT_FEATURES
from nextbest.errors import BadInput, NotReady
from nextbest.progress import Progress, silent

FROM_VALUE = ("p_alive", "p_no_order", "expected_orders")
FROM_RFM = ("r", "f", "m")
FEATURES = (*CONTACT_FEATURES, *FROM_VALUE, *FROM_RFM, "rule_score")


@dataclass(frozen=True)
class ChurnConfig:
    """Settings of the churn model: few leaves, many rows a leaf, since the log-odds are nearly additive."""

    horizon_days: float = 30.0
    """Churned: no order in this many days."""
    leaves: int = 7
    rounds: int = 300
    learning_rate: float = 0.03
    rows_in_leaf: int = 200
    """Fewer on small data: a fiftieth of the rows at most."""
    features_a_tree: float = 0.5
    rows_a_tree: float = 0.7
    l2: float = 10.0
    threads: int = 1
    least_rows: int = 200
    """Rows of training, and of calibration, below which nothing is learned."""


@dataclass(frozen=True)
class ChurnHistory:
    """Contacts at past moments and whether each placed no order within the horizon (1.0) or did (0.0)."""

    frame: pd.DataFrame
    """CONTACT_FEATURES at the training cuts, one after another."""
    labels: Floats
    later: pd.DataFrame
    """The same at later cuts, whose label windows begin where the training's have ended: for calibration."""
    later_labels: Floats
    snapshot: pd.DataFrame
    """The latest training cut alone: RFM classes and the value model are learned on it."""


@dataclass(frozen=True)
class Driver:
    """A feature that moved a contact's probability."""

    feature: str
    value: float
    contribution: float
    """To the log-odds of churning, above zero: towards leaving (Lundberg et al. 2020, TreeSHAP)."""
    phrase: str


class Churn:
    """LightGBM on the contact's features, the value model's and RFM's answers, and the rule score."""

    kind: ClassVar[str] = "churn"

    def __init__(
        self,
        config: ChurnConfig,
        booster: lgb.Booster,
        calibration: Calibration,
        standing: Standing,
        rfm: Rfm,
        value: Value | None,
    ) -> None:
        self.config, self.booster, self.calibration, self.standing = config, booster, calibration, standing
        self.rfm, self.value = rfm, value

    @classmethod
    def learn(
        cls,
        data: ChurnHistory,
        config: ChurnConfig | None = None,
        seed: int = 7,
        progress: Progress = silent,
    ) -> Self:
        """Learn the trees, then calibrate them on the later window; raises NotReady on too little data."""
        config = config or ChurnConfig()
        _require(data.labels, config.least_rows, "training")
        _require(data.later_labels, config.least_rows, "calibration")
        rfm, value = Rfm.learn(data.snapshot), _value(data.snapshot, config)
        progress("churn: trees", 0, config.rounds)
        booster = _boost(features(data.frame, rfm, value), data.labels, config, seed)
        progress("churn: trees", config.rounds, config.rounds)
        raw = _raw(booster, features(data.later, rfm, value))
        calibration = Calibration.learn(raw, data.later_labels, seed)
        return cls(config, booster, calibration, Standing.learn(calibration.of(raw)), rfm, value)

    def score(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Return probability, percentile (0-100, against the contacts calibrated on), band and source.

        NaN, "unknown" and "not_enough_data" for contacts without orders.
        """
        bought = orders(frame) > 0
        probability = np.full(len(frame), np.nan)
        if bought.any():
            raw = _raw(self.booster, features(frame[bought], self.rfm, self.value))
            probability[bought] = self.calibration.of(raw)
        return leaving(frame.index, probability, self.standing, self.kind)

    predict = score

    def drivers(self, frame: pd.DataFrame, k: int = 3) -> list[list[Driver]]:
        """Return for each row the k features that moved it most, largest first; none without orders."""
        bought = orders(frame) > 0
        out: list[list[Driver]] = [[] for _ in range(len(frame))]
        if not bought.any():
            return out
        values = features(frame[bought], self.rfm, self.value)
        moved = np.asarray(self.booster.predict(values, pred_contrib=True, num_threads=1))[:, :-1]
        for row, position in enumerate(np.flatnonzero(bought)):
            most = np.argsort(-np.abs(moved[row]), kind="stable")[:k]
            out[position] = [_driver(int(column), values[row], moved[row]) for column in most]
        return out

    def importance(self) -> pd.DataFrame:
        """Return each feature's total gain as a share of all, largest first."""
        gain = self.booster.feature_importance("gain").astype(np.float64)
        table = pd.DataFrame({"feature": FEATURES, "gain": gain / max(gain.sum(), 1e-12)})
        return table.sort_values("gain", ascending=False, ignore_index=True)

    def save(self, folder: Path) -> None:
        """Write booster.txt, churn.json and the RFM and value models in folders of their own."""
        self.booster.save_model(folder / "booster.txt")
        parts = {"calibration": self.calibration.to_json(), "standing": self.standing.to_json()}
        text = json.dumps({"config": asdict(self.config), "features": FEATURES, **parts})
        (folder / "churn.json").write_text(text)
        for name, model in (("rfm", self.rfm), ("value", self.value)):
            if model is not None:
                (folder / name).mkdir()
                model.save(folder / name)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what save wrote; raises BadInput where it was learned on other features than are known now."""
        parts = json.loads((folder / "churn.json").read_text())
        if tuple(parts["features"]) != FEATURES:
            raise BadInput("the churn model was learned on other features; nextbest train churn mends it")
        value = Value.load(folder / "value") if (folder / "value").is_dir() else None
        return cls(
            ChurnConfig(**parts["config"]),
            lgb.Booster(model_file=folder / "booster.txt"),
            Calibration.from_json(parts["calibration"]),
            Standing.from_json(parts["standing"]),
            Rfm.load(folder / "rfm"),
            value,
        )


def features(frame: pd.DataFrame, rfm: Rfm, value: Value | None) -> Floats:
    """Return the trees' input, shape (rows, FEATURES); the one function for training and serving."""
    blocks = [matrix(frame, CONTACT_FEATURES)]
    worth = pd.DataFrame(index=frame.index) if value is None else value.score(frame)
    blocks += [matrix(worth, FROM_VALUE), matrix(rfm.score(frame), FROM_RFM)]
    return np.hstack([*blocks, matrix(Rules().score(frame), ["rule_score"])])


def _value(snapshot: pd.DataFrame, config: ChurnConfig) -> Value | None:
    """Learn the value model; without enough repeat buyers its columns stay NaN."""
    try:
        return Value.learn(snapshot, ValueConfig(horizon_days=config.horizon_days))
    except NotReady:
        return None


def _boost(values: Floats, labels: Floats, config: ChurnConfig, seed: int) -> lgb.Booster:
    settings = {
        "objective": "binary",
        "num_leaves": config.leaves,
        "learning_rate": config.learning_rate,
        "min_data_in_leaf": max(5, min(config.rows_in_leaf, len(labels) // 50)),
        "feature_fraction": config.features_a_tree,
        "bagging_fraction": config.rows_a_tree,
        "bagging_freq": 1,
        "lambda_l2": config.l2,
        "seed": seed,
        "deterministic": True,
        "force_row_wise": True,
        "num_threads": config.threads,
        "verbose": -1,
    }
    return lgb.train(settings, lgb.Dataset(values, labels, feature_name=list(FEATURES)), config.rounds)


def _raw(booster: lgb.Booster, values: Floats) -> Floats:
    return np.asarray(booster.predict(values, num_threads=1), dtype=np.float64)


def _driver(column: int, values: Floats, moved: Floats) -> Driver:
    feature, value = FEATURES[column], float(values[column])
    return Driver(feature, value, float(moved[column]), phrase(feature, value))


def _require(labels: Floats, least: int, part: str) -> None:
    if len(labels) < least:
        raise NotReady(f"churn has {len(labels)} rows for {part}; it needs {least}: ingest more contacts")
    if len(np.unique(labels)) < 2:
        outcome = "left" if labels[0] else "stayed"
        raise NotReady(f"churn: every contact in {part} {outcome}; there is nothing to tell apart")
