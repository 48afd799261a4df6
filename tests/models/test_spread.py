import json

import numpy as np
import pytest

from models._spread import Spread


def simulated(count, seed, nothing=True):
    """Spend of which an expectation is known; where told, small ones often come to `nothing`."""
    random = np.random.default_rng(seed)
    expected = np.exp(random.normal(3.0, 1.2, count))
    comes = random.random(count) < (expected / (expected + 10) if nothing else 1.0)
    actual = np.where(comes, expected * random.gamma(2.0, 0.7, count), 0.0)
    return expected, actual


@pytest.mark.parametrize("level", [0.8, 0.9])
@pytest.mark.parametrize("nothing", [True, False])
def test_it_holds_on_data_it_did_not_see(level, nothing):
    spread = Spread.learn(*simulated(6000, 0, nothing), level)
    expected, actual = simulated(30_000, 1, nothing)
    low, high = spread.interval(expected)
    held = (low <= actual) & (actual <= high)
    # where many come to nothing, nothing is at the lower end, and all of them are held
    most = level + (1 - level) / 2 if nothing else level
    assert level - 0.02 < held.mean() < most + 0.02
    for part in np.array_split(np.argsort(expected), 5):  # and of small and large alike
        assert held[part].mean() > level - 0.05


def test_it_contains_what_is_expected_and_the_unknown_stays_unknown():
    spread = Spread.learn(*simulated(500, 2), 0.8)
    expected = np.array([0.0, 1e-6, 1.0, 50.0, 1e6])
    low, high = spread.interval(expected)
    assert ((low <= expected) & (expected <= high) & (low >= 0)).all()
    assert np.isnan(spread.interval(np.array([np.nan]))).all()


def test_refunds_and_those_of_whom_nothing_is_expected_do_not_count():
    expected, actual = simulated(400, 3)
    whole = Spread.learn(np.append(expected, [0.0, np.nan]), np.append(actual, [5.0, 5.0]), 0.8)
    again = Spread.learn(expected, np.where(actual == 0, -7.0, actual), 0.8)
    for one in (whole, again):
        np.testing.assert_array_equal(
            one.interval(expected), Spread.learn(expected, actual, 0.8).interval(expected)
        )


def test_it_survives_json():
    spread = Spread.learn(*simulated(300, 4), 0.9)
    again = Spread.from_json(json.loads(json.dumps(spread.to_json())))
    asked = np.array([0.5, 5.0, 500.0])
    np.testing.assert_array_equal(again.interval(asked), spread.interval(asked))
