import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit, logit

from models._certainty import GROUPS, LEAST, LEVEL, Certainty


def simulated(count, shift, seed):
    """Probabilities as a model gives them, and labels whose log-odds lie `shift` above."""
    random = np.random.default_rng(seed)
    told = random.beta(1.2, 1.6, count)
    truth = expit(logit(told) + shift)
    return told, truth, (random.random(count) < truth).astype(float)


@pytest.mark.parametrize("shift", [0.0, 0.5, -0.5])
def test_it_holds_the_true_rate_as_often_as_it_says(shift):
    held = []
    for seed in range(60):
        told, _, labels = simulated(1000, shift, seed)
        certainty = Certainty.learn(told, labels)
        # at the groups' own means, where nothing is interpolated
        at = expit(certainty.logits)
        low, high = certainty.interval(at)
        truth = expit(logit(at) + shift)
        held.append((low <= truth) & (truth <= high))
    share = float(np.mean(held))
    if shift == 0:  # it holds the probability itself, so where that is right it holds the truth always
        assert share == 1.0
    else:
        assert LEVEL - 0.03 < share < LEVEL + 0.07


def test_of_a_probability_that_is_right_its_width_is_that_of_a_sample():
    told, _, labels = simulated(20_000, 0.0, 1)
    low, high = Certainty.learn(told, labels).interval(np.array([0.5]))
    expected = 2 * 1.645 * np.sqrt(0.25 / (20_000 / GROUPS))
    assert expected * 0.9 < high[0] - low[0] < expected * 2.1
    few = Certainty.learn(told[:500], labels[:500]).interval(np.array([0.5]))
    assert few[1][0] - few[0][0] > 3 * (high[0] - low[0])


def test_what_is_observed_of_contacts_scored_alike_lies_within():
    told, _, labels = simulated(4000, 0.0, 2)
    certainty = Certainty.learn(told, labels)
    held = []
    for seed in range(3, 23):
        p, _, happened = simulated(40_000, 0.0, seed)
        low, high = certainty.interval(p)
        for part in np.array_split(np.argsort(p), GROUPS):
            held.append(low[part].mean() <= happened[part].mean() <= high[part].mean())
    assert np.mean(held) > 0.85


@given(
    st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=200),
    st.lists(st.floats(0, 1), min_size=1, max_size=20),
)
def test_it_contains_the_probability_stays_in_range_and_survives_json(seen, asked):
    p, happened = (np.array(side, dtype=float) for side in zip(*seen, strict=True))
    certainty = Certainty.learn(p, happened)
    at = np.array(asked)
    low, high = certainty.interval(at)
    assert ((low >= 0) & (low <= at) & (at <= high) & (high <= 1)).all()
    again = Certainty.from_json(json.loads(json.dumps(certainty.to_json())))
    for one, other in zip(again.interval(at), (low, high), strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_unknown_stays_unknown_and_ties_are_one_group():
    certainty = Certainty.learn(np.full(10 * LEAST, 0.3), np.tile([0.0, 1.0, 0.0], 10 * LEAST)[: 10 * LEAST])
    low, high = certainty.interval(np.array([np.nan, 0.3]))
    assert np.isnan([low[0], high[0]]).all()
    assert low[1] < 0.3 < high[1]
