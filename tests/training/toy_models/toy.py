"""A model whose quality is chosen beforehand: it sees the truth through a known amount of noise."""

import json
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd


@dataclass(frozen=True)
class ToyConfig:
    noise: float = 0.0


class Toy:
    """Scores x, blurred."""

    kind = "toy"

    def __init__(self, config):
        self.config = config

    def score(self, frame):
        blur = np.random.default_rng(0).normal(0, 1, len(frame)) * self.config.noise
        return pd.DataFrame({"probability": 1 / (1 + np.exp(-(frame["x"] + blur)))}, index=frame.index)

    def save(self, folder):
        (folder / "toy.json").write_text(json.dumps(asdict(self.config)))

    @classmethod
    def load(cls, folder):
        return cls(ToyConfig(**json.loads((folder / "toy.json").read_text())))
