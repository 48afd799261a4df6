import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import (
    brier_score_loss,
    ndcg_score,
    roc_auc_score,
)
from sklearn.metrics import (
    log_loss as sklearn_log_loss,
)

from nextbest.errors import BadInput
from training import metrics

# --- rankings


def test_ndcg_by_hand_with_the_whole_ideal_list():
    # relevant a, b, c; found at positions 1 and 3; ideal at k=4: three terms
    found = metrics.ndcg_at_k([["a", "x", "b", "y"]], [{"a", "b", "c"}], 4)
    ideal = 1 + 1 / math.log2(3) + 1 / 2
    assert found == pytest.approx([(1 + 1 / 2) / ideal])


def test_the_ideal_list_is_cut_to_k_not_to_what_was_ranked():
    relevant = [set("abcdef")]
    assert metrics.ndcg_at_k([["a", "b"]], relevant, 2) == pytest.approx([1.0])
    short = metrics.ndcg_at_k([["a"]], relevant, 2)
    assert short == pytest.approx([1 / (1 + 1 / math.log2(3))])


def test_recall_divides_by_every_relevant_item():
    assert metrics.recall_at_k([["a", "b"]], [set("abcdefgh")], 2) == pytest.approx([2 / 8])


def test_hit_rate_and_empty_rankings():
    assert metrics.hit_rate_at_k([["x", "a"], ["x"], []], [{"a"}, {"a"}, {"a"}], 2).tolist() == [
        1.0,
        0.0,
        0.0,
    ]
    assert metrics.ndcg_at_k([[]], [{"a"}], 10).tolist() == [0.0]
    assert metrics.ndcg_at_k([], [], 10).shape == (0,)


def test_a_query_without_relevant_items_is_undefined():
    for measure in (metrics.ndcg_at_k, metrics.recall_at_k, metrics.hit_rate_at_k):
        assert np.isnan(measure([["a"]], [[]], 1)).all()


def test_an_item_ranked_twice_counts_once():
    assert metrics.recall_at_k([["a", "a"]], [["a", "b"]], 2) == pytest.approx([0.5])
    assert metrics.ndcg_at_k([["a", "a"]], [["a", "b"]], 2)[0] < 1


def test_rankings_and_relevant_lists_must_pair_up():
    with pytest.raises(BadInput, match="2 rankings for 1"):
        metrics.ndcg_at_k([["a"], ["b"]], [["a"]], 1)


def test_ndcg_equals_scikit_learn():
    random = np.random.default_rng(0)
    items = [f"i{n}" for n in range(12)]
    scores = random.random((20, 12))
    labels = (random.random((20, 12)) < 0.3).astype(float)
    labels[:, 0] = 1
    ranked = [[items[i] for i in np.argsort(-row)] for row in scores]
    relevant = [[items[i] for i in np.flatnonzero(row)] for row in labels]
    assert metrics.ndcg_at_k(ranked, relevant, 5).mean() == pytest.approx(ndcg_score(labels, scores, k=5))


# --- probabilities


def sample(n=400, seed=1, ties=True):
    random = np.random.default_rng(seed)
    p = random.random(n)
    if ties:
        p = np.round(p, 1)
    return (random.random(n) < p).astype(float), p, random.random(n) + 0.1


@pytest.mark.parametrize("ties", [True, False])
def test_auc_equals_scikit_learn_with_ties_and_weights(ties):
    y, p, w = sample(ties=ties)
    assert metrics.roc_auc(y, p) == pytest.approx(roc_auc_score(y, p))
    assert metrics.roc_auc(y, p, w) == pytest.approx(roc_auc_score(y, p, sample_weight=w))


def test_auc_by_hand():
    assert metrics.roc_auc([0, 1], [0.5, 0.5]) == 0.5
    assert metrics.roc_auc([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8]) == 0.75
    assert math.isnan(metrics.roc_auc([1, 1], [0.1, 0.2]))
    assert math.isnan(metrics.roc_auc([], []))


def test_log_loss_and_brier_equal_scikit_learn():
    y, p, _ = sample(ties=False)
    assert metrics.log_loss(y, p) == pytest.approx(sklearn_log_loss(y, p))
    assert metrics.brier(y, p) == pytest.approx(brier_score_loss(y, p))
    assert metrics.log_loss([1.0], [0.0]) == pytest.approx(-math.log(1e-15))
    assert math.isnan(metrics.log_loss([], []))


