import numpy as np
import pytest

from models.base import Reason
from models.frequency import Frequency, FrequencyConfig
from nextbest.errors import BadInput


@pytest.fixture(scope="module")
def catalogue(make_catalogue):
    return make_catalogue({item: {"sold_90d": float(n)} for n, item in enumerate("abcdef")})


def test_own_purchases_decay_by_half_in_90_days(catalogue, make_shopper):
    ranking = Frequency().recommend(make_shopper({"a": [0], "b": [90, 90, 90], "c": [180]}), catalogue, 3)
    assert ranking.item_ids == ["b", "a", "c"]
    assert ranking.scores.tolist() == pytest.approx([1.5, 1.0, 0.25])


def test_topped_up_with_what_sells_below_it(catalogue, make_shopper):
    ranking = Frequency().recommend(make_shopper({"e": [10], "gone": [1]}), catalogue, 4)
    assert ranking.item_ids == ["e", "f", "d", "c"]
    assert (np.diff(ranking.scores) < 0).all()
    assert [reason.kind for reason in ranking.reasons] == ["bought_before", "popular", "popular", "popular"]


def test_reasons_say_what_they_rest_on(catalogue, make_shopper):
    shopper = make_shopper({"a": [20, 30, 40], "b": [2, 12, 22], "c": [5, 6]})
    because = dict(
        zip(*(lambda r: (r.item_ids, r.reasons))(Frequency().recommend(shopper, catalogue, 3)), strict=True)
    )
    assert because["a"] == Reason("due", {"usual_days": 10.0, "last_days_ago": 20.0})
    assert because["b"] == Reason("bought_before", {"times": 3, "last_days_ago": 2.0})
    assert because["c"] == Reason("bought_before", {"times": 2, "last_days_ago": 5.0})


def test_someone_new_is_shown_what_sells(catalogue, make_shopper):
    ranking = Frequency().recommend(make_shopper(), catalogue, 2)
    assert ranking.item_ids == ["f", "e"]
    assert ranking.source == "frequency"


def test_counting_alone_is_another_order(catalogue, make_shopper):
    shopper = make_shopper({"a": [0], "b": [300, 301, 302]})
    assert Frequency().recommend(shopper, catalogue, 1).item_ids == ["a"]
    assert Frequency(FrequencyConfig("repeat_count")).recommend(shopper, catalogue, 1).item_ids == ["b"]
    with pytest.raises(BadInput, match="no weight 'often'; known: repeat_30d"):
        FrequencyConfig("often")
