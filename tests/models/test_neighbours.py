"""Two camps that buy nothing in common: who is near, and what is then said, is known beforehand."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from models._shelf import shelf_of
from models.neighbours import Neighbours, NeighboursConfig
from nextbest.errors import BadInput, NotReady

NOW = 1_700_000_000.0
DAY = 86_400.0
LEFT, RIGHT = ("a", "b", "c"), ("x", "y", "z")


def lines(rows):
    frame = pd.DataFrame(rows, columns=["contact_id", "item_id", "days"])
    return frame.assign(time=NOW - frame["days"] * DAY, order_id=frame["contact_id"])


def camps():
    """Ten contacts buy two of the left items each, ten two of the right ones; `only` is bought once."""
    for number in range(20):
        items = LEFT if number % 2 else RIGHT
        for place in (0, 1):
            yield f"c{number}", items[(number // 2 + place) % 3], 10.0 + place
    yield "c0", "only", 3.0


def asking(**weights):
    return SimpleNamespace(repeat_items=list(weights), repeat_90d=np.array(list(weights.values())))


@pytest.fixture(scope="module")
def model():
    return Neighbours.learn(lines(list(camps())), NeighboursConfig(neighbours=10))


def test_ones_own_camp_speaks(model, make_catalogue):
    shelf = make_catalogue({item: {} for item in (*LEFT, *RIGHT, "only")})
    ranking = model.recommend(asking(a=1.0, b=1.0), shelf, 10)
    assert set(ranking.item_ids) == set(LEFT)
    assert (np.diff(ranking.scores) <= 0).all()
    assert "only" not in model.item_ids


def test_shares_are_of_the_neighbours_without_oneself(model):
    bought, _ = model.shares(["a", "b"], np.array([1.0, 1.0]))
    of = dict(zip(model.item_ids, bought, strict=True))
    assert of["x"] == 0
    assert 0 < of["c"] < of["a"] <= 1
    # each of the ten bought two items
    assert bought.sum() == pytest.approx(2.0)


def test_lately_halves_in_a_week():
    rows = [(f"c{n}", item, 0.0 if item == "a" else 7.0) for n in range(6) for item in ("a", "b")]
    bought, lately = Neighbours.learn(lines(rows)).shares(["a"], np.array([1.0]))
    np.testing.assert_allclose(bought, [1.0, 1.0], rtol=1e-6)
    np.testing.assert_allclose(lately, [1.0, 0.5], rtol=1e-6)


def test_a_stranger_is_told_nothing(model, make_catalogue):
    assert model.shares(["unheard of"], np.array([1.0])) is None
    assert len(model.recommend(asking(), make_catalogue({"a": {}}), 5)) == 0
    assert model.tied(shelf_of(make_catalogue({"a": {}}))).ask(asking(), ()) is None


def test_what_is_not_on_the_shelf_is_not_offered(model, make_catalogue):
    shelf = shelf_of(make_catalogue({"new": {}, "b": {}}))
    asked = model.tied(shelf).ask(asking(a=1.0), ())
    assert {row for row in asked.offered.tolist() if row >= 0} == {shelf.catalogue.index["b"]}
    said = asked.of(np.arange(2))
    assert said[0, shelf.catalogue.index["new"]] == 0
    assert said[0, shelf.catalogue.index["b"]] > 0


def test_it_keeps_no_ids(model, tmp_path):
    model.save(tmp_path)
    assert not any(b"c19" in path.read_bytes() for path in tmp_path.iterdir())


def test_too_little_and_wrong_sizes():
    with pytest.raises(NotReady, match="no item was bought by 2 contacts"):
        Neighbours.learn(lines([("a", "x", 1.0), ("b", "y", 1.0)]))
    with pytest.raises(BadInput, match="half_life_days is 8"):
        NeighboursConfig(half_life_days=8)
    with pytest.raises(BadInput, match="neighbours is 0"):
        NeighboursConfig(neighbours=0)
