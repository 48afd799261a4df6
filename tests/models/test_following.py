"""Orders that follow each other in a way known beforehand."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from models._shelf import shelf_of
from models.following import Following, FollowingConfig
from nextbest.errors import BadInput, NotReady

NOW = 1_700_000_000.0
DAY = 86_400.0


def lines(orders):
    """Return the lines of {contact: [items of each order, oldest first]}, an order a day."""
    rows = [
        (contact, f"{contact}-{number}", item, NOW + number * DAY)
        for contact, own in orders.items()
        for number, items in enumerate(own)
        for item in items
    ]
    return pd.DataFrame(rows, columns=["contact_id", "order_id", "item_id", "time"])


def shopper(*orders):
    """Return someone whose orders, newest first, held these items."""
    items = [item for order in orders for item in order]
    times = np.array([NOW - ago * DAY for ago, order in enumerate(orders) for _ in order])
    return SimpleNamespace(recent_items=items, recent_times=times)


@pytest.fixture(scope="module")
def model():
    """After tea come biscuits, after soap a towel; never the other way round."""
    people = {f"t{n}": [["tea"], ["biscuits"]] for n in range(30)}
    return Following.learn(lines(people | {f"s{n}": [["soap"], ["towel"]] for n in range(30)}))


def test_what_came_after_is_said_and_not_the_reverse(model, make_catalogue):
    shelf = make_catalogue({item: {} for item in ("tea", "biscuits", "soap", "towel")})
    said = model.recommend(shopper(["tea"]), shelf, 5)
    assert said.item_ids == ["biscuits"]
    assert said.reasons[0].because == {"item_id": "tea"}
    assert len(model.recommend(shopper(["biscuits"]), shelf, 5)) == 0
    assert len(model.recommend(shopper(["unheard of"]), shelf, 5)) == 0


def test_the_share_is_shrunk(model):
    score = model.of(shopper(["tea"]))
    at = dict(zip(model.item_ids, score, strict=True))
    # 30 of 30 orders after tea, both sides shrunk by ten
    assert at["biscuits"] == pytest.approx(30 / (40 * 40**0.5))


def test_an_older_order_counts_half(model):
    at = dict(zip(model.item_ids, model.of(shopper(["tea"], ["soap"])), strict=True))
    assert at["biscuits"] == pytest.approx(2 * at["towel"])


def test_contacts_are_kept_apart():
    people = {"a": [["x"], ["y"]], "b": [["z"], ["x"]]}
    model = Following.learn(lines(people))
    at = dict(zip(model.item_ids, model.of(shopper(["y"])), strict=True))
    assert set(at.values()) == {0.0}, "b's order does not follow a's"


def test_only_the_best_are_kept_and_offered(make_catalogue):
    people = {f"c{n}": [["x"], ["y", *(["z"] if n else [])]] for n in range(3)}
    model = Following.learn(lines(people), FollowingConfig(kept=1))
    assert model.speaks.nnz == 1
    shelf = shelf_of(make_catalogue({"y": {}, "z": {}}))
    asked = model.tied(shelf).ask(shopper(["x"]), ())
    assert asked.offered.tolist() == [shelf.catalogue.index["y"]]
    assert model.tied(shelf).ask(shopper(), ()) is None


def test_too_little_and_wrong_sizes():
    with pytest.raises(NotReady, match="nobody ordered twice"):
        Following.learn(lines({"a": [["x"]], "b": [["y"]]}))
    with pytest.raises(BadInput, match="memory is 2"):
        FollowingConfig(memory=2)
    with pytest.raises(BadInput, match="kept is 0"):
        FollowingConfig(kept=0)
