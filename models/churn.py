"""Churn: P(a contact with orders places none within the horizon), and when its next order is to be expected.

Both are read off one survival curve (models._survival). The horizon is set, or follows each contact's own
cadence: so many of its usual gaps between orders, a cadence that is drawn towards the category's.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
import pandas as pd

from models._certainty import Certainty
from models._curve import HORIZONS, none_at, waits_of
from models._frame import floats, orders
from models._leaving import HORIZON, asked_days, leaving
from models._phrases import phrase
from models._standing import Standing
from models._survival import FEATURES, Survival, Trees, Waits, importance
from models.base import Floats
from models.rfm import Rfm
from models.value import Value, ValueConfig
from nextbest.errors import NotReady
from nextbest.progress import Progress, silent

TOP_CATEGORY = "top_category"
"""A frame may carry this column: the category the contact buys most in, for its cadence."""
QUANTILES = (0.5, 0.1, 0.9)
"""Of the next order's date: the middle, and the interval that holds it with 80 %."""
DATES = ("days", "low_days", "high_days")


@dataclass(frozen=True)
class ChurnConfig:
    """Settings of the churn model."""

    horizon_days: float | None = 30.0
    """Churned: no order in this many days; None: by each contact's cadence."""
    gaps: float = 3.0
    """By cadence: so many usual gaps without an order, rounded up to one of HORIZONS."""
    category_weight: float = 2.0
    """Gaps that the category's cadence counts for, beside the contact's own."""
    trees: Trees = field(default_factory=Trees)
    least_rows: int = 200
    """Rows of training, and of calibration, below which nothing is learned."""


@dataclass(frozen=True)
class Cadence:
    """How many days without an order are many for a contact."""

    usual_gap: float
    """Days between orders of the contact in the middle."""
    category_gaps: Mapping[str, float]
    """Category -> usual days between purchases in it."""
    gaps: float = ChurnConfig.gaps
    category_weight: float = ChurnConfig.category_weight

    @classmethod
    def learn(cls, frame: pd.DataFrame, category_gaps: Mapping[str, float], config: ChurnConfig) -> Self:
        """Learn the usual gap from contacts at a moment."""
        gaps = floats(frame, "order_gap_days")
        usual = float(np.nanmedian(gaps)) if np.isfinite(gaps).any() else float(HORIZONS[2])
        return cls(usual, dict(category_gaps), config.gaps, config.category_weight)

    def days(self, frame: pd.DataFrame) -> Floats:
        """Return the usual days between orders: the contact's own mean, drawn towards the category's."""
        category = np.full(len(frame), self.usual_gap)
        if TOP_CATEGORY in frame.columns and self.category_gaps:
            known = frame[TOP_CATEGORY].map(self.category_gaps).to_numpy(dtype=np.float64)
            category = np.where(np.isfinite(known), known, category)
        own = np.nan_to_num(floats(frame, "order_gap_days"))
        count = np.where(own > 0, np.fmax(orders(frame) - 1, 0.0), 0.0)
        return (count * own + self.category_weight * category) / (count + self.category_weight)

    def horizons(self, frame: pd.DataFrame) -> Floats:
        """Return `gaps` usual gaps, rounded up to one of HORIZONS."""
        ladder = np.array(HORIZONS, dtype=np.float64)
        place = np.searchsorted(ladder, self.gaps * self.days(frame) - 1e-9)
        return ladder[np.minimum(place, len(ladder) - 1)]


@dataclass(frozen=True)
class ChurnHistory:
    """What the model learns from."""

    early: Waits
    """Contacts at the training cuts, one after another."""
    later: Waits
    """The same at later cuts, whose windows begin where the training's have ended: for calibration."""
    snapshot: pd.DataFrame
    """The latest training cut alone: RFM classes and the value model are learned on it."""
    whole: Waits | None = None
    """All of them, looked at until the hold-out begins: what the trees are learned on again, once calibrated,
    where the horizon is longer than the windows; None: not again."""
    category_gaps: Mapping[str, float] | None = None
    """Category -> usual days between purchases in it."""


@dataclass(frozen=True)
class Driver:
    """A feature that moved a contact's probability."""

    feature: str
    value: float
    contribution: float
    """To the log-odds of churning, above zero: towards leaving (Lundberg et al. 2020, TreeSHAP)."""
    phrase: str


