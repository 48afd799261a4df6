import numpy as np
import pytest

from models.eligibility import EligibilityConfig, Gate, Terms, eligible, repeatable
from nextbest.errors import BadInput

USUAL = {"repeatable": 1.0, "cadence_days": 20.0}
ITEMS = {
    "milk": USUAL,
    "sofa": {"repeatable": 0.0},
    "out": {"in_stock": False},
    "hidden": {"hidden": True},
    "toy": {"category": "toys/wood/cars"},
    "plain": {},
}


@pytest.fixture(scope="module")
def shelf(make_catalogue):
    return make_catalogue(ITEMS)


@pytest.fixture
def shown(shelf, make_shopper):
    def ask(bought=None, **options):
        ids = ["unknown", *ITEMS]
        return [ids[place] for place in eligible(ids, make_shopper(bought), shelf, **options)]

    return ask


def test_unknown_hidden_and_sold_out_are_not_shown(shown):
    assert shown() == ["milk", "sofa", "toy", "plain"]


def test_order_is_kept_and_positions_are_returned(shelf, make_shopper):
    assert eligible(["plain", "out", "milk"], make_shopper(), shelf) == [0, 2]


def test_excluded_and_in_the_cart_are_not_shown(shown):
    assert shown(exclude=["milk"], cart=["toy"]) == ["sofa", "plain"]


def test_category_is_a_path_or_its_beginning(shown):
    assert (
        shown(category="toys") == shown(category="toys/wood") == shown(category="toys/wood/cars") == ["toy"]
    )
    assert shown(category="to") == []


def test_what_is_bought_once_is_not_shown_again(shown):
    assert shown({"sofa": [300]}) == ["milk", "toy", "plain"]


def test_what_is_bought_again_waits_for_half_its_cadence(shown):
    assert "milk" not in shown({"milk": [9]})
    assert "milk" in shown({"milk": [10]})


def test_three_purchases_speak_for_themselves(shown):
    assert "milk" not in shown({"milk": [30, 130, 230]})
    assert "milk" in shown({"milk": [51, 151, 251]})
    assert "milk" in shown({"milk": [2, 5, 8, 9]}), "and sooner, too"


def test_two_purchases_do_not(shown):
    assert "milk" in shown({"milk": [30, 330]})


def test_buy_again_shows_nothing_new(shown):
    assert shown({"milk": [15], "sofa": [15]}, placement="buy_again") == ["milk"]


def test_recent_purchases_count_where_the_repeat_list_was_cut(shelf, make_shopper):
    shopper = make_shopper({"sofa": [5]})
    shopper.repeat_items, shopper.repeat_last = [], np.empty(0)
    assert eligible(["sofa", "plain"], shopper, shelf) == [1]


def test_another_moment_can_be_asked_for(shelf, make_shopper):
    shopper = make_shopper({"milk": [1]})
    assert eligible(["milk"], shopper, shelf) == []
    assert eligible(["milk"], shopper, shelf, now=shopper.now + 9 * 86_400) == [0]


def test_an_unknown_placement_is_named(shown):
    with pytest.raises(BadInput, match="no placement 'footer'; known: home, product"):
        shown(placement="footer")


def test_repeatable_is_learned_from_buyers_where_no_flag_says_so(make_catalogue):
    habits = {"bought_again": (1000, 400), "bought_once": (1000, 20), "new": (0, 0), "few": (2, 2)}
    shelf = make_catalogue(
        {
            item: {"buyers": b, "repeat_buyers": r, "category": "x" if item == "new" else "y"}
            for item, (b, r) in habits.items()
        }
    )
    assert {item: repeatable(shelf, row) for item, row in shelf.index.items()} == {
        "bought_again": True, "bought_once": False, "new": True, "few": True,
    }  # fmt: skip
    assert not repeatable(shelf, shelf.index["new"], EligibilityConfig(repeatable_from=0.5))


def test_a_shop_where_nothing_is_bought_again(make_catalogue, make_shopper):
    shelf = make_catalogue({"a": {"buyers": 9.0}, "b": {"buyers": 3.0}})
    assert eligible(["a", "b"], make_shopper({"a": [400]}), shelf) == [1]


def test_an_unknown_cadence_is_the_categorys_then_everyones(make_catalogue, make_shopper):
    shelf = make_catalogue(
        {
            "a": {"repeatable": 1.0, "cadence_days": 10.0, "category": "x"},
            "b": {"repeatable": 1.0, "category": "x"},
            "c": {"repeatable": 1.0, "category": "y"},
            "d": {"repeatable": 1.0, "cadence_days": 100.0, "category": "z"},
        }
    )
    assert eligible(["b", "c"], make_shopper({"b": [6], "c": [6]}), shelf) == [0]
    assert eligible(["c"], make_shopper({"c": [28]}), shelf) == [0]


def test_what_was_bought_lately_rests_until_it_is_due(shelf, make_shopper):
    for ago, rests in ((12, True), (16, False)):
        gate = Gate(make_shopper({"milk": [ago]}), shelf, Terms(resting_days=30))
        assert (gate.keep(["milk"]) == []) == rests
    assert Gate(make_shopper({"milk": [12]}), shelf, Terms(resting_days=11)).keep(["milk"]) == [0]


def test_categories_can_be_ruled_out(shelf, make_shopper):
    gate = Gate(make_shopper(), shelf, Terms(not_of=["toys/wood/cars"]))
    assert gate.keep(["toy", "plain"]) == [1]
