import json

import numpy as np
import pytest
from scipy.special import expit

from models._channel_linear import Linear
from models._scaling import FURTHEST


def messages(count, slopes, intercepts=(-0.5, -0.5, -0.5), seed=0, shares=None):
    """Messages whose log-odds rise with the first of two inputs by slopes[channel]."""
    random = np.random.default_rng(seed)
    inputs = random.normal(size=(count, 2))
    channel = random.choice(len(slopes), count, p=shares)
    tamed = np.sign(inputs) * np.log1p(np.abs(inputs))
    odds = np.array(slopes)[channel] * tamed[:, 0] / tamed[:, 0].std() + np.array(intercepts)[channel]
    return inputs, channel, (random.random(count) < expit(odds)).astype(float)


def test_each_channel_has_its_own_coefficient():
    inputs, channel, responses = messages(30_000, (1.0, -0.5, 0.0))
    model = Linear.learn(inputs, channel, responses, 3)
    whole = model.shared + model.own
    np.testing.assert_allclose(whole[:, 0], [1.0, -0.5, 0.0], atol=0.06)
    np.testing.assert_allclose(whole[:, 1], 0.0, atol=0.06)
    np.testing.assert_allclose(model.intercept, -0.5, atol=0.08)


def test_over_a_channel_that_little_went_out_over_everyones_coefficients_speak():
    inputs, channel, responses = messages(6_000, (1.0, 1.0, -1.0), shares=(0.499, 0.499, 0.002))
    model = Linear.learn(inputs, channel, responses, 3)
    assert (channel == 2).sum() < 25
    assert model.shared[0] > 0.7
    assert abs(model.own[2, 0]) < 0.4, "a dozen messages do not turn it round"
    assert (model.shared + model.own)[2, 0] > 0.5


def test_a_channel_without_any_message_answers_all_the_same():
    inputs, channel, responses = messages(2_000, (1.0, 1.0))
    model = Linear.learn(inputs, channel, responses, 3)
    assert model.own[2].tolist() == [0.0, 0.0]
    assert np.isfinite(model.odds(inputs, 2)).all()


def test_what_is_unknown_is_the_mean_and_what_is_constant_tells_nothing():
    inputs, channel, responses = messages(4_000, (1.0, 0.5))
    holes = inputs.copy()
    holes[::3, 1] = np.nan
    wide = np.column_stack([holes, np.full(len(inputs), 7.0), np.full(len(inputs), np.nan)])
    model = Linear.learn(wide, channel, responses, 2)
    assert np.abs(model.shared[2:]).max() < 1e-9
    assert np.abs(model.own[:, 2:]).max() < 1e-9
    row = np.array([[0.5, np.nan, 7.0, np.nan], [0.5, np.nan, 1e9, 3.0]])
    odds = model.odds(row, 0)
    assert odds[0] == pytest.approx(odds[1]), "even where it differs later"
    tamed_mean = np.sign(model.scaling.mean[1]) * np.expm1(np.abs(model.scaling.mean[1]))
    assert model.odds(np.array([[0.5, tamed_mean, 7.0, 0.0]]), 0)[0] == pytest.approx(odds[0])
    assert np.isfinite(model.odds(np.full((1, 4), np.nan), 1)).all()


def test_a_value_far_out_counts_as_that_far_and_no_further():
    inputs, channel, responses = messages(2_000, (1.0, 1.0))
    model = Linear.learn(inputs, channel, responses, 2)
    far, further = model.odds(np.array([[1e6, 0.0], [1e12, 0.0]]), 0)
    assert far == further
    steepest = np.abs(model.shared + model.own[0]).sum()
    assert np.abs(model.odds(inputs, 0) - model.intercept[0]).max() <= FURTHEST * steepest + 1e-9


@pytest.mark.parametrize("outcome", [0.0, 1.0])
def test_one_outcome_only_gives_finite_odds(outcome):
    inputs, channel, _ = messages(500, (1.0, 1.0))
    model = Linear.learn(inputs, channel, np.full(500, outcome), 2)
    odds = model.odds(inputs, 0)
    assert np.isfinite(odds).all()
    assert ((odds > 0) == (outcome == 1.0)).all()


def test_what_is_kept_gives_the_very_same_odds():
    inputs, channel, responses = messages(2_000, (1.0, -1.0))
    model = Linear.learn(inputs, channel, responses, 2)
    again = Linear.from_json(json.loads(json.dumps(model.to_json())))
    for place in range(2):
        np.testing.assert_array_equal(again.odds(inputs, place), model.odds(inputs, place))
