"""P(no order within d days) of a contact, for any d: boosted trees on top of BG/NBD, calibrated.

One model answers every horizon: its rows are (contact, horizon), its start is BG/NBD's log-odds of no order
within that horizon, and it may only fall as the horizon grows (monotone constraints), so what it says of
several horizons is one curve: discrete-time survival (Singer & Willett 1993) with the horizon as a feature.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import lightgbm as lgb
import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import expit, logit

from models._calibration import Calibration
from models._curve import HORIZONS
from models._frame import floats, matrix
from models._paces import PACES, paces
from models.base import Floats
from models.rfm import Rfm
from models.rules import Rules
from models.value import Value
from nextbest.columns import CONTACT_FEATURES
from nextbest.errors import BadInput, NotReady

FROM_VALUE = ("p_alive", "p_no_order", "expected_orders")
FROM_RFM = ("r", "f", "m")
BY_HORIZON = ("horizon_days", "horizon_over_gap")
FEATURES = (*CONTACT_FEATURES, *FROM_VALUE, *FROM_RFM, *PACES, "rule_score", *BY_HORIZON)
P_NONE = FEATURES.index("p_no_order")
EDGE = 1e-5


@dataclass(frozen=True)
class Trees:
    """Settings of the trees: few leaves, many rows a leaf, since the log-odds are nearly additive."""

    leaves: int = 7
    rounds: int = 200
    learning_rate: float = 0.05
    rows_in_leaf: int = 200
    """Fewer on small data: a fiftieth of the rows at most."""
    features_a_tree: float = 0.5
    rows_a_tree: float = 0.7
    l2: float = 10.0
    threads: int = 1
    most_rows: int = 400_000
    """Rows of all horizons together; more are sampled."""


@dataclass(frozen=True)
class Waits:
    """Contacts at past moments: the days to their next order (infinite: none), and how long was looked."""

    frame: pd.DataFrame
    """CONTACT_FEATURES."""
    days: Floats
    seen: Floats

    def by(self, horizon: int) -> tuple[npt.NDArray[np.int64], Floats]:
        """Return the rows seen for the horizon, and 1.0 where no order came within it."""
        rows = np.flatnonzero(self.seen >= horizon - 1e-9)
        return rows, (self.days[rows] > horizon).astype(np.float64)


class Survival:
    """The curve of each contact, and what moved it."""

    def __init__(
        self,
        booster: lgb.Booster,
        calibrations: Mapping[int, Calibration],
        start: float,
        rfm: Rfm,
        value: Value | None,
    ) -> None:
        self.booster, self.rfm, self.value = booster, rfm, value
        self.calibrations = dict(sorted(calibrations.items()))
        self.start = start
        """The mean of BG/NBD's log-odds over the rows learned on: drivers are told against it."""

    @classmethod
    def learn(
        cls, early: Waits, later: Waits, rfm: Rfm, value: Value | None, horizons: Sequence[int], trees: Trees,
        seed: int, least_rows: int,
    ) -> Self:  # fmt: skip
        """Learn trees on the early rows and a calibration for each horizon on the later ones.

        Horizons for which either has too few rows or one outcome only are left out, but the first, which is
        the one asked for: there NotReady is raised.
        """
        values, labels = _rows(early, rfm, value, horizons, trees.most_rows, seed, least_rows)
        raw = cls(_boost(values, labels, trees, seed), {}, float(np.mean(_start(values))), rfm, value)
        curves = raw._calibrated_on(later, horizons, seed, least_rows)
        return cls(raw.booster, curves, raw.start, rfm, value)

    def again(
        self, whole: Waits, rfm: Rfm, value: Value | None, horizons: Sequence[int], trees: Trees, seed: int
    ) -> Self:
        """Return the trees learned again with the rows the calibration was learned on, which stays."""
        values, labels = _rows(whole, rfm, value, horizons, trees.most_rows, seed, 1)
        booster = _boost(values, labels, trees, seed)
        return type(self)(booster, self.calibrations, float(np.mean(_start(values))), rfm, value)

    def _calibrated_on(
        self, later: Waits, horizons: Sequence[int], seed: int, least_rows: int
    ) -> dict[int, Calibration]:
        held = _matrix(later.frame, self.rfm, self.value)
        found = {}
        for place, horizon in enumerate(horizons):
            rows, left = later.by(horizon)
            if _enough(left, least_rows, "calibration", required=place == 0):
                raw = self._raw(_at(held, later.frame, self.value, float(horizon), rows))
                found[horizon] = Calibration.learn(raw, left, seed)
        return found

    def none_within(self, frame: pd.DataFrame, days: Floats) -> Floats:
        """Return P(no order within days), shape (rows,); `days` one a row.

        Read off the curve, whose days have a calibration each: between two of them it falls as the trees say,
        so that no horizon comes out above a shorter one.
        """
        held = _matrix(frame, self.rfm, self.value)
        reached, trees, before = np.zeros(len(frame)), np.zeros(len(frame)), 0.0  # logarithms, at `before`
        out = np.zeros(len(frame))
        for day in self._days:
            rows = np.flatnonzero(days > before)
            if not len(rows):
                return np.exp(out)
            raw = self._raw(_at(held, frame, self.value, float(day), rows))
            found = np.minimum(np.log(self._calibrated(raw, float(day))), reached[rows])
            out[rows] = found
            between = days[rows] < day
            if between.any():
                some = rows[between]
                asked = np.log(self._raw(_at(held, frame, self.value, days[some], some)))
                share = _share(trees[some], asked, np.log(raw[between]))
                out[some] = (1 - share) * reached[some] + share * found[between]
            reached[rows], trees[rows], before = found, np.log(raw), float(day)
        rows = np.flatnonzero(days > before)
        if len(rows):
            raw = self._raw(_at(held, frame, self.value, days[rows], rows))
            out[rows] = np.minimum(np.log(self._calibrated(raw, before)), reached[rows])
        return np.exp(out)

    def curve(self, frame: pd.DataFrame) -> Floats:
        """Return P(no order within each of HORIZONS), shape (rows, HORIZONS), never rising."""
        held = _matrix(frame, self.rfm, self.value)
        found = [
            self._calibrated(self._raw(_at(held, frame, self.value, float(day))), float(day))
            for day in self._days
        ]
        falling = np.minimum.accumulate(np.column_stack(found), axis=1)
        return falling[:, [self._days.index(horizon) for horizon in HORIZONS]]

    @property
    def _days(self) -> list[int]:
        """Return the days the curve is made of: HORIZONS, and others it was calibrated at."""
        return sorted({*HORIZONS, *self.calibrations})

    def moved(self, frame: pd.DataFrame, days: Floats) -> tuple[Floats, Floats]:
        """Return the features' values and what each added to the log-odds, shape (rows, FEATURES) both.

        TreeSHAP (Lundberg et al. 2020), as LightGBM gives it; BG/NBD's start counts to p_no_order.
        """
        values = _at(_matrix(frame, self.rfm, self.value), frame, self.value, days)
        added = np.asarray(self.booster.predict(values, pred_contrib=True, num_threads=1))[:, :-1]
        added[:, P_NONE] += _start(values) - self.start
        return values, added

    def _calibrated(self, raw: Floats, days: float) -> Floats:
        """Return the probabilities by the calibration of the horizon nearest to some days."""
        nearest = min(self.calibrations, key=lambda horizon: abs(np.log(days / horizon)))
        return self.calibrations[nearest].of(raw)

    def _raw(self, values: Floats) -> Floats:
        added = self.booster.predict(values, raw_score=True, num_threads=1)
        return np.asarray(expit(np.asarray(added, dtype=np.float64) + _start(values)))

    def save(self, folder: Path) -> None:
        """Write booster.txt, survival.json and the RFM and value models in folders of their own."""
        self.booster.save_model(folder / "booster.txt")
        curves = {str(days): curve.to_json() for days, curve in self.calibrations.items()}
        parts = {"features": FEATURES, "start": self.start, "calibrations": curves}
        (folder / "survival.json").write_text(json.dumps(parts))
        for name, model in (("rfm", self.rfm), ("value", self.value)):
            if model is not None:
                (folder / name).mkdir()
                model.save(folder / name)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what save wrote; raises BadInput where it was learned on other features than are known now."""
        path = folder / "survival.json"
        parts: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
        if tuple(parts.get("features", ())) != FEATURES:
            raise BadInput("the churn model was learned on other features; nextbest train churn mends it")
        return cls(
            lgb.Booster(model_file=folder / "booster.txt"),
            {int(days): Calibration.from_json(curve) for days, curve in parts["calibrations"].items()},
            parts["start"],
            Rfm.load(folder / "rfm"),
            Value.load(folder / "value") if (folder / "value").is_dir() else None,
        )


def importance(booster: lgb.Booster) -> pd.DataFrame:
    """Return each feature's total gain as a share of all, largest first."""
    gain = booster.feature_importance("gain").astype(np.float64)
    table = pd.DataFrame({"feature": FEATURES, "gain": gain / max(gain.sum(), 1e-12)})
    return table.sort_values("gain", ascending=False, ignore_index=True)


