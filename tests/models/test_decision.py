import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from models.decision import NOTHING, best, explored, weigh

CONTACTS, CHANNELS, SLOTS = 4, 3, 5
MONEY = st.floats(-10, 10)
SPREAD = st.floats(0, 5)


def table(elements, *shape):
    return arrays(np.float64, shape or (CONTACTS, CHANNELS), elements=elements)


def mask(*shape):
    return arrays(np.bool_, shape or (CONTACTS, CHANNELS))


ORDERS = st.lists(st.permutations(range(CHANNELS)), min_size=CONTACTS, max_size=CONTACTS).map(np.array)


# --- hours


def weighed(factors, quiet=None, prefer=None, probability=0.1, value=10.0, cost=0.0, loss=0.0):
    """One contact, one channel."""
    factors = np.array([factors], dtype=float)
    quiet = np.zeros(factors.shape[1], dtype=bool) if quiet is None else np.array(quiet)
    given_ = weigh(
        np.array([[probability]]), np.array([[value]]), np.array([cost]), np.array([[loss]]), factors,
        quiet[None, None, :], None if prefer is None else np.array([prefer]),
    )  # fmt: skip
    return given_.slot[0, 0], given_.probability[0, 0], given_.worth[0, 0]


def test_the_best_hour_is_taken_and_of_equal_ones_the_first():
    assert weighed([1.0, 2.0, 1.5])[0] == 1
    assert weighed([1.0, 1.0, 1.0])[0] == 0
    assert weighed([0.5, 2.0, 2.0])[0] == 1


def test_a_message_is_worth_its_response_at_that_hour_less_cost_and_loss():
    slot, probability, worth = weighed([1.0, 2.0], probability=0.1, value=10.0, cost=0.25, loss=0.5)
    assert slot == 1
    assert probability == pytest.approx(0.2)
    assert worth == pytest.approx(0.2 * 10.0 - 0.25 - 0.5)


def test_a_preference_moves_the_hour_but_not_the_probability():
    slot, probability, worth = weighed([1.5, 1.0], prefer=[0.5, 1.0])
    assert (slot, probability, worth) == (1, pytest.approx(0.1), pytest.approx(1.0))
    slot, probability, _ = weighed([3.0, 1.0], prefer=[0.5, 1.0])
    assert (slot, probability) == (0, pytest.approx(0.3)), "the factor counts in full where it wins anyway"


def test_a_quiet_hour_is_passed_over_however_good():
    assert weighed([4.0, 1.0, 2.0], quiet=[True, False, False])[0] == 2


def test_where_every_hour_is_quiet_there_is_none_and_the_worth_is_that_of_any_hour():
    slot, probability, worth = weighed([4.0, 2.0], quiet=[True, True])
    assert (slot, probability, worth) == (NOTHING, pytest.approx(0.1), pytest.approx(1.0))


def test_a_probability_stays_one():
    assert weighed([4.0], probability=0.5)[1] == 1.0


@given(
    table(st.floats(0, 1)), table(st.floats(0, 100)), table(st.floats(0, 5), CHANNELS),
    table(st.floats(0, 5)),
    table(st.floats(0.25, 4), CONTACTS, SLOTS), mask(CONTACTS, CHANNELS, SLOTS),
    st.none() | table(st.sampled_from([0.5, 1.0]), CONTACTS, SLOTS),
)  # fmt: skip
def test_no_quiet_hour_is_ever_taken_and_none_would_have_been_better(
    probability, value, cost, loss, factors, quiet, prefer
):
    found = weigh(probability, value, cost, loss, factors, quiet, prefer)
    wanted = factors if prefer is None else factors * prefer
    for row in range(CONTACTS):
        for place in range(CHANNELS):
            slot = found.slot[row, place]
            if quiet[row, place].all():
                assert slot == NOTHING
                continue
            assert not quiet[row, place, slot]
            free = wanted[row][~quiet[row, place]]
            assert wanted[row, slot] == free.max()
            assert found.probability[row, place] == min(1.0, probability[row, place] * factors[row, slot])
    assert ((found.probability >= 0) & (found.probability <= 1)).all()


