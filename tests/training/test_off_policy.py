from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import t as student

from nextbest.errors import BadInput, NotReady
from training import off_policy as ope

ARMS = 3


def drawn(seed: int = 0, contacts: int = 400, each: int = 3) -> tuple[ope.Log, np.ndarray, np.ndarray]:
    """Return a simulated log, its propensities (n, arms) and the true rewards (n, arms)."""
    random = np.random.default_rng(seed)
    who = np.repeat(np.arange(contacts), each)
    trait = random.integers(0, 2, contacts)[who]
    propensities = np.array([[0.6, 0.3, 0.1], [0.2, 0.3, 0.5]])[trait]
    truth = np.array([[0.2, 0.4, 0.6], [0.5, 0.3, 0.1]])[trait]
    actions = (random.random(len(who))[:, None] > propensities.cumsum(axis=1)).sum(axis=1)
    rewards = (random.random(len(who)) < truth[np.arange(len(who)), actions]).astype(float)
    chosen = propensities[np.arange(len(who)), actions]
    return ope.Log(actions, rewards, chosen, who), propensities, truth


LOG = ope.Log(np.array([0, 1, 1, 0]), np.array([1.0, 0.0, 1.0, 0.0]), np.array([0.5, 0.5, 0.25, 0.8]))
POLICY = np.array([[1.0, 0.0], [0.5, 0.5], [0.0, 1.0], [0.4, 0.6]])
WEIGHTS = np.array([2.0, 1.0, 4.0, 0.5])

# --- estimators


def test_inverse_propensity_by_hand():
    found = ope.ips(LOG, POLICY)
    assert found.value == pytest.approx((2 + 4) / 4)
    assert found.standard_error == pytest.approx(np.std([2, 0, 4, 0], ddof=1) / 2)
    assert found.effective_sample_size == pytest.approx(7.5**2 / (WEIGHTS @ WEIGHTS))
    assert (found.rows, found.units, found.level, found.clipped) == (4, 4, 0.9, 0)


def test_self_normalised_by_hand():
    found = ope.snips(LOG, POLICY)
    assert found.value == pytest.approx(6 / 7.5)
    influence = WEIGHTS * (LOG.rewards - 0.8) / WEIGHTS.mean()
    assert found.standard_error == pytest.approx(np.sqrt(4 / 3 * influence @ influence) / 4)
    quantile = student.ppf(0.95, found.effective_sample_size - 1)
    assert found.high - found.value == pytest.approx(quantile * found.standard_error)
    assert found.value - found.low == pytest.approx(found.high - found.value)


def test_doubly_robust_by_hand():
    predictions = np.array([[0.5, 0.1], [0.4, 0.2], [0.3, 0.7], [0.2, 0.6]])
    expected = [0.5 + 2 * 0.5, 0.3 + 1 * -0.2, 0.7 + 4 * 0.3, 0.44 + 0.5 * -0.2]
    found = ope.doubly_robust(LOG, POLICY, predictions)
    assert found.value == pytest.approx(np.mean(expected))
    assert found.standard_error == pytest.approx(np.std(expected, ddof=1) / 2)


def test_without_a_model_doubly_robust_is_inverse_propensity():
    log, propensities, _ = drawn()
    target = propensities[:, ::-1]
    assert ope.doubly_robust(log, target, np.zeros_like(target)) == ope.ips(log, target)


def test_a_perfect_model_of_sure_rewards_leaves_only_who_was_there():
    log, propensities, truth = drawn()
    sure = replace(log, rewards=truth[np.arange(len(log)), log.actions])
    found = ope.doubly_robust(sure, propensities[:, ::-1], truth)
    assert found.value == pytest.approx((truth * propensities[:, ::-1]).sum(axis=1).mean())


@pytest.mark.parametrize("estimator", [ope.ips, ope.snips])
def test_the_logs_own_policy_earned_what_it_earned(estimator):
    log, propensities, _ = drawn()
    assert estimator(log, propensities).value == pytest.approx(log.rewards.mean())


