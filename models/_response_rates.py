"""Response rates in three layers: a contact's own, drawn to its segment's, drawn to everyone's."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.optimize import minimize
from scipy.special import betaln

from models.base import Floats

DEFAULT_STRENGTH = 20.0
"""Messages a prior weighs as much as, where too few contacts are there to learn it."""
LEAST_GROUPS = 10
WEAKEST, STRONGEST = 0.5, 5000.0


@dataclass(frozen=True)
class Beta:
    """A rate and how many messages it weighs as much as."""

    mean: float
    strength: float

    @classmethod
    def learn(cls, answered: Floats, sent: Floats, fallback: float) -> Self:
        """Fit a beta-binomial to groups by maximum likelihood (empirical Bayes, Casella 1985).

        With few groups the mean is their pooled rate and the strength DEFAULT_STRENGTH; without messages the
        mean is `fallback`.
        """
        total = float(sent.sum())
        mean = (float(answered.sum()) + fallback) / (total + 1)
        if (sent > 0).sum() < LEAST_GROUPS:
            return cls(mean, DEFAULT_STRENGTH)
        pairs, counts = np.unique(np.stack([answered, sent], axis=1), axis=0, return_counts=True)
        hits, misses = pairs[:, 0], pairs[:, 1] - pairs[:, 0]

        def loss(logs: Floats) -> float:
            strength = np.exp(logs[1])
            rate = 1 / (1 + np.exp(-logs[0]))
            a, b = rate * strength, (1 - rate) * strength
            return -float(counts @ (betaln(a + hits, b + misses) - betaln(a, b))) / total

        start = (np.log(mean / (1 - mean)), np.log(DEFAULT_STRENGTH))
        bounds = [(-14, 14), (np.log(WEAKEST), np.log(STRONGEST))]
        end = minimize(loss, start, method="L-BFGS-B", bounds=bounds)
        return cls(float(1 / (1 + np.exp(-end.x[0]))), float(np.exp(end.x[1])))


@dataclass(frozen=True)
class ResponseRates:
    """Priors by channel, and the segments' rates drawn to them."""

    overall: float
    """Rate over all channels; the mean for a channel nothing was ever sent over."""
    channels: dict[str, Beta]
    sent: dict[str, float]
    segments: dict[str, dict[str, float]]
    """segment -> channel -> rate."""
    segment_sent: dict[str, dict[str, float]]

    @classmethod
    def learn(cls, messages: pd.DataFrame) -> Self:
        """Learn from one row a message: contact_id, segment, channel, response (0 or 1)."""
        overall = (float(messages["response"].sum()) + 0.5) / (len(messages) + 10)
        channels, sent = {}, {}
        segments: dict[str, dict[str, float]] = {}
        segment_sent: dict[str, dict[str, float]] = {}
        for channel, of_channel in messages.groupby("channel", sort=True):
            name = str(channel)
            by_contact = (
                of_channel.groupby("contact_id")["response"].agg(["sum", "size"]).to_numpy(np.float64)
            )
            channels[name] = Beta.learn(by_contact[:, 0], by_contact[:, 1], overall)
            sent[name] = float(len(of_channel))
            by_segment = of_channel.groupby("segment", sort=True)["response"].agg(["sum", "size"])
            answered, size = by_segment.to_numpy(np.float64).T
            between = Beta.learn(answered, size, channels[name].mean)
            rates = (between.strength * channels[name].mean + answered) / (between.strength + size)
            for segment, rate, count in zip(by_segment.index, rates, size, strict=True):
                segments.setdefault(str(segment), {})[name] = float(rate)
                segment_sent.setdefault(str(segment), {})[name] = float(count)
        return cls(overall, channels, sent, segments, segment_sent)

    def priors(
        self, segments: npt.NDArray[np.object_], channels: tuple[str, ...]
    ) -> tuple[Floats, Floats, Floats]:
        """Return (mean, strength, messages of the segment), each of shape (contacts, channels)."""
        names, codes = np.unique(segments.astype(str), return_inverse=True)
        shape = (len(names), len(channels))
        mean = np.array([self._rate(s, c) for s in names for c in channels]).reshape(shape)
        of_segment = [self.segment_sent.get(s, {}).get(c, 0.0) for s in names for c in channels]
        count = np.array(of_segment).reshape(shape)
        strength = np.array([self._prior(c).strength for c in channels])
        return mean[codes], np.broadcast_to(strength, (len(codes), len(channels))), count[codes]

    def rate(self, channel: str) -> float:
        """Return everyone's rate over a channel."""
        return self._prior(channel).mean

    def _rate(self, segment: str, channel: str) -> float:
        return self.segments.get(segment, {}).get(channel, self.rate(channel))

    def _prior(self, channel: str) -> Beta:
        return self.channels.get(channel, Beta(self.overall, WEAKEST * 4))

    def to_json(self) -> dict[str, Any]:
        """Return what from_json reads."""
        priors = {name: [prior.mean, prior.strength] for name, prior in self.channels.items()}
        return {
            "overall": self.overall,
            "channels": priors,
            "sent": self.sent,
            "segments": self.segments,
            "segment_sent": self.segment_sent,
        }

    @classmethod
    def from_json(cls, parts: dict[str, Any]) -> Self:
        """Read what to_json gave."""
        channels = {name: Beta(*prior) for name, prior in parts["channels"].items()}
        return cls(**{**parts, "channels": channels})
