"""What a response is worth: the money that messages over a channel brought, once they were answered.

A click on a call may sell more than one on an advertisement, and a contact of large baskets more than one of
small ones. Three answers are learned, and the simplest kept that later responses do not surely contradict:
one worth for all, one a channel, and one that follows from what is known of the contact, too (a regression
with a logarithmic link by the Poisson likelihood, which needs the mean to be right and nothing else:
Gourieroux, Monfort and Trognon 1984).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize

from models._scaling import Scaling
from models.base import Floats
from models.policy import surely_gains

Kept = Literal["one", "channels", "contacts"]
STRENGTH = 100.0
"""Responses everyone's worth weighs as much as in each channel's."""
RIDGE = 100.0
"""Penalty on the coefficients, in units of one response of mean worth."""
LEAST = 2_000
"""Responses below which contacts are not told apart."""
MOST_ODDS = 3.0
"""No contact's worth is beyond e to this times its channel's."""


@dataclass(frozen=True)
class Answered:
    """Responses in the order of their messages; arrays with an entry each."""

    contacts: Floats
    """Shape (responses, features)."""
    channel: npt.NDArray[np.int64]
    earned: Floats
    """Money, 0 for most."""

    def __len__(self) -> int:
        return len(self.earned)

    def take(self, rows: slice) -> "Answered":
        """Return some of them."""
        return Answered(self.contacts[rows], self.channel[rows], self.earned[rows])


class ResponseWorth:
    """Answers with the expected money of a response, for each contact and channel."""

    def __init__(
        self, kept: Kept, everyone: float, channels: Mapping[str, float], contacts: "Slopes | None"
    ) -> None:
        self.kept, self.everyone, self.channels, self.contacts = kept, everyone, dict(channels), contacts
        self.uplift: dict[str, float] = {}
        """Channel -> share of its worth that would not have come anyway, where that is known."""

    @classmethod
    def learn(cls, answered: Answered, names: tuple[str, ...], later_share: float = 0.3) -> Self:
        """Learn from responses, choosing on the later ones; what is chosen is learned again from all."""
        cut = int(len(answered) * (1 - later_share))
        early, late = answered.take(slice(0, cut)), answered.take(slice(cut, None))
        kept: Kept = "one"
        if len(early) and len(late) and early.earned.any():
            model = cls._fitted(early, names)
            options: tuple[Kept, ...] = ("channels", "contacts") if len(early) >= LEAST else ("channels",)
            for option in options:
                if surely_gains(model._loss(late, names, kept) - model._loss(late, names, option)):
                    kept = option
        found = cls._fitted(answered, names)
        return cls(kept, found.everyone, found.channels, found.contacts if kept == "contacts" else None)

    def of(self, contacts: Floats, channels: tuple[str, ...]) -> Floats:
        """Return the expected money of a response, shape (contacts, channels)."""
        share = np.array([self.uplift.get(name, 1.0) for name in channels])
        return np.asarray(self._of(contacts, channels, self.kept) * share)

    @classmethod
    def _fitted(cls, answered: Answered, names: tuple[str, ...]) -> Self:
        everyone, channels = _means(answered, names)
        offset = np.array([channels[name] for name in names])[answered.channel]
        return cls("contacts", everyone, channels, Slopes.learn(answered, offset, everyone))

    def _of(self, contacts: Floats, channels: tuple[str, ...], kept: Kept) -> Floats:
        known = {} if kept == "one" else self.channels
        worth = np.array([known.get(name, self.everyone) for name in channels])
        if kept != "contacts" or self.contacts is None:
            return np.broadcast_to(worth, (len(contacts), len(channels))).copy()
        return np.asarray(self.contacts.times(contacts)[:, None] * worth)

    def _loss(self, late: Answered, names: tuple[str, ...], kept: Kept) -> Floats:
        """Return the Poisson deviance of each response, without what does not depend on the estimate."""
        worth = self._of(late.contacts, names, kept)[np.arange(len(late)), late.channel]
        worth = np.maximum(worth, 1e-9)
        return np.asarray((worth - late.earned * np.log(worth)) / max(self.everyone, 1e-9))

    def save(self, folder: Path) -> None:
        """Write response_worth.json."""
        parts = {
            "kept": self.kept,
            "everyone": self.everyone,
            "channels": self.channels,
            "contacts": None if self.contacts is None else self.contacts.to_json(),
            "uplift": self.uplift,
        }
        (folder / "response_worth.json").write_text(json.dumps(parts))

    @staticmethod
    def in_folder(folder: Path) -> bool:
        """Tell whether save wrote anything there."""
        return (folder / "response_worth.json").exists()

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what save wrote."""
        parts = json.loads((folder / "response_worth.json").read_text())
        slopes, uplift = parts.pop("contacts"), parts.pop("uplift")
        found = cls(**parts, contacts=None if slopes is None else Slopes.from_json(slopes))
        found.uplift = uplift
        return found


@dataclass(frozen=True)
class Slopes:
    """How much more than the average a response of a contact brings, from what is known of it."""

    scaling: Scaling
    slopes: Floats
    level: float

    @classmethod
    def learn(cls, answered: Answered, offset: Floats, unit: float) -> Self:
        """Fit earned = offset · exp(level + slopes · scaled) by maximum penalised likelihood."""
        scaling = Scaling.learn(answered.contacts)
        x, y = scaling.of(answered.contacts), answered.earned / max(unit, 1e-9)
        base = np.log(np.maximum(offset / max(unit, 1e-9), 1e-6))

        def loss(weights: Floats) -> tuple[float, Floats]:
            odds = base + np.clip(x @ weights[:-1] + weights[-1], -10.0, 10.0)
            mean = np.exp(odds)
            total = float(mean.sum() - y @ odds) + 0.5 * RIDGE * float(weights[:-1] @ weights[:-1])
            missed = mean - y
            return total, np.append(missed @ x + RIDGE * weights[:-1], missed.sum())

        end = minimize(loss, np.zeros(x.shape[1] + 1), jac=True, method="L-BFGS-B", options={"maxiter": 200})
        return cls(scaling, end.x[:-1], float(end.x[-1]))

    def times(self, contacts: Floats) -> Floats:
        """Return the factor of each contact, shape (contacts,)."""
        odds = self.scaling.of(contacts) @ self.slopes + self.level
        return np.asarray(np.exp(np.clip(odds, -MOST_ODDS, MOST_ODDS)))

    def to_json(self) -> dict[str, Any]:
        """Return what from_json reads."""
        return {"scaling": self.scaling.to_json(), "slopes": self.slopes.tolist(), "level": self.level}

    @classmethod
    def from_json(cls, parts: dict[str, Any]) -> Self:
        """Read what to_json gave."""
        return cls(Scaling.from_json(parts["scaling"]), np.array(parts["slopes"]), parts["level"])


def _means(answered: Answered, names: tuple[str, ...]) -> tuple[float, dict[str, float]]:
    everyone = float(answered.earned.mean()) if len(answered) else 0.0
    total = np.bincount(answered.channel, answered.earned, minlength=len(names))
    count = np.bincount(answered.channel, minlength=len(names))
    drawn = (total + STRENGTH * everyone) / (count + STRENGTH)
    return everyone, {name: float(worth) for name, worth in zip(names, drawn, strict=True)}
