"""What holds for every model, whatever it answers.

A model needs no line here. It is found by its file, an instance of it by `tests/models/examples/<kind>.py`,
which holds one function

    def example(world, seed) -> Model

that builds it (fits it, where it learns) on the small world of `examples/_world.py` in a second or so. Which
tests apply follows from the protocols it satisfies: `score`, `rank`, `recommend`, `bought_together`.
"""

import importlib
import importlib.util
import inspect
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from models.artifact import load, models_found, save
from models.catalogue import Catalogue
from models.fallback import ABILITIES, Fallback, abilities
from nextbest.columns import CONTACT_FEATURES

EXAMPLES = Path(__file__).parent / "examples"
KINDS = sorted(models_found())
PLAIN = {".json", ".txt", ".parquet", ".safetensors", ".usearch"}
"""Files that cannot run code."""


def module(name):
    path = EXAMPLES / f"{name}.py"
    assert path.exists(), (
        f"write {path.relative_to(Path(__file__).parents[2])}: def example(world, seed) -> Model"
    )
    spec = importlib.util.spec_from_file_location(f"examples_{name}", path)
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


@cache
def world():
    return module("_world").World()


@cache
def example(kind, seed=7):
    return module(kind).example(world(), seed)


@cache
def able(kind):
    """Ask the class, so that collecting the tests fits nothing; a fallback can what its two sides can."""
    model_class = models_found()[kind]
    if model_class is Fallback:
        return abilities(example(kind))
    return {name for name in ABILITIES if hasattr(model_class, name)}


@pytest.fixture(scope="module")
def again(tmp_path_factory):
    """The example, saved and loaded."""

    @cache
    def reload(kind):
        return load(save(example(kind), tmp_path_factory.mktemp("models") / kind))

    return reload


def kinds_with(ability):
    return pytest.mark.parametrize("kind", [kind for kind in KINDS if ability in able(kind)])


# --- of each


@pytest.mark.parametrize("kind", KINDS)
def test_kind_is_the_name_of_its_file_and_both_say_what_they_are(kind):
    model_class = models_found()[kind]
    assert model_class.__module__ == f"models.{kind}"
    assert inspect.getdoc(importlib.import_module(model_class.__module__))
    assert model_class.__doc__
    assert not model_class.__doc__.startswith(f"{model_class.__name__}(")


@pytest.mark.parametrize("kind", KINDS)
def test_it_answers_something(kind):
    assert able(kind)


@pytest.mark.parametrize("kind", KINDS)
def test_artifacts_are_plain_files(kind, tmp_path):
    files = [path for path in save(example(kind), tmp_path / "model").rglob("*") if path.is_file()]
    assert {path.suffix for path in files} <= PLAIN
    assert sum(path.stat().st_size for path in files) < 5_000_000


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_loaded_answers_as_what_was_saved(kind, again):
    assert_same_answers(kind, example(kind), again(kind))


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_data_and_seed_make_the_same_model(kind):
    assert_same_answers(kind, example(kind), module(kind).example(world(), 7))


@pytest.mark.parametrize("kind", KINDS)
def test_asking_twice_gives_the_same_answer(kind):
    assert_same_answers(kind, example(kind), example(kind))


def assert_same_answers(kind, one, other):
    if "score" in able(kind):
        pd.testing.assert_frame_equal(
            one.score(world().contacts), other.score(world().contacts), rtol=0, atol=0
        )
    if "rank" in able(kind):
        channels = module("_world").CHANNELS
        rows = world().candidates
        pd.testing.assert_frame_equal(one.rank(rows, channels), other.rank(rows, channels), rtol=0, atol=0)
    if "recommend" in able(kind):
        for shopper, context in visits():
            mine, theirs = (m.recommend(shopper, world().catalogue, 8, context) for m in (one, other))
            assert (mine.item_ids, mine.reasons, mine.source) == (
                theirs.item_ids,
                theirs.reasons,
                theirs.source,
            )
            np.testing.assert_array_equal(mine.scores, theirs.scores)
            np.testing.assert_array_equal(mine.probabilities, theirs.probabilities)
    if "bought_together" in able(kind):
        assert one.bought_together(["i03", "i07"], 5) == other.bought_together(["i03", "i07"], 5)


# --- score


@kinds_with("score")
def test_scores_keep_rows_index_and_input(kind):
    frame = world().contacts.sample(frac=1.0, random_state=1)
    before = frame.copy()
    scores = example(kind).score(frame)
    assert scores.index.equals(frame.index)
    assert scores.columns.is_unique
    assert "source" in scores
    assert scores["source"].notna().all()
    pd.testing.assert_frame_equal(frame, before)


@kinds_with("score")
def test_a_row_is_scored_alone_as_among_others(kind):
    whole = example(kind).score(world().contacts)
    for place in (0, 1, 2, 77):
        alone = example(kind).score(world().contacts.iloc[[place]])
        pd.testing.assert_frame_equal(alone, whole.iloc[[place]], check_dtype=False, rtol=1e-9)


@kinds_with("score")
def test_no_rows_are_no_answer_with_the_same_columns(kind):
    empty = example(kind).score(world().contacts.head(0))
    assert len(empty) == 0
    assert list(empty.columns) == list(example(kind).score(world().contacts).columns)