def _matrix(frame: pd.DataFrame, rfm: Rfm, value: Value | None) -> Floats:
    """Return the trees' input but what follows from the horizon, shape (rows, FEATURES)."""
    worth = pd.DataFrame(index=frame.index) if value is None else value.pattern(frame)
    a_day = (floats(worth, "orders_a_day"), floats(worth, "spend_a_day"))
    return np.hstack(
        [
            matrix(frame, CONTACT_FEATURES), matrix(worth, FROM_VALUE), matrix(rfm.score(frame), FROM_RFM),
            paces(frame, *a_day), matrix(Rules().score(frame), ["rule_score"]),
            np.full((len(frame), len(BY_HORIZON)), np.nan),
        ]
    )  # fmt: skip


def _rows(
    waits: Waits, rfm: Rfm, value: Value | None, horizons: Sequence[int], most: int, seed: int, least: int
) -> tuple[Floats, Floats]:
    """Return the trees' input and outcomes of all horizons that can be learned, one after another."""
    held = _matrix(waits.frame, rfm, value)
    share = min(1.0, most / max(sum(len(waits.by(h)[0]) for h in horizons), 1))
    random = np.random.default_rng(seed)
    blocks, labels = [], []
    for place, horizon in enumerate(horizons):
        rows, left = waits.by(horizon)
        if _enough(left, least, "training", required=place == 0):
            kept = np.flatnonzero(random.random(len(rows)) < share) if share < 1 else np.arange(len(rows))
            blocks.append(_at(held, waits.frame, value, float(horizon), rows[kept]))
            labels.append(left[kept])
    return np.vstack(blocks), np.concatenate(labels)