def test_errors_of_amounts():
    assert metrics.mean_absolute_error([1, 2], [2, 4]) == 1.5
    assert metrics.root_mean_squared_error([0, 0], [3, 4]) == pytest.approx(math.sqrt(12.5))


def test_calibration_error_by_hand():
    # two bins of two: predicted .15 and .85, observed .5 and .5
    assert metrics.expected_calibration_error([0, 1, 0, 1], [0.1, 0.2, 0.8, 0.9], bins=2) == pytest.approx(
        0.35
    )


def test_bins_have_equal_mass():
    y, p, _ = sample(1000, ties=False)
    table = metrics.calibration_table(y, p, bins=10)
    assert table["count"].tolist() == [100.0] * 10
    assert table["predicted"].is_monotonic_increasing
    assert ((table["low"] <= table["observed"]) & (table["observed"] <= table["high"])).all()


def test_equal_probabilities_share_a_bin_whatever_the_order():
    y = np.array([1.0, 0.0, 1.0, 0.0])
    p = np.full(4, 0.5)
    assert len(metrics.calibration_table(y, p)) == 1
    assert metrics.expected_calibration_error(y, p) == 0.0
    shuffled = np.array([2, 0, 3, 1])
    assert metrics.expected_calibration_error(y[shuffled], p) == 0.0


def test_nothing_to_calibrate():
    assert metrics.calibration_table([], []).empty
    assert math.isnan(metrics.expected_calibration_error([], []))


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 1)), min_size=1, max_size=60))
def test_calibration_loses_no_row(rows):
    table = metrics.calibration_table([float(y) for y, _ in rows], [p for _, p in rows])
    assert table["count"].sum() == len(rows)
    assert (table["count"] > 0).all()
    assert (table["count"] * table["observed"]).sum() == pytest.approx(sum(y for y, _ in rows))


def test_lift_by_hand():
    labels = [1, 1, 0, 0, 0, 0, 0, 0, 0, 0]
    scores = list(range(10, 0, -1))
    assert metrics.lift_at(labels, scores, 0.2) == pytest.approx(5.0)
    assert metrics.lift_at(labels, scores, 1.0) == pytest.approx(1.0)
    assert metrics.lift_at(labels, [0] * 10, 0.2) == pytest.approx(1.0), "a tie is worth what chance gives"
    assert math.isnan(metrics.lift_at([0, 0], [1, 2], 0.5))
    with pytest.raises(BadInput, match="share is 0"):
        metrics.lift_at(labels, scores, 0)


# --- bootstrap


def test_the_interval_of_a_mean_is_that_of_the_theory():
    values = np.random.default_rng(3).normal(10, 2, 400)
    interval = metrics.bootstrap_interval(metrics.mean_of(values), 400, seed=1)
    assert interval.estimate == pytest.approx(values.mean())
    assert interval.high - interval.low == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.1)


def test_same_seed_same_interval():
    values = np.arange(30.0)
    first, second = (metrics.bootstrap_interval(metrics.mean_of(values), 30, seed=5) for _ in range(2))
    assert first == second
    assert first != metrics.bootstrap_interval(metrics.mean_of(values), 30, seed=6)


def test_pairing_cancels_what_both_share():
    random = np.random.default_rng(2)
    hard = random.normal(0, 5, 300)
    ours, theirs = hard + 0.1 + random.normal(0, 0.05, 300), hard
    gap = metrics.paired_bootstrap(metrics.mean_of(ours), metrics.mean_of(theirs), 300, seed=1)
    assert gap.ours - gap.theirs == pytest.approx(gap.estimate)
    assert 0.08 < gap.low < gap.estimate < gap.high < 0.12
    unpaired = metrics.bootstrap_interval(metrics.mean_of(ours), 300, seed=1)
    assert gap.high - gap.low < (unpaired.high - unpaired.low) / 20


def test_rounds_where_the_statistic_is_undefined_do_not_count():
    y, p = np.array([1.0, 0, 0, 0]), np.array([0.9, 0.1, 0.2, 0.3])
    interval = metrics.bootstrap_interval(lambda rows: metrics.roc_auc(y[rows], p[rows]), 4, seed=0)
    assert (interval.low, interval.high) == (1.0, 1.0)
    nothing = metrics.bootstrap_interval(lambda rows: math.nan, 4, seed=0)
    assert math.isnan(nothing.low)


def test_no_units():
    with pytest.raises(BadInput, match="at least one unit"):
        metrics.bootstrap([metrics.mean_of([])], 0, seed=1)