@kinds_with("score")
def test_nothing_known_is_no_error(kind):
    index = pd.Index(["new", "newer"])
    unknown = pd.DataFrame(np.nan, index=index, columns=list(CONTACT_FEATURES))
    scores = example(kind).score(unknown)
    assert scores.index.equals(index)
    pd.testing.assert_frame_equal(example(kind).score(pd.DataFrame(index=index)), scores)


@kinds_with("score")
def test_probabilities_are_probabilities(kind):
    scores = example(kind).score(world().contacts)
    for name in [name for name in scores if name in ("probability", "p_alive", "p_no_order")]:
        assert scores[name].dropna().between(0, 1).all()
        assert scores[name].notna().mean() > 0.5


# --- rank


@kinds_with("rank")
def test_every_contact_gets_every_channel_best_first(kind):
    channels = module("_world").CHANNELS
    ranked = example(kind).rank(world().candidates, channels)
    assert len(ranked) == 40 * len(channels)
    for _, own in ranked.groupby("contact_id", sort=False):
        assert set(own["channel"]) == set(channels)
        assert own["rank"].tolist() == [1.0, 2.0, 3.0]
        assert own["expected_value"].dropna().is_monotonic_decreasing
    known = ranked["probability"].dropna()
    assert known.between(0, 1).all()
    held = ranked.dropna(subset=["probability"])
    assert ((held["low"] <= held["probability"] + 1e-9) & (held["probability"] <= held["high"] + 1e-9)).all()


@kinds_with("rank")
def test_a_contact_is_ranked_alone_as_among_others(kind):
    channels = module("_world").CHANNELS
    whole = example(kind).rank(world().candidates, channels)
    for contact in ("c000", "c007"):
        rows = world().candidates[world().candidates["contact_id"] == contact]
        alone = example(kind).rank(rows, channels)
        expected = whole[whole["contact_id"] == contact].reset_index(drop=True)
        pd.testing.assert_frame_equal(alone.reset_index(drop=True), expected, rtol=1e-9)


@kinds_with("rank")
def test_a_channel_never_seen_and_no_contacts_are_no_error(kind):
    ranked = example(kind).rank(world().candidates.head(3), ("email", "post"))
    assert set(ranked["channel"]) == {"email", "post"}
    assert len(example(kind).rank(world().candidates.head(0), ("email",))) == 0


@kinds_with("rank")
def test_someone_nothing_was_ever_sent_to(kind):
    one = pd.DataFrame({"contact_id": ["new"], "channel": [None]})
    ranked = example(kind).rank(one, ("email", "sms"))
    assert set(ranked["channel"]) == {"email", "sms"}


# --- recommend


def visits():
    """Shoppers and what they look at: nobody, a stranger to the shop, regulars, unknown items."""
    own = world().shopper
    return [
        (own(contact_id=None), ()),
        (own(contact_id=None), ("i03",)),
        (own(["i01", "i00", "i05"]), ()),
        (own(["i01", "i00", "i01"], viewed=["i07"]), ("i02", "i09")),
        (own(["gone", "i04", "never"], viewed=["gone"]), ("unheard of",)),
        (own(world().items[::-1]), ()),
    ]


@kinds_with("recommend")
@pytest.mark.parametrize("k", [1, 5, 100])
def test_rankings_are_sound(kind, k):
    for shopper, context in visits():
        ranking = example(kind).recommend(shopper, world().catalogue, k, context)
        assert len(ranking) == len(ranking.item_ids) == len(ranking.scores) == len(ranking.reasons) <= k
        assert len(set(ranking.item_ids)) == len(ranking)
        assert set(ranking.item_ids) <= set(world().items)
        assert np.isfinite(ranking.scores).all()
        assert (np.diff(ranking.scores) <= 1e-12).all()
        assert ranking.source
        if ranking.probabilities is not None:
            assert ((ranking.probabilities >= 0) & (ranking.probabilities <= 1)).all()


@kinds_with("recommend")
def test_an_empty_shelf_has_nothing_to_offer(kind):
    shelf = world().catalogue
    nothing = {
        name: getattr(shelf, name)[:0]
        for name in (
            "item_ids",
            "titles",
            "categories",
            "paths",
            "brands",
            "prices",
            "in_stock",
            "hidden",
            "repeatable",
        )
    }
    empty = Catalogue(now=shelf.now, statistics={k: v[:0] for k, v in shelf.statistics.items()}, **nothing)
    for shopper, context in visits():
        assert len(example(kind).recommend(shopper, empty, 5, context)) == 0


# --- bought together


@kinds_with("bought_together")
def test_rules_add_up(kind):
    for asked in (["i03"], ["i03", "i04", "i11"], world().items[:6]):
        rules = example(kind).bought_together(asked, 4)
        assert 0 < len(rules) <= 4
        for rule in rules:
            assert set(rule.antecedent) <= set(asked)
            assert rule.consequent not in asked
            assert rule.support == pytest.approx(rule.baskets / rule.total_baskets)
            assert rule.confidence == pytest.approx(rule.baskets / rule.antecedent_baskets)
            assert rule.lift == pytest.approx(rule.confidence * rule.total_baskets / rule.consequent_baskets)


@kinds_with("bought_together")
def test_nothing_goes_with_nothing_or_the_unknown(kind):
    assert example(kind).bought_together([], 5) == []
    assert example(kind).bought_together(["unheard of"], 5) == []
