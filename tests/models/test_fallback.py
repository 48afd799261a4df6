import logging

import numpy as np
import pandas as pd
import pytest

from models.base import Ranking, Reason
from models.fallback import Fallback, abilities
from nextbest.errors import BadInput


class Ranker:
    """Answers with the items given; an exception is raised, None returned."""

    def __init__(self, kind, answer, probabilities=None, scores=None):
        self.kind, self.answer, self.probabilities, self.scores = kind, answer, probabilities, scores

    def recommend(self, shopper, catalogue, k, context=()):
        if isinstance(self.answer, Exception):
            raise self.answer
        if self.answer is None:
            return None
        scores = np.array(self.scores or range(len(self.answer), 0, -1), dtype=float)
        chances = None if self.probabilities is None else np.array(self.probabilities)
        reasons = [Reason("popular", {"by": self.kind}) for _ in self.answer]
        return Ranking(list(self.answer), scores, reasons, self.kind, chances)


class Scorer:
    def __init__(self, kind, answer):
        self.kind, self.answer, self.asked = kind, answer, []

    def score(self, frame):
        self.asked.append(list(frame.index))
        if isinstance(self.answer, Exception):
            raise self.answer
        return None if self.answer is None else self.answer(frame)


def ask(ladder, k=3):
    return ladder.recommend_with_reason(None, None, k)


@pytest.fixture(autouse=True)
def _silent_log(caplog):
    caplog.set_level(logging.CRITICAL)


def test_a_full_answer_is_the_first_ones_own():
    first = Ranker("first", ["a", "b", "c"])
    answer = ask(Fallback(first, Ranker("second", ValueError("never asked"))))
    assert (answer.value.item_ids, answer.source, answer.why) == (["a", "b", "c"], "first", None)


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (ValueError("secret"), "first failed: ValueError"),
        (None, "first had no answer"),
        ([], "first had no answer"),
    ],
)
def test_where_the_first_has_nothing_the_second_answers_and_says_why(answer, why):
    got = ask(Fallback(Ranker("first", answer), Ranker("second", ["x", "y", "z"])))
    assert got.value.source == got.source == "second"
    assert got.value.item_ids == ["x", "y", "z"]
    assert got.why == why
    assert "secret" not in got.why


def test_a_short_answer_is_topped_up_without_repeats_and_scores_still_fall():
    first = Ranker("first", ["a", "b"], scores=[0.2, 0.1], probabilities=[0.5, 0.4])
    got = ask(Fallback(first, Ranker("second", ["b", "c", "d"], scores=[900.0, 800.0, 700.0])), k=4)
    assert got.value.item_ids == ["a", "b", "c", "d"]
    assert (np.diff(got.value.scores) <= 0).all()
    assert got.value.source == "first"
    assert got.why == "first gave 2 of 4: topped up by second"
    assert [reason.because["by"] for reason in got.value.reasons] == ["first", "first", "second", "second"]
    assert got.value.probabilities[:2].tolist() == [0.5, 0.4]
    assert np.isnan(got.value.probabilities[2:]).all()


def test_a_short_answer_stands_where_the_second_fails_or_knows_nothing_new():
    short = Ranker("first", ["a"])
    failed = ask(Fallback(short, Ranker("second", KeyError("gone"))))
    assert (failed.value.item_ids, failed.why) == (["a"], "second failed: KeyError")
    assert ask(Fallback(short, Ranker("second", ["a"]))).value.item_ids == ["a"]


def test_a_ladder_is_nested_and_names_every_rung_it_fell_past():
    ladder = Fallback(
        Ranker("one", OSError()), Fallback(Ranker("two", None), Ranker("three", ["x", "y", "z"]))
    )
    got = ask(ladder)
    assert got.source == "three"
    assert got.why == "one failed: OSError; two had no answer"
    assert ladder.recommend(None, None, 3).item_ids == ["x", "y", "z"]


def test_the_last_rungs_error_is_raised():
    with pytest.raises(OSError, match="last"):
        ask(Fallback(Ranker("one", ValueError()), Ranker("two", OSError("last"))))


def half(frame):
    """Answers where x is positive."""
    return pd.DataFrame({"probability": frame["x"].where(frame["x"] > 0), "band": "high"}, index=frame.index)


def always(frame):
    return pd.DataFrame({"probability": 0.5, "drivers": "none"}, index=frame.index)


FRAME = pd.DataFrame({"x": [0.9, np.nan, 0.8, -1.0]}, index=["p", "q", "q", "r"])


def test_rows_the_first_leaves_empty_are_scored_by_the_second_alone():
    second = Scorer("second", always)
    answer = Fallback(Scorer("first", half), second).score_with_reason(FRAME)
    got = answer.value
    assert got["probability"].tolist() == [0.9, 0.5, 0.8, 0.5]
    assert got["source"].tolist() == ["first", "second", "first", "second"]
    assert got["fallback"].tolist() == [None, "first had no answer", None, "first had no answer"]
    assert list(got.index) == list(FRAME.index)
    assert got["probability"].dtype == np.float64
    assert second.asked == [["q", "r"]]
    assert (answer.source, answer.why) == ("first", "first had no answer for 2 of 4 rows")


@pytest.mark.parametrize("answer", [RuntimeError("x"), None, lambda frame: half(frame).head(1)])
def test_where_the_first_cannot_score_the_second_scores_all(answer):
    got = Fallback(Scorer("first", answer), Scorer("second", always)).score(FRAME)
    assert set(got["source"]) == {"second"}
    assert all(why.startswith("first ") for why in got["fallback"])


def test_a_full_score_needs_no_second():
    second = Scorer("second", always)
    got = Fallback(Scorer("first", always), second).score(FRAME)
    assert set(got["source"]) == {"first"}
    assert got["fallback"].isna().all()
    assert second.asked == []


def test_ladders_of_scorers_nest():
    ladder = Fallback(Scorer("one", half), Fallback(Scorer("two", ValueError()), Scorer("three", always)))
    got = ladder.score(FRAME)
    assert got["source"].tolist() == ["one", "three", "one", "three"]
    assert got["fallback"].iloc[1] == "one had no answer; two failed: ValueError"


def test_no_rows():
    got = Fallback(Scorer("first", half), Scorer("second", always)).score(FRAME.head(0))
    assert len(got) == 0
    assert {"probability", "source", "fallback"} <= set(got.columns)


def test_abilities_are_those_both_sides_have():
    assert abilities(Fallback(Ranker("a", []), Ranker("b", []))) == {"recommend"}
    with pytest.raises(BadInput, match="a and b answer different questions"):
        Fallback(Ranker("a", []), Scorer("b", always))


def test_rules_come_from_the_first_that_has_any():
    class Associator:
        def __init__(self, kind, rules):
            self.kind, self.rules = kind, rules

        def bought_together(self, item_ids, k):
            return self.rules

    assert Fallback(Associator("a", []), Associator("b", ["rule"])).bought_together(["x"], 1) == ["rule"]
    assert Fallback(Associator("a", ["own"]), Associator("b", ["rule"])).bought_together(["x"], 1) == ["own"]
