import numpy as np
import pytest

from models.base import Ranking, Reason
from models.due import by_dueness, due_items


@pytest.fixture(scope="module")
def shelf(make_catalogue):
    usual = {"a": 20.0, "b": 20.0, "c": 10.0, "d": 20.0, "own": 500.0}
    return make_catalogue({item: {"repeatable": 1.0, "cadence_days": days} for item, days in usual.items()})


def test_due_is_the_time_passed_over_the_usual_interval(shelf, make_shopper):
    found = due_items(
        make_shopper({"a": [20], "b": [15], "c": [30], "own": [10, 20, 30], "gone": [9]}), shelf
    )
    assert {item: due.overdue for item, due in found.items()} == {"a": 1.0, "c": 3.0, "own": 1.0}
    assert found["c"].reason() == Reason("due", {"usual_days": 10.0, "last_days_ago": 30.0, "overdue": 3.0})


def test_where_nobody_buys_again_nothing_is_due(make_catalogue, make_shopper):
    assert due_items(make_shopper({"a": [400]}), make_catalogue({"a": {}})) == {}


def test_the_most_due_and_probable_come_first_and_what_was_given_up_gains_nothing(shelf, make_shopper):
    due = due_items(make_shopper({"a": [20], "c": [25], "d": [400]}), shelf)
    ranked = Ranking(["b", "a", "c", "d"], np.array([4.0, 3, 2, 1]), [Reason("popular")] * 4, "ranked")
    found = by_dueness(ranked, due, np.array([0.9, 0.5, 0.3, 0.3]))
    assert found.item_ids == ["c", "d", "a"]
    assert found.scores.tolist() == [0.6, 0.6, 0.5]
    assert {reason.kind for reason in found.reasons} == {"due"}
    assert by_dueness(ranked, due, np.array([0.9, 0.8, 0.3, 0.3])).item_ids[0] == "a"
