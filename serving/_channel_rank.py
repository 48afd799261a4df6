"""Channels of many contacts ranked: what a model says of each, at its best hour, in money."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from models._beyond import Beyond, Seen
from models._frame import floats
from models._ranked import Estimate, interval
from models.base import Floats
from models.candidates import DAY, Candidates
from models.decision import NOTHING, Weighed, weigh
from models.local_time import seen_hours, slot_moments, slots
from models.permission import quiet_table
from nextbest.columns import DONE_TO_THEM
from nextbest.settings import ChannelSettings, Settings
from serving.schemas import BestChannelRequest

ValueFrom = Literal["asked", "uplift", "learned", "default"]
LEAD_DAYS = 3.0
"""Days before a contact's next order is due in which a message is welcome."""
TOO_EARLY = 0.5
"""What an hour before them is worth beside one in them, where the window reaches so far."""


@dataclass(frozen=True)
class Terms:
    """What is asked of the channels, whatever model answers."""

    channels: tuple[str, ...]
    settings: Settings
    now: float
    """The moment that contacts are known at, epoch seconds."""
    start: float
    """The earliest moment to send at."""
    window_hours: int
    value: float | None
    """Money of a response; None: what the model has learned, else 1."""
    zones: npt.NDArray[np.object_]
    """Of each contact; None where unknown."""

    @classmethod
    def of(
        cls, asked: BestChannelRequest, settings: Settings, zones: npt.NDArray[np.object_], now: datetime
    ) -> "Terms":
        """Return what a request asks for."""
        start, channels = max(asked.at or now, now), tuple(asked.channels or settings.channels)
        when = (now.timestamp(), start.timestamp(), asked.window_hours)
        return cls(channels, settings, *when, asked.value, zones)

    @property
    def each(self) -> list[ChannelSettings]:
        """Return the settings of each channel."""
        return [channel_settings(self.settings, channel) for channel in self.channels]


def channel_settings(settings: Settings, channel: str) -> ChannelSettings:
    """Return a channel's settings; of one that is not configured, the defaults."""
    return settings.channels.get(channel, UNKNOWN_CHANNEL)


UNKNOWN_CHANNEL = ChannelSettings()


@dataclass(frozen=True)
class RankedChannels:
    """Arrays of shape (contacts, channels), channels as in the terms."""

    estimate: Estimate
    """Of a message at any hour."""
    weighed: Weighed
    value: Floats
    """Money of a response."""
    value_from: ValueFrom
    send_at: Floats
    """Epoch seconds; NaN where every hour of the window is quiet."""
    order: npt.NDArray[np.int64]
    """Places of the channels, best first."""


def rank(model: Any, candidates: Candidates, seen: Seen, terms: Terms) -> RankedChannels:
    """Ask a channel model and weigh what it says; raises what the model raises."""
    estimate = model.estimate(candidates)
    beyond = Beyond.of(model, candidates, seen)
    value, value_from = _value(terms, beyond, estimate.probability.shape)
    hours = slots(terms.start, terms.zones, terms.window_hours)
    moments = slot_moments(terms.start, terms.window_hours)
    factors = np.take_along_axis(beyond.factors, hours, axis=1)
    quiet = quiet_table(terms.each)[:, hours % 24].transpose(1, 0, 2)
    left = terms.settings.unsubscribe_cost
    loss = beyond.risk * (value if left is None else left)
    cost = np.array([channel.cost for channel in terms.each])
    prefer = _prefer(candidates, moments, terms.now)
    weighed = weigh(estimate.probability, value, cost, loss, factors, quiet, prefer)
    send_at = np.where(weighed.slot == NOTHING, np.nan, moments[np.maximum(weighed.slot, 0)])
    order = np.argsort(np.where(np.isnan(weighed.worth), np.inf, -weighed.worth), axis=1, kind="stable")
    return RankedChannels(estimate, weighed, value, value_from, send_at, order)


def _value(terms: Terms, beyond: Beyond, shape: tuple[int, ...]) -> tuple[Floats, ValueFrom]:
    if terms.value is not None:
        return np.full(shape, terms.value), "asked"
    if beyond.worth is not None:
        return beyond.worth, "uplift" if beyond.by_uplift else "learned"
    return np.ones(shape), "default"


def _prefer(candidates: Candidates, moments: Floats, now: float) -> Floats:
    """Return which hours suit the next order: not long before it is due by the contact's cadence."""
    contacts = candidates.contacts
    gap, since = (floats(contacts, name) for name in ("order_gap_days", "recency_days"))
    welcome = now + (gap - since - LEAD_DAYS) * DAY
    return np.where(moments[None, :] < welcome[:, None], TOO_EARLY, 1.0)


def seen_of(
    owner: npt.NDArray[np.int64], names: npt.NDArray[np.object_], times: Floats, terms: Terms
) -> Seen:
    """Return when each contact was there, of the steps that are remembered, shape (contacts, 168).

    owner, names, times: whose each step is, its event and when.
    """
    there = ~np.isin(names.astype(str), DONE_TO_THEM)
    return seen_hours(times[there], owner[there], len(terms.zones), terms.zones)


def edges(ranked: RankedChannels) -> tuple[Floats, Floats]:
    """Return what holds 90 % of what the probability may be, at its hour."""
    scale = ranked.weighed.probability / np.maximum(ranked.estimate.probability, 1e-12)
    low, high = (np.clip(edge * scale, 0.0, 1.0) for edge in interval(ranked.estimate))
    return low, high
