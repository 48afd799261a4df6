"""What a response is worth: the money that messages over a channel brought, once they were answered.

A click on a call may sell more than one on an advertisement, and a contact of large baskets more than one of
small ones. Three answers are learned, and the simplest kept that later responses do not surely contradict:
one worth for all, one a channel, and boosted trees over contact and channel.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

import lightgbm as lgb
import numpy as np
import numpy.typing as npt

from models.base import Floats

Kept = Literal["one", "channels", "trees"]
STRENGTH = 100.0
"""Responses everyone's worth weighs as much as in each channel's."""
SURE = 1.645
"""Standard errors by which a finer answer must beat the coarser one on later responses."""
POWER = 1.3
"""Of the Tweedie deviance: mostly nothing, sometimes a basket (Jørgensen 1987)."""
SETTINGS = {
    "objective": "tweedie",
    "tweedie_variance_power": POWER,
    "num_leaves": 7,
    "learning_rate": 0.05,
    "min_data_in_leaf": 100,
    "lambda_l2": 10.0,
    "feature_fraction": 0.5,
    "deterministic": True,
    "force_row_wise": True,
    "num_threads": 1,
    "verbose": -1,
}
ROUNDS = 120
LEAST = 2_000
"""Responses below which no trees are grown."""


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
        self, kept: Kept, everyone: float, channels: Mapping[str, float], trees: lgb.Booster | None
    ) -> None:
        self.kept, self.everyone, self.channels, self.trees = kept, everyone, dict(channels), trees
        self._codes = {name: code for code, name in enumerate(channels)}

    @classmethod
    def learn(cls, answered: Answered, names: tuple[str, ...], seed: int, later_share: float = 0.3) -> Self:
        """Learn from responses, choosing on the later ones; what is chosen is learned again from all."""
        cut = int(len(answered) * (1 - later_share))
        early, late = answered.take(slice(0, cut)), answered.take(slice(cut, None))
        kept: Kept = "one"
        if len(early) and len(late) and early.earned.any():
            trees = _grow(early, seed) if len(early) >= LEAST else None
            model = cls("one", *_means(early, names), trees)
            options: tuple[Kept, ...] = ("channels", "trees") if trees is not None else ("channels",)
            for option in options:
                gain = model._loss(late, names, kept) - model._loss(late, names, option)
                if gain.mean() > SURE * gain.std() / np.sqrt(len(gain)):
                    kept = option
        grown = _grow(answered, seed) if kept == "trees" else None
        return cls(kept, *_means(answered, names), grown)

    def of(self, contacts: Floats, channels: tuple[str, ...]) -> Floats:
        """Return the expected money of a response, shape (contacts, channels)."""
        rows = [self._of(contacts, name, self.kept) for name in channels]
        return np.stack(rows, axis=1)

    def _of(self, contacts: Floats, name: str, kept: Kept) -> Floats:
        if kept == "trees" and self.trees is not None and name in self._codes:
            code = np.full((len(contacts), 1), float(self._codes[name]))
            return np.asarray(self.trees.predict(np.hstack([contacts, code]), num_threads=1))
        worth = self.everyone if kept == "one" else self.channels.get(name, self.everyone)
        return np.full(len(contacts), worth)

    def _loss(self, late: Answered, names: tuple[str, ...], kept: Kept) -> Floats:
        """Return the Tweedie deviance of each response, without what does not depend on the estimate."""
        worth = np.empty(len(late))
        for place in np.unique(late.channel):
            rows = late.channel == place
            worth[rows] = self._of(late.contacts[rows], names[place], kept)
        worth = np.maximum(worth, 1e-9)
        return np.asarray(
            worth ** (2 - POWER) / (2 - POWER) - late.earned * worth ** (1 - POWER) / (1 - POWER)
        )

    def save(self, folder: Path) -> None:
        """Write response_worth.json, and response_worth.txt where trees were kept."""
        parts = {"kept": self.kept, "everyone": self.everyone, "channels": self.channels}
        (folder / "response_worth.json").write_text(json.dumps(parts))
        if self.trees is not None:
            self.trees.save_model(folder / "response_worth.txt")

    @staticmethod
    def in_folder(folder: Path) -> bool:
        """Tell whether save wrote anything there."""
        return (folder / "response_worth.json").exists()

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what save wrote."""
        parts, trees = json.loads((folder / "response_worth.json").read_text()), folder / "response_worth.txt"
        return cls(**parts, trees=lgb.Booster(model_file=trees) if trees.exists() else None)


def _means(answered: Answered, names: tuple[str, ...]) -> tuple[float, dict[str, float]]:
    everyone = float(answered.earned.mean()) if len(answered) else 0.0
    total = np.bincount(answered.channel, answered.earned, minlength=len(names))
    count = np.bincount(answered.channel, minlength=len(names))
    drawn = (total + STRENGTH * everyone) / (count + STRENGTH)
    return everyone, {name: float(worth) for name, worth in zip(names, drawn, strict=True)}


def _grow(answered: Answered, seed: int) -> lgb.Booster:
    inputs = np.hstack([answered.contacts, answered.channel[:, None].astype(np.float64)])
    data = lgb.Dataset(inputs, answered.earned, categorical_feature=[inputs.shape[1] - 1])
    return lgb.train({**SETTINGS, "seed": seed}, data, ROUNDS)
