"""Rules a business might choose channels by, on the simulated log: what a model must beat.

Each chooses among the permitted channels of a contact, and sends at the hour that was answered most. A rule
that looks at answers alone would gladly telephone everybody, so all but chance keep to channels that paid.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from benchmarks._world_log import Log
from benchmarks._world_settings import DAY, NOTHING, Settings

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

MONTHS = 182 * DAY
"""How far the published rule looks back."""
LEAST_MESSAGES, LEAST_CHANNELS = 3, 2
OWN = 20.0
"""Messages that the channel's rate counts for beside a contact's own."""


@dataclass(frozen=True)
class Tally:
    """What the log shows of contacts and channels: messages that arrived, answers, and money made."""

    received: Floats
    answered: Floats
    """Shape (contacts, channels); a message is answered once at most."""
    latest: Floats
    """When each contact last answered over each channel, -inf: never."""
    rate: Floats
    """Answers a message received, shape (channels,)."""
    worth: Floats
    """Profit an answer, less what leaving costs."""
    cost: Floats
    hour: Ints
    """The local hour answered most, shape (channels,)."""

    @classmethod
    def of(cls, log: Log, settings: Settings, now: float) -> Self:
        """Count the messages of the last six months whose answers were known by `now`."""
        channels = settings.channels
        arrived = log.take(log.sent & ~log.bounced & (log.time > now - MONTHS))
        answered = arrived.response & (arrived.answered_at < now)
        shape = (settings.contacts, len(channels))
        place = (arrived.contact, arrived.channel)
        received, answers, latest = np.zeros(shape), np.zeros(shape), np.full(shape, -np.inf)
        np.add.at(received, place, 1.0)
        np.add.at(answers, place, answered)
        np.maximum.at(latest, place, np.where(answered, arrived.answered_at, -np.inf))
        total = np.maximum(answers.sum(axis=0), 1.0)
        earned = arrived.order_value * settings.margin - np.isfinite(arrived.left_at) * settings.loss
        return cls(
            received=received,
            answered=answers,
            latest=latest,
            rate=answers.sum(axis=0) / np.maximum(received.sum(axis=0), 1.0),
            worth=np.bincount(arrived.channel, earned, len(channels)) / total,
            cost=np.array([c.cost for c in channels]),
            hour=_hours(arrived, answered, len(channels)),
        )

    @property
    def profit(self) -> Floats:
        """Return what a message over each channel made."""
        return self.rate * self.worth - self.cost

    def own_rates(self) -> Floats:
        """Return each contact's rates drawn to the channels' (Beta prior), shape (contacts, channels)."""
        return (self.answered + OWN * self.rate) / (self.received + OWN)


def best_arm(tally: Tally, permitted: Bools) -> Ints:
    """Choose for everyone the permitted channel that made most a message; nothing where none made money."""
    return _highest(np.where(permitted, tally.profit, -np.inf), above=0.0)


def interactions(tally: Tally, permitted: Bools) -> Ints:
    """Choose by answers a message received (Braze's published Intelligent Channel), else the best arm.

    An answer needs 3 messages over 2 channels at least, and one interaction; ties go to the latest.
    """
    received = tally.received.sum(axis=1) >= LEAST_MESSAGES
    enough = received & ((tally.received > 0).sum(axis=1) >= LEAST_CHANNELS)
    rate = tally.answered / np.maximum(tally.received, 1.0)
    rate = np.where(permitted & (tally.profit > 0), rate, -np.inf)
    tied = rate == rate.max(axis=1, keepdims=True)
    chosen = np.where(tied, tally.latest, -np.inf).argmax(axis=1)
    return np.where(enough & (rate.max(axis=1) > 0), chosen, best_arm(tally, permitted))


def own_rates(tally: Tally, permitted: Bools) -> Ints:
    """Choose the channel the contact answers most, by its own smoothed rates."""
    return _highest(np.where(permitted & (tally.profit > 0), tally.own_rates(), -np.inf), above=0.0)


def own_values(tally: Tally, permitted: Bools) -> Ints:
    """Choose by own smoothed rates times what an answer makes on average, less the cost."""
    return _highest(np.where(permitted, tally.own_rates() * tally.worth - tally.cost, -np.inf), above=0.0)


def chance(tally: Tally, permitted: Bools) -> Ints:
    """Choose any permitted channel; the same for the same question."""
    drawn = np.random.default_rng(len(tally.received)).random(permitted.shape)
    return _highest(np.where(permitted, drawn, -np.inf), above=-1.0)


RULES: Mapping[str, Callable[[Tally, Bools], Ints]] = {
    "best arm": best_arm,
    "interactions per message": interactions,
    "own rates": own_rates,
    "own rates x value": own_values,
    "chance": chance,
}


def _highest(score: Floats, above: float) -> Ints:
    """Return the column of the highest score of each row, NOTHING where it is not above a bar."""
    return np.where(score.max(axis=1) > above, score.argmax(axis=1), NOTHING)


def _hours(arrived: Log, answered: Bools, channels: int) -> Ints:
    """Return the hour with the highest answer rate over each channel, drawn to the channel's rate."""
    shape, place = (channels, 24), (arrived.channel, arrived.hour)
    received, answers = np.zeros(shape), np.zeros(shape)
    np.add.at(received, place, 1.0)
    np.add.at(answers, place, answered)
    rate = answers.sum(axis=1, keepdims=True) / np.maximum(received.sum(axis=1, keepdims=True), 1.0)
    smoothed = np.where(received > 0, (answers + 200 * rate) / (received + 200), -1.0)
    return smoothed.argmax(axis=1)
