"""Best time: how much likelier a message is answered at an hour of the week than at any hour.

Three layers, each drawn to the one before it: everybody's responses by the hour they were sent to, a
segment's, and the hours at which a contact is known to have been there. A factor multiplies P(response);
1 says that the hour makes no difference. Where the hours teach nothing about later messages all are 1.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt

from models.base import Floats

HOURS = 168
"""Of a week in the contact's own time; 0 is Monday, midnight to one."""
Hours = npt.NDArray[np.int64]
WEIGHTS = (0.0, 0.25, 0.5, 0.75, 1.0)
"""How far a contact's habits are believed (an exponent); the one likeliest on later messages is kept."""
STRENGTHS = (2.0, 5.0, 15.0)
"""Sightings the population's habits weigh as much as, likewise."""
SURE = 1.645
"""Standard errors by which the factors must beat none, in log-likelihood a message."""
MOST, LEAST = 4.0, 0.25
"""No factor beyond."""


@dataclass(frozen=True)
class BestTimeConfig:
    """Settings of the best time."""

    near_hours: float = 1.5
    """Standard deviation of the kernel over hours of a day."""
    same_kind: float = 0.5
    """Weight of another day of its kind: a workday's, or a weekend's."""
    other_kind: float = 0.1
    """Weight of a day of the other kind."""
    prior_responses: float = 30.0
    """Expected responses, in an hour and those near it, that "no difference" weighs as much as."""
    later_share: float = 0.3
    """The latest messages, which decide how far habits are believed, and whether hours are at all."""


@dataclass(frozen=True)
class Sent:
    """Messages in the order they were sent; every array has an entry a message."""

    hours: Hours
    """Local hour of the week it was sent at."""
    responses: Floats
    expected: Floats
    """P(response) without the hour."""
    segments: npt.NDArray[np.object_]
    seen: Floats
    """Shape (messages, HOURS): how often the contact was there at that hour, before the message."""

    def __len__(self) -> int:
        return len(self.hours)

    def take(self, rows: slice) -> "Sent":
        """Return some of the messages."""
        return Sent(
            self.hours[rows], self.responses[rows], self.expected[rows], self.segments[rows], self.seen[rows]
        )


