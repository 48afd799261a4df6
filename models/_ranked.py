"""What every channel model answers: one frame, a row a contact and channel, best first."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import betaincinv

from models.base import Floats
from models.candidates import Candidates
from nextbest.columns import CHANNEL, CONTACT_ID

LEVEL = 0.9
RANKED = (
    "contact_id", "channel", "rank", "probability", "low", "high", "expected_value", "sent_total",
    "responses", "source",
)  # fmt: skip
"""rank from 1; low and high hold 90 % of the estimate's Beta; sent_total and responses are the evidence."""
Value = float | Mapping[str, float]
"""What a response is worth: for everyone, or by contact_id."""


@dataclass(frozen=True)
class Estimate:
    """P(response) of a message to each contact over each channel; arrays of shape (contacts, channels)."""

    probability: Floats
    strength: Floats
    """Messages the estimate weighs as much as: its 90 % interval is that of a Beta with this sum."""
    source: npt.NDArray[np.object_]


def ranked(
    candidates: Candidates, estimate: Estimate, value: Value = 1.0, costs: Mapping[str, float] | None = None
) -> pd.DataFrame:
    """Return a row a contact and channel, with the columns of RANKED.

    Contacts in order; within one by falling expected_value = probability × value - cost, in money; a channel
    without a cost is free, an unknown probability comes last.
    """
    ids = candidates.contacts[CONTACT_ID].astype(str).to_numpy(dtype=object)
    worth = np.array([value.get(name, 1.0) for name in ids]) if isinstance(value, Mapping) else float(value)
    cost = np.array([(costs or {}).get(channel, 0.0) for channel in candidates.channels])
    expected = estimate.probability * np.reshape(worth, (-1, 1)) - cost
    low, high = interval(estimate)
    opened, clicked = candidates.of("opened_total"), candidates.of("clicked_total")
    order = np.argsort(np.where(np.isnan(expected), np.inf, -expected), axis=1, kind="stable")
    columns = {
        "probability": estimate.probability,
        "low": low,
        "high": high,
        "expected_value": expected,
        "sent_total": candidates.of("sent_total"),
        "responses": np.maximum(opened, clicked),
        "source": estimate.source,
    }
    count = len(candidates.channels)
    frame = {
        CONTACT_ID: np.repeat(ids, count),
        CHANNEL: np.array(candidates.channels, dtype=object)[order].ravel(),
        "rank": np.tile(np.arange(1.0, count + 1), len(ids)),
        **{name: np.take_along_axis(values, order, axis=1).ravel() for name, values in columns.items()},
    }
    return pd.DataFrame(frame, columns=list(RANKED))


def interval(estimate: Estimate) -> tuple[Floats, Floats]:
    """Return the ends that hold 90 % of the estimate's Beta, shape (contacts, channels)."""
    a = np.maximum(estimate.probability * estimate.strength, 1e-6)
    b = np.maximum((1 - estimate.probability) * estimate.strength, 1e-6)
    tail = (1 - LEVEL) / 2
    return np.asarray(betaincinv(a, b, tail)), np.asarray(betaincinv(a, b, 1 - tail))