class Churn:
    """The survival curve at each contact's horizon, its interval, and where it stands among all contacts."""

    kind: ClassVar[str] = "churn"

    def __init__(
        self,
        config: ChurnConfig,
        survival: Survival,
        standing: Standing,
        certainty: Certainty,
        cadence: Cadence,
    ) -> None:
        self.config, self.survival = config, survival
        self.standing, self.certainty = standing, certainty
        self.cadence = cadence

    @classmethod
    def learn(
        cls,
        data: ChurnHistory,
        config: ChurnConfig | None = None,
        seed: int = 7,
        progress: Progress = silent,
    ) -> Self:
        """Learn the curve and calibrate it on the later window.

        Where the horizon outreaches the windows, the trees are learned again on the whole, which is looked at
        for longer. Raises NotReady on too little data.
        """
        config = config or ChurnConfig()
        rounds = config.trees.rounds
        reach = float(data.later.seen.max(initial=0.0))
        horizons = _asked_first(config, reach)
        progress("churn: trees", 0, 2 * rounds)
        survival = Survival.learn(
            data.early, data.later, Rfm.learn(data.snapshot), _value(data.snapshot), horizons, config.trees,
            seed, config.least_rows,
        )  # fmt: skip
        cadence = Cadence.learn(data.snapshot, data.category_gaps or {}, config)
        placed = cls(config, survival, _NOBODY, _UNSURE, cadence)._placed(data.later)
        if data.whole is None or (config.horizon_days or 0.0) <= reach:
            return placed
        progress("churn: trees", rounds, 2 * rounds)
        latest = data.later.frame
        again = survival.again(data.whole, Rfm.learn(latest), _value(latest), horizons, config.trees, seed)
        progress("churn: trees", 2 * rounds, 2 * rounds)
        cadence = Cadence.learn(latest, data.category_gaps or {}, config)
        return cls(config, again, placed.standing, placed.certainty, cadence)

    def _placed(self, later: Waits) -> Self:
        """Return the model with percentiles, bands and intervals of the contacts calibrated on."""
        days = self.horizons(later.frame)
        held = later.seen >= days - 1e-9
        everyone = self.survival.none_within(later.frame, days)
        left = (later.days[held] > days[held]).astype(np.float64)
        certainty = Certainty.learn(everyone[held], left) if held.any() else _UNSURE
        return type(self)(self.config, self.survival, Standing.learn(everyone), certainty, self.cadence)

    def horizons(self, frame: pd.DataFrame) -> Floats:
        """Return the days that "leaving" is about for each contact, shape (rows,)."""
        if self.config.horizon_days is None:
            return asked_days(frame, self.cadence.horizons(frame))
        return asked_days(frame, np.full(len(frame), float(self.config.horizon_days)))

    def score(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Return probability, low, high, percentile, band, source and horizon_days.

        low and high hold the rate among contacts scored alike with 90 % (NaN where the horizon is longer than
        any contact was looked at for calibration); percentile is 0-100 against the
        contacts calibrated on. NaN, "unknown" and "not_enough_data" for contacts without orders.
        """
        bought, days = orders(frame) > 0, self.horizons(frame)
        probability = np.full(len(frame), np.nan)
        if bought.any():
            probability[bought] = self.survival.none_within(frame[bought], days[bought])
        ends = self.certainty.interval(probability)
        return leaving(frame.index, probability, self.standing, self.kind, ends).assign(**{HORIZON: days})

    predict = score

    def next_order(self, frame: pd.DataFrame, within: float = 30.0) -> pd.DataFrame:
        """Return days, low_days, high_days from now to the next order, and its probability `within` days.

        The median and an 80 % interval; NaN where the order is less likely than that to come within a year,
        and throughout for a contact without orders.
        """
        bought = orders(frame) > 0
        out = np.full((len(frame), len(DATES) + 1), np.nan)
        if bought.any():
            curve = self.survival.curve(frame[bought])
            out[bought] = np.column_stack([waits_of(curve, QUANTILES), 1 - none_at(curve, within)])
        return pd.DataFrame(out, index=frame.index, columns=[*DATES, "probability"])

    def drivers(self, frame: pd.DataFrame, k: int = 3) -> list[list[Driver]]:
        """Return for each row the k features that moved it most, largest first; none without orders."""
        bought = orders(frame) > 0
        out: list[list[Driver]] = [[] for _ in range(len(frame))]
        if not bought.any():
            return out
        values, moved = self.survival.moved(frame[bought], self.horizons(frame)[bought])
        for row, position in enumerate(np.flatnonzero(bought)):
            most = np.argsort(-np.abs(moved[row]), kind="stable")[:k]
            out[position] = [_driver(int(column), values[row], moved[row]) for column in most]
        return out

    def importance(self) -> pd.DataFrame:
        """Return each feature's total gain as a share of all, largest first."""
        return importance(self.survival.booster)

    def save(self, folder: Path) -> None:
        """Write churn.json and what the curve needs."""
        self.survival.save(folder)
        parts = {
            "config": asdict(self.config), "standing": self.standing.to_json(),
            "certainty": self.certainty.to_json(), "cadence": asdict(self.cadence),
        }  # fmt: skip
        (folder / "churn.json").write_text(json.dumps(parts))

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what save wrote; raises BadInput where it was learned on other features than are known now."""
        survival = Survival.load(folder)
        parts = json.loads((folder / "churn.json").read_text())
        config = ChurnConfig(**{**parts["config"], "trees": Trees(**parts["config"]["trees"])})
        return cls(
            config,
            survival,
            Standing.from_json(parts["standing"]),
            Certainty.from_json(parts["certainty"]),
            Cadence(**parts["cadence"]),
        )


_NOBODY = Standing(np.zeros(101), 0.0, 0.0)
_UNSURE = Certainty(np.zeros(1), np.full(1, np.nan), np.full(1, np.nan))


def _asked_first(config: ChurnConfig, reach: float) -> Sequence[int]:
    """Return the horizons to learn; first the one that must be learnable: as far as the windows reach."""
    asked = round(config.horizon_days) if config.horizon_days is not None else HORIZONS[0]
    first = asked if asked <= reach else max((days for days in HORIZONS if days <= reach), default=asked)
    return tuple(dict.fromkeys((first, *HORIZONS, asked)))


def _value(snapshot: pd.DataFrame) -> Value | None:
    """Learn the value model; without enough repeat buyers its columns stay NaN."""
    try:
        return Value.learn(snapshot, ValueConfig())
    except NotReady:
        return None


def _driver(column: int, values: Floats, moved: Floats) -> Driver:
    feature, value = FEATURES[column], float(values[column])
    return Driver(feature, value, float(moved[column]), phrase(feature, value))
