import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.rfm import NO_ORDERS, SEGMENT_NAMES, SEGMENTS, Quintiles, Rfm, segment
from nextbest.errors import BadInput, NotReady


def contacts(recency, orders, spend):
    return pd.DataFrame({"recency_days": recency, "orders_total": orders, "spend_total": spend}, dtype=float)


def test_a_hundred_different_values_make_five_classes_of_twenty():
    values = np.arange(100.0)
    classes = Quintiles.learn(values).of(values)
    assert np.bincount(classes.astype(int))[1:].tolist() == [20] * 5
    assert (np.diff(classes) >= 0).all()


def test_ties_are_kept_together_and_empty_no_class():
    values = np.array([1.0] * 60 + [2.0] * 20 + [3.0] * 10 + [4.0, 5.0, 6.0, 7.0])
    quintiles = Quintiles.learn(values)
    assert quintiles.edges == (1.0, 2.0, 3.0, 5.0)
    assert set(quintiles.of(values)) == {1, 2, 3, 4, 5}


@pytest.mark.parametrize(
    ("distinct", "classes"), [(1, [3]), (2, [1, 5]), (3, [1, 3, 5]), (4, [1, 2, 4, 5]), (5, [1, 2, 3, 4, 5])]
)
def test_few_distinct_values_spread_over_the_classes(distinct, classes):
    values = np.repeat(np.arange(float(distinct)), 10)
    assert sorted(set(Quintiles.learn(values).of(values))) == classes


@given(st.lists(st.integers(0, 12), min_size=1, max_size=80))
def test_classes_rise_with_the_value_and_none_is_empty(numbers):
    values = np.array(numbers, dtype=float)
    quintiles = Quintiles.learn(values)
    classes = quintiles.of(np.sort(values))
    assert (np.diff(classes) >= 0).all()
    assert set(classes) == set(map(float, quintiles.classes))


def test_values_beyond_those_learned_fall_in_the_end_classes():
    quintiles = Quintiles.learn(np.arange(10.0))
    assert quintiles.of(np.array([-5.0, 99.0, np.nan])).tolist()[:2] == [1.0, 5.0]
    assert np.isnan(quintiles.of(np.array([np.nan]))[0])


def test_segments_are_the_published_ones():
    rows = [
        (5, 5, 5, "champions"),
        (5, 1, 1, "new"),
        (1, 5, 5, "cannot_lose"),
        (1, 1, 1, "lost"),
        (2, 3, 3, "at_risk"),
    ]
    rows += [
        (3, 2, 2, "needs_attention"),
        (3, 5, 4, "loyal"),
        (4, 1, 1, "promising"),
        (2, 1, 2, "hibernating"),
    ]
    rows += [(5, 2, 2, "potential_loyal")]
    r, f, m = (np.array([float(row[i]) for row in rows]) for i in range(3))
    assert segment(r, f, m).tolist() == [row[3] for row in rows]
    assert set(SEGMENT_NAMES) == {name for row in SEGMENTS for name in row}
    assert len(SEGMENT_NAMES) == 10


def test_frequency_and_money_share_a_column_rounded_up():
    assert segment(np.array([1.0]), np.array([3.0]), np.array([4.0])).tolist() == ["cannot_lose"]


def test_classes_outside_one_to_five_are_refused():
    with pytest.raises(BadInput, match="between 1 and 5"):
        segment(np.array([6.0]), np.array([1.0]), np.array([1.0]))


def test_contacts_without_orders_are_named_and_not_cut():
    frame = contacts([1, 2, 3, 4, 5, np.nan], [9, 7, 5, 3, 1, 0], [90, 70, 50, 30, 10, 0])
    scores = Rfm.learn(frame).score(frame)
    assert scores["segment"].tolist()[::5] == ["champions", NO_ORDERS]
    assert scores["r"].tolist()[:5] == [5, 4, 3, 2, 1]
    assert scores["rfm_score"].tolist()[:5] == [15, 12, 9, 6, 3]
    assert scores.loc[5, ["r", "f", "m", "rfm_score"]].isna().all()


def test_without_any_order_there_is_nothing_to_learn():
    with pytest.raises(NotReady, match="no contact has an order"):
        Rfm.learn(contacts([np.nan], [0], [0]))
