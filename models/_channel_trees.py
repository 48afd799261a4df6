"""The channel model's boosted trees: their settings, their input, their answer."""

from dataclasses import dataclass

import lightgbm as lgb
import numpy as np
from scipy.special import expit

from models._calibration import Calibration
from models._channel_linear import Linear
from models._ranked import Estimate
from models.base import Floats
from models.candidates import BLOCK, Candidates
from nextbest.columns import CONTACT_FEATURES

FEATURES = (*CONTACT_FEATURES, *BLOCK, "own_rate", "segment_rate", "channel_code")


@dataclass(frozen=True)
class ChannelConfig:
    """Settings of the channel model."""

    least_messages: int = 1000
    """Messages below which nothing is learned."""
    least_per_channel: int = 100
    """Messages over a channel below which the trees do not speak for it."""
    least_own: int = 3
    """Messages to a contact over a channel from which its rate counts as its own."""
    least_segment: int = 30
    """The same for a segment."""
    later_share: float = 0.3
    """The latest messages: kept from the trees, to calibrate them and to choose the policy on."""
    leaves: int = 7
    rounds: int = 150
    learning_rate: float = 0.03
    rows_in_leaf: int = 200
    features_a_tree: float = 0.5
    l2: float = 10.0
    threads: int = 1


@dataclass(frozen=True)
class Trees:
    """The booster, the channels it speaks for (their place is their code), and its calibration."""

    booster: lgb.Booster
    linear: Linear
    """What the booster starts from."""
    channels: tuple[str, ...]
    calibration: Calibration

    def probability(self, inputs: Floats, code: int) -> Floats:
        """Return the calibrated probability of messages over one channel; rows of FEATURES."""
        return self.calibration.of(raw_probability(self.booster, self.linear, inputs, code))


def raw_probability(booster: lgb.Booster, linear: Linear, inputs: Floats, code: int) -> Floats:
    """Return what the linear part and the trees on top of it say of one channel, before calibration."""
    odds = linear.odds(inputs[:, :-1], code)
    return np.asarray(expit(odds + np.asarray(booster.predict(inputs, raw_score=True, num_threads=1))))


def inputs_of(
    contacts: Floats,
    candidates: Candidates,
    smoothed: Estimate,
    prior: Floats,
    place: int,
    channels: tuple[str, ...],
) -> Floats:
    """Return the trees' input for one channel, shape (contacts, FEATURES); for training and serving."""
    code = float(channels.index(candidates.channels[place]))
    rates = np.column_stack([smoothed.probability[:, place], prior[:, place]])
    return np.hstack([contacts, candidates.blocks[:, place], rates, np.full((len(contacts), 1), code)])


def raw_probabilities(booster: lgb.Booster, linear: Linear, inputs: Floats) -> Floats:
    """Return the same of rows of any channel, each by the code in its last column."""
    raw = np.empty(len(inputs))
    for code in np.unique(inputs[:, -1]).astype(int):
        rows = inputs[:, -1] == code
        raw[rows] = raw_probability(booster, linear, inputs[rows], code)
    return raw


def grow(
    inputs: Floats, responses: Floats, channels: tuple[str, ...], config: ChannelConfig, seed: int
) -> tuple[Linear, lgb.Booster]:
    """Learn from rows of FEATURES: the linear part, and the trees on top of it."""
    codes = inputs[:, -1].astype(np.int64)
    linear = Linear.learn(inputs[:, :-1], codes, responses, len(channels))
    start = np.empty(len(inputs))
    for code in np.unique(codes):
        start[codes == code] = linear.odds(inputs[codes == code, :-1], int(code))
    return linear, boost(inputs, responses, start, config, seed)


def boost(inputs: Floats, responses: Floats, start: Floats, config: ChannelConfig, seed: int) -> lgb.Booster:
    """Grow trees on rows of FEATURES, beginning at `start` (log-odds)."""
    settings = {
        "objective": "binary",
        "num_leaves": config.leaves,
        "learning_rate": config.learning_rate,
        "min_data_in_leaf": max(5, min(config.rows_in_leaf, len(responses) // 50)),
        "feature_fraction": config.features_a_tree,
        "lambda_l2": config.l2,
        "seed": seed,
        "deterministic": True,
        "force_row_wise": True,
        "num_threads": config.threads,
        "verbose": -1,
    }
    names = list(FEATURES)
    data = lgb.Dataset(
        inputs, responses, init_score=start, feature_name=names, categorical_feature=["channel_code"]
    )
    return lgb.train(settings, data, config.rounds)
