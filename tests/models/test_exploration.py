from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.exploration import explore, generator
from nextbest.errors import BadInput


@pytest.mark.parametrize(("slots", "pool", "epsilon"), [(5, 8, 0.3), (6, 2, 0.5), (3, 3, 0.1), (4, 9, 1.0)])
def test_the_propensities_are_the_frequencies(slots, pool, epsilon):
    rng, draws = np.random.default_rng(1), 3_000
    shown, said = Counter(), {}
    for _ in range(draws):
        draw = explore(slots, pool, epsilon, rng)
        for slot, (place, propensity) in enumerate(zip(draw.chosen, draw.propensities, strict=True)):
            name = ("slot", slot) if place is None else ("pool", place)
            shown[name] += 1
            assert said.setdefault(name, propensity) == propensity, (
                "it is a property of the item, not the draw"
            )
    for name, propensity in said.items():
        error = 4.5 * np.sqrt(propensity * (1 - propensity) / draws)
        assert shown[name] / draws == pytest.approx(propensity, abs=error + 1e-12), name
    assert len(said) == (pool if epsilon == 1.0 else slots + pool)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 30), st.integers(0, 40), st.floats(0, 1), st.integers(0, 2**32))
def test_no_item_twice_and_every_propensity_above_0(slots, pool, epsilon, seed):
    draw = explore(slots, pool, epsilon, np.random.default_rng(seed))
    new = [place for place in draw.chosen if place is not None]
    assert len(draw.chosen) == len(draw.propensities) == slots
    assert len(set(new)) == len(new) <= draw.at_risk == min(slots, pool)
    assert all(0 <= place < pool for place in new)
    assert all(0 < propensity <= 1 for propensity in draw.propensities)


def test_without_new_items_or_chance_nothing_changes():
    for pool, epsilon in ((0, 0.5), (10, 0.0)):
        draw = explore(4, pool, epsilon, np.random.default_rng(0))
        assert (draw.chosen, draw.propensities) == ((None,) * 4, (1.0,) * 4)


def test_a_decision_can_be_replayed():
    one, again = (explore(10, 50, 0.5, generator("9f" * 16)) for _ in range(2))
    assert one == again
    assert one != explore(10, 50, 0.5, generator("9e" * 16))


def test_a_probability_is_one():
    with pytest.raises(BadInput, match="epsilon is"):
        explore(1, 1, 1.5, np.random.default_rng(0))