@given(st.integers(0, 10_000), st.floats(-5, 5))
def test_self_normalised_is_within_the_rewards_and_moves_with_them(seed, shift):
    random = np.random.default_rng(seed)
    rewards = random.normal(size=20)
    log = ope.Log(random.integers(0, ARMS, 20), rewards, random.uniform(0.01, 1, 20), np.arange(20) // 2)
    policy = random.dirichlet(np.ones(ARMS), 20)
    found = ope.snips(log, policy)
    moved = ope.snips(replace(log, rewards=rewards + shift), policy)
    assert rewards.min() - 1e-9 <= found.value <= rewards.max() + 1e-9
    assert moved.value == pytest.approx(found.value + shift)
    assert moved.standard_error == pytest.approx(found.standard_error, abs=1e-9)


@given(st.integers(0, 10_000))
def test_the_order_of_rows_is_nothing(seed):
    log, propensities, truth = drawn(seed, contacts=20)
    order = np.random.default_rng(seed).permutation(len(log))
    mixed = ope.Log(
        log.actions[order],
        log.rewards[order],
        log.propensity[order],
        [f"c{log.contacts[row]}" for row in order],
    )
    target = propensities[:, ::-1]
    straight = ope.doubly_robust(log, target, truth)
    turned = ope.doubly_robust(mixed, target[order], truth[order])
    assert (turned.value, turned.standard_error) == pytest.approx((straight.value, straight.standard_error))


# --- intervals


def test_a_contact_said_twice_tells_no_more():
    log, propensities, truth = drawn(each=1)
    twice = ope.Log(
        *(np.repeat(part, 2) for part in (log.actions, log.rewards, log.propensity, log.contacts))
    )
    target = propensities[:, ::-1]
    for once, again, blind in (
        (ope.ips(log, target), *_both(twice, target, ope.ips)),
        (ope.snips(log, target), *_both(twice, target, ope.snips)),
    ):
        assert again.standard_error == pytest.approx(once.standard_error)
        assert blind.standard_error < again.standard_error / 1.4
    assert ope.doubly_robust(twice, np.repeat(target, 2, axis=0), np.repeat(truth, 2, axis=0)).units == 400


def _both(log, target, estimator):
    target = np.repeat(target, 2, axis=0)
    return estimator(log, target), estimator(replace(log, contacts=None), target)


def test_a_higher_level_is_wider():
    log, propensities, _ = drawn()
    narrow, wide = (ope.snips(log, propensities, level=level) for level in (0.5, 0.99))
    assert wide.low < narrow.low < narrow.value < narrow.high < wide.high
    with pytest.raises(BadInput, match="level is 95"):
        ope.snips(log, propensities, level=95)


def test_intervals_hold_the_truth_about_as_often_as_they_say():
    held = np.zeros(3)
    for seed in range(150):
        log, propensities, truth = drawn(seed, contacts=150, each=2)
        target = propensities[:, ::-1]
        # the two kinds of contact are as frequent: each one's value, halved
        value = (0.1 * 0.2 + 0.3 * 0.4 + 0.6 * 0.6 + 0.5 * 0.5 + 0.3 * 0.3 + 0.2 * 0.1) / 2
        found = (ope.ips(log, target), ope.snips(log, target), ope.doubly_robust(log, target, truth))
        held += [estimate.low <= value <= estimate.high for estimate in found]
    assert (held / 150 > 0.83).all()
    assert (held / 150 < 0.97).all()


def test_one_contact_has_no_spread():
    log = ope.Log([0, 1], [1.0, 0.0], [0.5, 0.5], ["a", "a"])
    with pytest.raises(ope.ThinOverlap, match=r"of 2 logged rows .* for 1 contacts"):
        ope.ips(log, np.full((2, 2), 0.5))


# --- comparison


def test_a_policy_against_itself_is_surely_no_better():
    log, propensities, truth = drawn()
    for predictions in (None, truth):
        found = ope.compare(log, propensities, propensities, predictions)
        assert (found.value, found.low, found.high, found.standard_error) == (0, 0, 0, 0)


def test_what_two_policies_share_cancels_out():
    log, _, truth = drawn()
    best = ope.one_hot(truth.argmax(axis=1), ARMS)
    near = 0.9 * best + 0.1 / ARMS
    found = ope.compare(log, best, near)
    assert found.value == pytest.approx(found.a.value - found.b.value)
    assert (found.a, found.b) == (ope.snips(log, best), ope.snips(log, near))
    assert 0 < found.low < found.high
    assert found.standard_error < found.a.standard_error / 5
    turned = ope.compare(log, near, best)
    assert (turned.value, turned.low) == pytest.approx((-found.value, -found.high))
    robust = ope.compare(log, best, near, truth, level=0.95)
    assert robust.a == ope.doubly_robust(log, best, truth, level=0.95)
    assert robust.level == 0.95


# --- clipping


def test_clipping_is_said_and_reads_low():
    whole, clipped = ope.ips(LOG, POLICY), ope.ips(LOG, POLICY, clip=1.5)
    assert clipped.value == pytest.approx((1.5 + 1.5) / 4)
    assert clipped.clipped == pytest.approx((0.5 + 2.5) / 4)
    assert whole.value - clipped.value <= clipped.clipped
    assert ope.snips(LOG, POLICY, clip=100.0) == ope.snips(LOG, POLICY)
    assert ope.compare(LOG, POLICY, POLICY, clip=1.5).a == ope.snips(LOG, POLICY, clip=1.5)
    with pytest.raises(BadInput, match="clipped at 0"):
        ope.ips(LOG, POLICY, clip=0)


# --- overlap


def test_overlap_by_hand():
    log = replace(LOG, contacts=np.array(["a", "a", "b", "c"]))
    found = ope.Overlap.of(log, np.column_stack([POLICY * 0.8, np.full(4, 0.2)]))
    assert found.effective_sample_size == pytest.approx(7.5**2 / (WEIGHTS @ WEIGHTS))
    assert found.effective_contacts == pytest.approx(7.5**2 / (9 + 16 + 0.25))
    assert found.max_weight_share == pytest.approx(4 / 7.5)
    assert found.mean_weight == pytest.approx(0.8 * 7.5 / 4)
    assert found.unseen_mass == pytest.approx(0.2)


def test_known_propensities_tell_of_arms_closed_to_some():
    logged = np.array([[0.5, 0.5], [0.5, 0.5], [0.75, 0.25], [1.0, 0.0]])
    assert ope.Overlap.of(LOG, POLICY).unseen_mass == 0
    assert ope.Overlap.of(LOG, POLICY, logged).unseen_mass == pytest.approx(0.6 / 4)
    with pytest.raises(BadInput, match=r"\(4, 3\), the policy \(4, 2\)"):
        ope.Overlap.of(LOG, POLICY, np.ones((4, 3)))


def test_a_log_that_tells_enough_and_one_that_does_not():
    log, propensities, truth = drawn()
    best = ope.one_hot(truth.argmax(axis=1), ARMS)
    ope.Overlap.of(log, best).require()
    ope.Overlap.of(log, propensities).require(effective=len(np.unique(log.contacts)) - 1e-6)
    small, _, truth = drawn(contacts=20)
    with pytest.raises(
        ope.ThinOverlap, match=r"of 60 logged rows .* \(50 are needed\).*sent at random"
    ) as told:
        ope.Overlap.of(small, ope.one_hot(truth.argmax(axis=1), ARMS)).require()
    assert isinstance(told.value, NotReady)


def test_an_arm_never_shown_is_thin_however_long_the_log():
    log, propensities, _ = drawn(contacts=2000)
    policy = np.column_stack([0.9 * propensities, np.full(len(log), 0.1)])
    with pytest.raises(ope.ThinOverlap, match=r"10\.0% of the policy's choices are on arms the log never"):
        ope.Overlap.of(log, policy).require()


def test_a_policy_that_never_agrees():
    log = ope.Log([0, 0], [1.0, 0.0], [0.5, 0.5])
    other = ope.one_hot([1, 1], 2)
    for estimate in (ope.ips, ope.snips, lambda *these: ope.doubly_robust(*these, np.zeros((2, 2)))):
        with pytest.raises(ope.ThinOverlap, match="for 0 contacts"):
            estimate(log, other)
    found = ope.Overlap.of(log, other)
    assert (found.effective_sample_size, found.max_weight_share, found.unseen_mass) == (0, 0, 1)


# --- cross-fitting


def test_no_contact_is_predicted_by_a_model_that_saw_it():
    log, _, _ = drawn(contacts=50)
    seen = np.zeros((50, 50), dtype=bool)

    def fit(rows):
        def predict(others):
            seen[np.ix_(np.unique(log.clusters[rows]), np.unique(log.clusters[others]))] = True
            return np.tile(others[:, None], (1, ARMS)).astype(float)

        return predict

    predictions = ope.cross_fitted(log, fit, folds=4, seed=3)
    assert (predictions == np.arange(len(log))[:, None]).all()
    assert not seen.diagonal().any()
    assert seen.sum(axis=0).min() >= 37


def test_folds_that_cannot_be_and_predictions_of_the_wrong_shape():
    log, _, _ = drawn(contacts=4)
    for folds in (1, 5):
        with pytest.raises(BadInput, match=f"{folds} folds of 4 contacts"):
            ope.cross_fitted(log, lambda rows: lambda others: np.zeros((len(others), ARMS)), folds)
    with pytest.raises(BadInput, match=r"shape \(1, 3\) for \d+ rows"):
        ope.cross_fitted(log, lambda rows: lambda others: np.zeros((1, ARMS)), 2)


# --- what cannot be used


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"actions": []}, "one row at least"),
        ({"actions": [0.5, 1.0]}, "numbers of arms"),
        ({"actions": [-1, 1]}, "numbers of arms"),
        ({"rewards": [1.0]}, r"rewards have the shape \(1,\) for 2 actions"),
        ({"rewards": [1.0, np.nan]}, "1 of 2 rewards are missing"),
        ({"propensity": [0.5, np.nan]}, "1 of 2 propensity are missing"),
        ({"propensity": [0.5, 0.0]}, r"1 propensities are outside \(0, 1\], the first 0"),
        ({"propensity": [0.5, 1.5]}, "the first 1.5"),
        ({"contacts": ["a"]}, "contacts have the shape"),
        ({"contacts": ["a", None]}, "1 rows have no contact"),
    ],
)
def test_a_log_that_cannot_be_used(values, message):
    with pytest.raises(BadInput, match=message):
        ope.Log(**{"actions": [0, 1], "rewards": [1.0, 0.0], "propensity": [0.5, 0.5], **values})


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        (POLICY[:3], r"shape \(3, 2\) for 4 rows and 2 arms"),
        (POLICY[:, :1], "for 4 rows and 2 arms"),
        (POLICY[:, 0], "must be"),
        (POLICY * 0.9, "4 rows of the policy do not sum to 1"),
        (POLICY * [1, np.nan], "do not sum to 1"),
        (np.add(POLICY, [1, -1]), "lowest probability -1"),
    ],
)
def test_a_policy_that_cannot_be_used(policy, message):
    with pytest.raises(BadInput, match=message):
        ope.snips(LOG, policy)


def test_predictions_that_cannot_be_used():
    with pytest.raises(BadInput, match=r"predictions have the shape \(4, 3\)"):
        ope.doubly_robust(LOG, POLICY, np.zeros((4, 3)))
    with pytest.raises(BadInput, match="speak for every arm"):
        ope.doubly_robust(LOG, POLICY, np.full((4, 2), np.nan))


def test_choices_beyond_the_arms():
    with pytest.raises(BadInput, match="arms are 0 to 1"):
        ope.one_hot([0, 2], 2)