def _at(
    held: Floats,
    frame: pd.DataFrame,
    value: Value | None,
    days: float | Floats,
    rows: npt.NDArray[np.int64] | None = None,
) -> Floats:
    """Return the trees' input at a horizon, of some rows."""
    if rows is not None:
        held, frame = held[rows], frame.iloc[rows]
    out = held.copy()
    horizon = np.broadcast_to(np.asarray(days, dtype=np.float64), (len(frame),))
    if value is not None:
        out[:, P_NONE] = value.p_none(frame, horizon)
    gap = floats(frame, "order_gap_days")
    out[:, -2] = horizon
    out[:, -1] = horizon / np.where(gap > 0, gap, np.nan)
    return out


def _share(upper: Floats, value: Floats, lower: Floats) -> Floats:
    """Return how far a value has come on the way down, between 0 and 1."""
    return np.clip((value - upper) / np.minimum(lower - upper, -1e-12), 0.0, 1.0)


def _start(values: Floats) -> Floats:
    """Return BG/NBD's log-odds of no order within the horizon; 0 where it has none."""
    p = values[:, P_NONE]
    return np.where(np.isfinite(p), logit(np.clip(np.nan_to_num(p, nan=0.5), EDGE, 1 - EDGE)), 0.0)


def _boost(values: Floats, labels: Floats, trees: Trees, seed: int) -> lgb.Booster:
    towards = dict.fromkeys(BY_HORIZON, -1) | {"p_no_order": 1}
    settings = {
        "objective": "binary",
        "num_leaves": trees.leaves,
        "learning_rate": trees.learning_rate,
        "min_data_in_leaf": max(5, min(trees.rows_in_leaf, len(labels) // 50)),
        "feature_fraction": trees.features_a_tree,
        "bagging_fraction": trees.rows_a_tree,
        "bagging_freq": 1,
        "lambda_l2": trees.l2,
        "monotone_constraints": [towards.get(name, 0) for name in FEATURES],
        "boost_from_average": False,
        "seed": seed,
        "deterministic": True,
        "force_row_wise": True,
        "num_threads": trees.threads,
        "verbose": -1,
    }
    data = lgb.Dataset(values, labels, init_score=_start(values), feature_name=list(FEATURES))
    return lgb.train(settings, data, trees.rounds)


def _enough(labels: Floats, least: int, part: str, required: bool) -> bool:
    """Tell whether a horizon can be learned; raises NotReady where it has to be and cannot."""
    if len(labels) >= least and len(np.unique(labels)) > 1:
        return True
    if not required:
        return False
    if len(labels) < least:
        raise NotReady(f"churn has {len(labels)} rows for {part}; it needs {least}: ingest more contacts")
    outcome = "left" if labels[0] else "stayed"
    raise NotReady(f"churn: every contact in {part} {outcome}; there is nothing to tell apart")