class BestTime:
    """Answers with a factor for each contact and hour of the week."""

    def __init__(
        self,
        config: BestTimeConfig,
        everyone: Floats,
        segments: dict[str, Floats],
        habits: Floats,
        weight: float,
        strength: float,
        used: bool,
    ) -> None:
        self.config, self.everyone, self.segments = config, everyone, segments
        self.habits, self.weight, self.strength, self.used = habits, weight, strength, used
        near = kernel(config)
        self._spread = near / near.sum(axis=1, keepdims=True)

    @classmethod
    def unknown(cls) -> Self:
        """Return what makes no difference between hours: nothing was learned."""
        flat = np.ones(HOURS)
        return cls(BestTimeConfig(), flat, {}, flat / HOURS, 0.0, STRENGTHS[0], used=False)

    @classmethod
    def learn(cls, sent: Sent, config: BestTimeConfig | None = None) -> Self:
        """Learn the layers from the earlier messages, and from the later ones how far to believe them."""
        config = config or BestTimeConfig()
        cut = int(len(sent) * (1 - config.later_share))
        early, late = sent.take(slice(0, cut)), sent.take(slice(cut, None))
        if not len(early) or not len(late):
            return cls.unknown()
        everyone, segments, habits = _layers(early, config)
        options = [
            cls(config, everyone, segments, habits, weight, strength, used=True)
            for weight in WEIGHTS
            for strength in (STRENGTHS if weight else STRENGTHS[:1])
        ]
        gains = [_gain(model, late) for model in options]
        best = int(np.argmax([gain.mean() for gain in gains]))
        gain = gains[best]
        if not gain.mean() > SURE * gain.std() / np.sqrt(len(gain)):
            return cls.unknown()
        everyone, segments, habits = _layers(sent, config)
        return cls(
            config, everyone, segments, habits, options[best].weight, options[best].strength, used=True
        )

    def factors(self, seen: Floats, segments: Sequence[str] | npt.NDArray[np.object_]) -> Floats:
        """Return the factor of each contact and hour, shape (contacts, HOURS); `seen` as in Sent."""
        if not self.used:
            return np.ones((len(seen), HOURS))
        names, codes = np.unique(np.asarray(segments).astype(str), return_inverse=True)
        layer = np.array([self.segments.get(name, self.everyone) for name in names]).reshape(-1, HOURS)
        found = layer[codes]
        if self.weight:
            found = found * self._habit(seen) ** self.weight
        return np.clip(found, LEAST, MOST)

    def _habit(self, seen: Floats) -> Floats:
        """Return how much oftener the contact is there at an hour than people are, drawn to 1."""
        near = seen @ self._spread
        total = seen.sum(axis=1, keepdims=True)
        return np.asarray((near + self.strength * self.habits) / ((total + self.strength) * self.habits))

    def save(self, folder: Path) -> None:
        """Write best_time.json."""
        parts = {
            "config": asdict(self.config),
            "everyone": self.everyone.tolist(),
            "segments": {name: values.tolist() for name, values in self.segments.items()},
            "habits": self.habits.tolist(),
            "weight": self.weight,
            "strength": self.strength,
            "used": self.used,
        }
        (folder / "best_time.json").write_text(json.dumps(parts))

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what save wrote."""
        parts = json.loads((folder / "best_time.json").read_text())
        return cls(
            BestTimeConfig(**parts["config"]),
            np.array(parts["everyone"]),
            {name: np.array(values) for name, values in parts["segments"].items()},
            np.array(parts["habits"]),
            parts["weight"],
            parts["strength"],
            parts["used"],
        )


def kernel(config: BestTimeConfig) -> Floats:
    """Return how much each hour tells of each other, shape (HOURS, HOURS), at most 1."""
    hour = np.arange(HOURS) % 24
    day = np.arange(HOURS) // 24
    apart = np.abs(hour[:, None] - hour[None, :])
    apart = np.minimum(apart, 24 - apart)
    weekend = day >= 5
    alike = np.where(weekend[:, None] == weekend[None, :], config.same_kind, config.other_kind)
    alike = np.where(day[:, None] == day[None, :], 1.0, alike)
    return np.asarray(alike * np.exp(-0.5 * (apart / config.near_hours) ** 2))


def _layers(sent: Sent, config: BestTimeConfig) -> tuple[Floats, dict[str, Floats], Floats]:
    """Return the factors of everyone and of each segment, and where people are in a week (a density)."""
    near = kernel(config)

    def drawn(rows: npt.NDArray[np.bool_], prior: Floats) -> Floats:
        """Gamma-Poisson: responses over those expected, drawn to the prior (Robbins 1956's shrinkage)."""
        answered, expected = (
            near @ np.bincount(sent.hours[rows], weights=values[rows], minlength=HOURS)
            for values in (sent.responses, sent.expected)
        )
        return np.asarray((answered + config.prior_responses * prior) / (expected + config.prior_responses))

    everyone = drawn(np.ones(len(sent), dtype=bool), np.ones(HOURS))
    names = np.unique(sent.segments.astype(str))
    segments = {str(name): drawn(sent.segments.astype(str) == name, everyone) for name in names}
    there = sent.seen.sum(axis=0) @ (near / near.sum(axis=1, keepdims=True)) + 1.0
    return everyone, segments, there / there.sum()


def _gain(model: BestTime, late: Sent) -> Floats:
    """Return each later message's gain in log-likelihood over the probability without the hour."""
    factor = model.factors(late.seen, late.segments)[np.arange(len(late)), late.hours]
    before = np.clip(late.expected, 1e-9, 1 - 1e-9)
    after = np.clip(before * factor, 1e-9, 1 - 1e-9)
    hit, miss = np.log(after / before), np.log1p(-after) - np.log1p(-before)
    return np.where(late.responses > 0, hit, miss)
