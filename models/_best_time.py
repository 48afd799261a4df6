"""Best time: how much likelier a message is answered at an hour of the week than at any hour.

Three layers, each drawn to the one before it: everybody's responses by the hour they were sent at, a
segment's, and the contact's. A contact's own responses are too few to speak of 168 hours, so that layer is
made of a few profiles: kinds of weeks, learned from when people are there (a mixture of multinomials, by
EM: Dempster, Laird and Rubin 1977), each with its own response factors. The hours a contact was seen at say
how likely each profile is. A factor multiplies P(response); 1 says that the hour makes no difference. Where
hours tell nothing about later messages, all are 1.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from models.base import Floats
from models.policy import surely_gains

HOURS = 168
"""Of a week in the contact's own time; 0 is Monday, midnight to one."""
Hours = npt.NDArray[np.int64]
PROFILES = (1, 2, 3, 5)
"""Numbers of profiles that are tried; the one likeliest on later messages is kept."""
STEPS, MOST_ROWS = 30, 40_000
"""Of EM, and the messages' contacts it learns from."""
MOST, LEAST = 4.0, 0.25
"""No factor beyond."""
UNTRIED = 0.5
"""Factor of an hour that next to nothing was ever sent at: it may be as bad as it is unknown."""


@dataclass(frozen=True)
class BestTimeConfig:
    """Settings of the best time."""

    near_hours: float = 0.7
    """Standard deviation of the kernel over hours of a day."""
    same_kind: float = 0.5
    """Weight of another day of its kind: a workday's, or a weekend's."""
    other_kind: float = 0.1
    """Weight of a day of the other kind."""
    prior_responses: float = 30.0
    """Expected responses, in an hour and those near it, that "no difference" weighs as much as."""
    segment_responses: float = 300.0
    """The same of what everyone's factors weigh in each segment's."""
    least_tried: int = 30
    """Messages at an hour of day, on days of its kind, below which the hour counts as untried.

    Where every hour does, none is worse than another."""
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
    seen: npt.NDArray[Any]
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

    def __init__(self, config: BestTimeConfig, learned: "Layers") -> None:
        self.config, self.learned = config, learned

    @classmethod
    def unknown(cls) -> Self:
        """Return what makes no difference between hours: nothing is known of any."""
        return cls(BestTimeConfig(), Layers.flat(np.ones(HOURS, dtype=bool)))

    @classmethod
    def learn(cls, sent: Sent, seed: int = 7, config: BestTimeConfig | None = None) -> Self:
        """Learn layers from the earlier messages, and from the later ones how many profiles to use."""
        config = config or BestTimeConfig()
        cut = int(len(sent) * (1 - config.later_share))
        early, late = sent.take(slice(0, cut)), sent.take(slice(cut, None))
        if min(len(early), len(late)) < config.least_tried:
            return cls.unknown()
        options = [cls(config, Layers.of(early, count, config, seed)) for count in PROFILES]
        gains = [_gain(model, late) for model in options]
        best = int(np.argmax([gain.mean() for gain in gains]))
        by_segment = _gain(cls(config, Layers.of(early, PROFILES[best], config, seed, by_segment=True)), late)
        finer = surely_gains(by_segment - gains[best])  # the best of many hours is taken: noise would be, too
        whole = Layers.of(sent, PROFILES[best], config, seed, by_segment=finer)
        if not surely_gains(by_segment if finer else gains[best]):
            return cls(config, Layers.flat(whole.tried))
        return cls(config, whole)

    @property
    def makes_a_difference(self) -> bool:
        """Tell whether some hours were found to be better than others."""
        return bool((self.learned.everyone != 1.0).any())

    def factors(self, seen: npt.NDArray[Any], segments: Sequence[str] | npt.NDArray[np.object_]) -> Floats:
        """Return the factor of each contact and hour, shape (contacts, HOURS); `seen` as in Sent."""
        names, codes = np.unique(np.asarray(segments).astype(str), return_inverse=True)
        layer = np.array([self.learned.segments.get(name, self.learned.everyone) for name in names])
        found = layer.reshape(-1, HOURS)[codes]
        found = found * (self.learned.belonging(seen) @ (self.learned.factors / self.learned.everyone))
        return np.where(self.learned.tried, np.clip(found, LEAST, MOST), UNTRIED)

    def save(self, folder: Path) -> None:
        """Write best_time.json."""
        layers = self.learned
        parts = {
            "config": asdict(self.config),
            "everyone": layers.everyone.tolist(),
            "segments": {name: values.tolist() for name, values in layers.segments.items()},
            **{name: getattr(layers, name).tolist() for name in ("tried", "profiles", "shares", "factors")},
        }
        (folder / "best_time.json").write_text(json.dumps(parts))

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what save wrote."""
        parts = json.loads((folder / "best_time.json").read_text())
        segments = {name: np.array(values) for name, values in parts["segments"].items()}
        arrays = {name: np.array(parts[name]) for name in ("tried", "profiles", "shares", "factors")}
        layers = Layers(np.array(parts["everyone"]), segments, **arrays)
        return cls(BestTimeConfig(**parts["config"]), layers)


@dataclass(frozen=True)
class Layers:
    """What is known of hours before the contact is asked; arrays of shape (HOURS,)."""

    everyone: Floats
    segments: dict[str, Floats]
    """Factors by segment; empty where segments do not surely differ."""
    tried: npt.NDArray[np.bool_]
    """Whether enough was ever sent at the hour to speak of it."""
    profiles: Floats
    """Kinds of weeks: when such people are there, shape (profiles, HOURS), rows summing to 1."""
    shares: Floats
    """How many are of each, shape (profiles,)."""
    factors: Floats
    """Response factors of each, shape (profiles, HOURS)."""

    @classmethod
    def flat(cls, tried: npt.NDArray[np.bool_]) -> Self:
        """Return that hours make no difference, but for those never tried."""
        one = np.ones((1, HOURS))
        return cls(one[0], {}, tried, one / HOURS, np.ones(1), one)

    @classmethod
    def of(cls, sent: Sent, count: int, config: BestTimeConfig, seed: int, by_segment: bool = False) -> Self:
        """Count responses over those expected, drawn to the wider layer (gamma-Poisson, Robbins 1956)."""
        near = kernel(config)

        def drawn(weights: Floats, prior: Floats, strength: float = config.prior_responses) -> Floats:
            answered, expected = (
                near @ np.bincount(sent.hours, weights=values * weights, minlength=HOURS)
                for values in (sent.responses, sent.expected)
            )
            return np.asarray((answered + strength * prior) / (expected + strength))

        everyone = drawn(np.ones(len(sent)), np.ones(HOURS))
        of_segment = sent.segments.astype(str)
        segments = {
            str(name): drawn((of_segment == name).astype(np.float64), everyone, config.segment_responses)
            for name in (np.unique(of_segment) if by_segment else ())
        }
        profiles, shares = _profiles(sent.seen, count, near, seed)
        belonging = _belonging(sent.seen, profiles, shares)
        factors = np.stack([drawn(column, everyone) for column in belonging.T])
        counts = np.bincount(sent.hours, minlength=HOURS).reshape(7, 24)
        of_kind = np.concatenate([np.tile(counts[:5].sum(axis=0), 5), np.tile(counts[5:].sum(axis=0), 2)])
        tried = of_kind >= config.least_tried
        if not tried.any():  # then none is known to be better than another
            tried = np.ones(HOURS, dtype=np.bool_)
        return cls(everyone, segments, tried, profiles, shares, factors)

    def belonging(self, seen: npt.NDArray[Any]) -> Floats:
        """Return P(profile | hours seen), shape (contacts, profiles)."""
        return _belonging(seen, self.profiles, self.shares)


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


def _belonging(seen: npt.NDArray[Any], profiles: Floats, shares: Floats) -> Floats:
    odds = seen @ np.log(profiles).T + np.log(shares)
    weights = np.exp(odds - odds.max(axis=1, keepdims=True))
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


def _profiles(seen: npt.NDArray[Any], count: int, near: Floats, seed: int) -> tuple[Floats, Floats]:
    """Return so many kinds of weeks and the share of each, by EM; hours near each other help each other."""
    random = np.random.default_rng(seed)
    spread = near / near.sum(axis=1, keepdims=True)
    rows = np.flatnonzero(seen.any(axis=1))
    rows = random.permutation(rows)[:MOST_ROWS]
    held = seen[rows].astype(np.float64)
    whole = held.sum(axis=0) @ spread + 1.0
    if count == 1 or len(rows) < count:
        return (whole / whole.sum())[None, :], np.ones(1)
    belonging = random.dirichlet(np.ones(count), len(rows))
    profiles, shares = np.empty((count, HOURS)), np.empty(count)
    for _ in range(STEPS):
        there = belonging.T @ held @ spread + whole / whole.sum()
        profiles = there / there.sum(axis=1, keepdims=True)
        shares = (belonging.sum(axis=0) + 1.0) / (len(rows) + count)
        belonging = _belonging(held, profiles, shares)
    return profiles, shares


def _gain(model: BestTime, late: Sent) -> Floats:
    """Return each later message's gain in log-likelihood over the probability without the hour.

    None at an untried hour: its factor is to keep away from it, and foretells nothing.
    """
    factor = model.factors(late.seen, late.segments)[np.arange(len(late)), late.hours]
    factor = np.where(model.learned.tried[late.hours], factor, 1.0)
    before = np.clip(late.expected, 1e-9, 1 - 1e-9)
    after = np.clip(before * factor, 1e-9, 1 - 1e-9)
    hit, miss = np.log(after / before), np.log1p(-after) - np.log1p(-before)
    return np.where(late.responses > 0, hit, miss)
