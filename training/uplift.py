"""Uplift: what a message over a channel brings beyond sending nothing, from campaigns that held some out.

The hold-out is drawn by hash, so its propensities are known; what contacts would have bought anyway is
predicted from what was known of them, and the log corrects the prediction: doubly robust (Robins, Rotnitzky
and Zhao 1994), cross-fitted (Chernozhukov et al. 2018). Orders put down to messages by attribution say
nothing of those that would have come anyway; where the log allows it, this takes their place.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import pandas as pd

from features.excluded import Excluded
from models._scaling import Scaling
from models.base import Floats
from nextbest.columns import CONTACT_FEATURES, CONTACT_ID, TIMESTAMP
from nextbest.settings import Settings
from training._campaign_holdout import audience_of
from training._campaign_tables import campaign_tables
from training._happened import Span
from training._off_policy_log import Ints
from training._snapshots import frames
from training.off_policy import Fit, Log, Overlap, Predict, ThinOverlap, compare, cross_fitted, one_hot

NOTHING, SENT = 0, 1
"""The arms."""
WINDOW_DAYS = 7.0
RIDGE = 100.0
FOLDS = 5
MOST = 2.0
"""No channel's messages are taken to bring more than this times what is put down to them."""


@dataclass(frozen=True)
class Uplift:
    """Profit a contact decided to be sent to brings beyond one held out, in the days after."""

    profit: float
    low: float
    high: float
    """90 %, over contacts."""
    treated: int
    held_out: int

    def factor(self, attributed: float) -> float | None:
        """Return uplift over what attribution puts down to a message; None where this cannot tell them apart.

        That is where the interval is wider than the attributed profit itself.
        """
        if not attributed > 0 or self.high - self.low > 2 * attributed:
            return None
        return float(np.clip(self.profit / attributed, 0.0, MOST))


def channel_uplift(settings: Settings, now: datetime, seed: int) -> dict[str, Uplift]:
    """Return the uplift of each channel that enough contacts were held out of; others are left out."""
    span = Span(None, None, now, WINDOW_DAYS)
    with campaign_tables(settings, span) as tables:
        audience, _ = audience_of(tables, settings, span, tables.messages())
    audience = Excluded.of(settings).without(audience, "person")
    over = audience[(audience["until"] <= pd.Timestamp(now)) & audience["channel"].notna()]
    found = {}
    for channel, rows in over.groupby("channel"):
        try:
            found[str(channel)] = _uplift(settings, rows.reset_index(drop=True), seed)
        except ThinOverlap:
            continue
    return found


def _uplift(settings: Settings, rows: pd.DataFrame, seed: int) -> Uplift:
    held = rows["held_out"].to_numpy(dtype=bool)
    share = rows.groupby("campaign")["held_out"].transform("mean").to_numpy(np.float64)
    log = Log(
        actions=np.where(held, NOTHING, SENT),
        rewards=rows["revenue"].to_numpy(np.float64) * settings.margin,
        propensity=np.clip(np.where(held, share, 1 - share), 1e-6, 1.0),
        contacts=rows["person"].to_numpy(),
    )
    sent, nothing = (one_hot(np.full(len(rows), arm), 2) for arm in (SENT, NOTHING))
    for policy in (sent, nothing):
        Overlap.of(log, policy).require()
    known = _known(settings, rows)
    gain = compare(log, sent, nothing, cross_fitted(log, _ridge(log, known), FOLDS, seed))
    return Uplift(gain.value, gain.low, gain.high, int((~held).sum()), int(held.sum()))


def _known(settings: Settings, rows: pd.DataFrame) -> Floats:
    """Return what was known of each contact when it was decided, scaled, with a column of ones."""
    spine = pd.DataFrame({CONTACT_ID: rows["person"], TIMESTAMP: rows["moment"]})
    raw = frames(settings, "best_channel", spine)[list(CONTACT_FEATURES)].to_numpy(np.float64)
    return np.hstack([Scaling.learn(raw).of(raw), np.ones((len(raw), 1))])


def _ridge(log: Log, known: Floats) -> Fit:
    """Return what learns each arm's reward by ridge regression (training.off_policy.Fit)."""
    penalty = RIDGE * np.eye(known.shape[1])
    penalty[-1, -1] = 1e-9  # the mean is free

    def fit(rows: Ints) -> Predict:
        weights = []
        for arm in (NOTHING, SENT):
            of_arm = rows[log.actions[rows] == arm]
            x, y = known[of_arm], log.rewards[of_arm]
            weights.append(np.linalg.solve(x.T @ x + penalty, x.T @ y))
        return lambda asked: known[asked] @ np.stack(weights, axis=1)

    return fit


def told(uplifts: Mapping[str, Uplift]) -> dict[str, str]:
    """Return the uplifts as people read them."""
    return {
        name: f"{one.profit:.3f} [{one.low:.3f}, {one.high:.3f}], {one.treated} sent, {one.held_out} held out"
        for name, one in uplifts.items()
    }