# --- choosing


@given(table(MONEY), mask(), ORDERS)
def test_the_first_channel_allowed_and_worth_sending_is_chosen(worth, allowed, order):
    chosen = best(worth, allowed, order)
    for row in range(CONTACTS):
        good = [place for place in order[row] if allowed[row, place] and worth[row, place] > 0]
        assert chosen.place[row] == (good[0] if good else NOTHING)
    assert (chosen.propensity == 1).all()


def test_the_order_given_decides_not_the_worth():
    worth, allowed = np.array([[1.0, 9.0, 5.0]]), np.ones((1, 3), dtype=bool)
    assert best(worth, allowed, np.array([[2, 0, 1]])).place.tolist() == [2]


def test_an_unknown_worth_is_not_sent():
    worth, allowed = np.array([[np.nan, 0.0, -1.0]]), np.ones((1, 3), dtype=bool)
    assert best(worth, allowed, np.array([[0, 1, 2]])).place.tolist() == [NOTHING]


# --- exploring


@given(table(MONEY), table(SPREAD), mask(), st.floats(0, 1), st.integers(0, 2**32))
def test_chance_chooses_only_what_is_allowed_and_worth_sending(worth, spread, allowed, floor, seed):
    chosen = explored(worth, spread, allowed, floor, np.random.default_rng(seed))
    open_mask = allowed & (worth > 0)
    for row, place in enumerate(chosen.place):
        if not open_mask[row].any():
            assert (place, chosen.propensity[row]) == (NOTHING, 1.0)
            continue
        assert open_mask[row, place]
        least = floor / open_mask[row].sum()
        assert least - 1e-12 <= chosen.propensity[row] <= 1 + 1e-12
        assert chosen.propensity[row] > 0


@pytest.mark.parametrize("floor", [0.0, 0.1, 1.0])
def test_the_propensities_are_the_frequencies_and_sum_to_1(floor):
    draws = 20_000
    worth = np.tile([2.0, -1.0, 3.0, 2.5, 9.0], (draws, 1))
    allowed = np.tile([True, True, True, True, False], (draws, 1))
    chosen = explored(worth, np.full(worth.shape, 0.7), allowed, floor, np.random.default_rng(3))
    said = {}
    for place in np.unique(chosen.place):
        (propensity,) = np.unique(chosen.propensity[chosen.place == place])
        said[int(place)] = propensity
        error = 4.5 * np.sqrt(propensity * (1 - propensity) / draws)
        assert (chosen.place == place).mean() == pytest.approx(propensity, abs=error)
        assert propensity >= floor / 3
    assert set(said) == {0, 2, 3}
    assert sum(said.values()) == pytest.approx(1.0)
    odds = np.exp(np.array([2.0, 3.0, 2.5]) / 0.7)
    expected = (1 - floor) * odds / odds.sum() + floor / 3
    np.testing.assert_allclose([said[0], said[2], said[3]], expected, rtol=1e-9)


def test_a_contact_of_whom_nothing_is_unknown_gets_the_best_but_for_the_floor():
    worth, allowed = np.tile([1.0, 2.0], (2_000, 1)), np.ones((2_000, 2), dtype=bool)
    certain = explored(worth, np.zeros_like(worth), allowed, 0.0, np.random.default_rng(0))
    assert (certain.place == 1).all()
    assert (certain.propensity == 1).all()
    floored = explored(worth, np.zeros_like(worth), allowed, 0.2, np.random.default_rng(0))
    assert floored.propensity[floored.place == 0] == pytest.approx(0.1)


@settings(max_examples=50)
@given(table(st.floats(1e-9, 10)), table(SPREAD), mask(), st.integers(0, 2**32))
def test_the_same_seed_chooses_the_same(worth, spread, allowed, seed):
    one, again = (explored(worth, spread, allowed, 0.1, np.random.default_rng(seed)) for _ in range(2))
    np.testing.assert_array_equal(one.place, again.place)
    np.testing.assert_array_equal(one.propensity, again.propensity)
