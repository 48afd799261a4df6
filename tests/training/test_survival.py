import numpy as np
import pytest

from training._survival import Survival

WEEKS = [6, 6, 6, 6, 7, 9, 10, 10, 11, 13, 16, 17, 19, 20, 22, 23, 25, 32, 32, 34, 35]
RELAPSED = [1, 1, 1, 0, 1, 0, 1, 0, 0, 1, 1, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0]


def test_the_published_remission_times():
    """The 6-MP arm of Freireich et al. (1963), as in Kalbfleisch & Prentice."""
    found = Survival.learn(np.array(WEEKS, dtype=float), np.array(RELAPSED, dtype=bool))
    assert found.times.tolist() == [6, 7, 10, 13, 16, 22, 23]
    expected = [0.8571, 0.8067, 0.7529, 0.6902, 0.6275, 0.5378, 0.4482]
    assert found.share == pytest.approx(expected, abs=5e-5)
    assert found.quantile(0.5) == 23
    assert found.low[0] == pytest.approx(0.6197, abs=1e-4)
    assert found.high[0] == pytest.approx(0.9516, abs=1e-4)
    low, high = found.quantile_interval(0.5)
    assert low == 13
    assert np.isnan(high)
    assert np.isnan(found.quantile(0.75)), "fewer than three quarters relapsed"


def test_without_waiting_it_is_the_plain_quantile():
    days = np.arange(1.0, 101.0)
    found = Survival.learn(days, np.ones(100, dtype=bool))
    assert [found.quantile(part) for part in (0.25, 0.5, 0.75, 1.0)] == [25, 50, 75, 100]


def test_nobody_and_nothing_happened():
    for days in (np.empty(0), np.array([3.0, 4.0])):
        found = Survival.learn(days, np.zeros(len(days), dtype=bool))
        assert np.isnan(found.quantile(0.5))
