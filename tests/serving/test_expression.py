"""The expression language: what it reads, what it refuses and why, and what is unknown."""

import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nextbest.errors import BadInput
from serving.expression import Expression
from serving.vocabulary import KNOWN, VALUES, Kind

NAN = math.nan
FRAME = pd.DataFrame(
    {
        "churn.band": ["low", "medium", "high", None],
        "rfm.segment": ["champions", "loyal", "lost", "champions"],
        "value.past": [10.0, 0.0, NAN, -5.0],
        "value.total": [20.0, 0.0, 5.0, NAN],
    }
)


def rows(text: str) -> list[int]:
    return np.flatnonzero(Expression.parse(text, KNOWN).mask(FRAME)).tolist()


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('churn.band == "high"', [2]),
        ("'high' == churn.band", [2]),
        ('churn.band != "high"', [0, 1]),
        ('churn.band in ["high", "low"]', [0, 2]),
        ('churn.band not in ("high",)', [0, 1]),
        ("churn.band is missing", [3]),
        ("churn.band is not missing", [0, 1, 2]),
        ("churn.band != rfm.segment", [0, 1, 2]),
        ("value.past > 0", [0]),
        ("value.past >= 0", [0, 1]),
        ("0 <= value.past < 10", [1]),
        ("value.past in [0, -5, 7.5]", [1, 3]),
        ("-value.past == 5", [3]),
        ("value.past * 2 == value.total", [0, 1]),
        ("value.past - 4 - 4 == 2", [0]),
        ("value.past + 2 * 5 == 20", [0]),
        ("(value.past + 2) * 5 == 60", [0]),
        ('value.past > 0 or rfm.segment == "lost"', [0, 2]),
        ('value.past > 0 or rfm.segment == "lost" and value.past > 0', [0]),
        ("not value.past > 0", [1, 3]),
        ("NOT value.past > 0 AND value.total IS NOT MISSING", [1]),
        ("value.past\u00a0>\n0", [0]),
    ],
)
def test_a_condition_finds_its_contacts(text: str, found: list[int]) -> None:
    assert rows(text) == found


def test_what_reads_a_missing_value_is_unknown_and_so_is_its_opposite() -> None:
    for text in ("value.past == 10", "value.past != 10", "value.past in [10]", "value.past not in [10]"):
        assert 2 not in rows(text)
        assert 2 not in rows(f"not {text}")
    assert rows("value.past > 0 or value.total == 5") == [0, 2]  # unknown or true
    assert rows("not (value.past > 0 and value.total == 6)") == [0, 1, 2, 3]  # unknown and false: false


def test_a_division_by_nought_is_unknown() -> None:
    assert rows("value.total / value.past > 0") == [0]
    assert rows("value.total / value.past is missing") == [1, 2, 3]
    assert rows("value.total * 1e308 * 1e308 is missing") == [0, 2, 3]


def test_the_parts_of_a_top_level_and_are_conditions_of_their_own() -> None:
    whole = Expression.parse(
        ' churn.band == "low" and (value.past > 0 or value.total > 0) and 0 < value.past < 9 ', KNOWN
    )
    assert [part.text for part in whole.conditions] == [
        'churn.band == "low"', "(value.past > 0 or value.total > 0)", "0 < value.past < 9",
    ]  # fmt: skip
    assert whole.conditions[1].mask(FRAME).tolist() == [True, False, True, False]
    assert whole.names == ("churn.band", "value.past", "value.total")
    assert whole.conditions[0].names == ("churn.band",)
    assert Expression.parse("value.past > 0 or value.past < 0 and value.total > 1", KNOWN).conditions == ()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("churn.band > 3", "churn.band > 3 compares a name with a number; churn.band is one of low, me"),
        ('churn.band > "low"', "names have no order; compare them by ==, !=, in or not in"),
        ('value.past > "50"', "compares a number with a name; value.past is a number"),
        ("churn.band == high", "no column 'high'; a name is written in quotes: \"high\" (at character 15)"),
        ('churn.band == "hihg"', 'churn.band is never "hihg"; did you mean high?'),
        ('rfm.segment in ["loyal", "chmpions"]', "did you mean champions?"),
        ("chrn.band is missing", "no column 'chrn.band'; did you mean churn.band?; columns begin with"),
        ("value.pst > 1", "did you mean value.past or value.total?; value has value.source, value.past,"),
        ("value.past", "value.past is a number, not a condition; compare it, as in value.past > 0"),
        ('value.past > 1 and "x"', 'compare it, as in "x" == "…" (at character 20)'),
        ("value.past = 3", "'=' is not understood; write == (at character 12)"),
        ("value.past <> 3", "'<' is not understood; write !="),
        ("value.past > 1 && value.past < 3", "'&' is not understood; write and"),
        ('churn.band == "high', 'the text that starts here needs another " at its end (at character 15)'),
        (" ", "the expression is empty; write a condition such as"),
        ("1 < 2", "reads no column"),
        ("(value.past > 1", "expected a closing bracket, found the end (at character 16)"),
        ("value.past > 1)", "expected an operator, and, or, or the end, found ')'"),
        ("value.past > 1,000", "found ','"),
        ("value.past is 5", "is missing, is not missing; values are compared by == and !="),
        ("value.past in 5", 'expected a list such as ["high", "medium"], found \'5\''),
        ("value.past in []", "found ']'"),
        ("value.past in [value.total]", "a list holds numbers or names in quotes"),
        ('value.past in ["a"]', 'value.past is a number, "a" in the list a name'),
        ('"a" in ["a"] and value.past > 1', "look for a column in the list"),
        ("(value.past > 1) > 2", "is a condition; it can be neither compared nor calculated with"),
        ("churn.band + 1 > 2", "churn.band is a name; only numbers can be calculated with"),
        ("value.past > 1e999", "1e999 is too big a number"),
        ("value.past > 1_000", "'1_000' is not understood"),
        ("__import__('os')", "found '('"),
        ("value.past.__class__ == 1", "no column 'value.past.__class__'"),
        ("(" * 31 + "value.past > 1", "nested deeper than 30"),
        ("not " * 31 + "value.past > 1", "nested deeper than 30"),
        ("+".join(["value.past"] * 40) + " > 1", "nested deeper than 30"),
        ("value.past > 1 or " * 1000, "at most 10,000 characters"),
    ],
)  # fmt: skip
def test_what_is_refused_says_what_would_work(text: str, said: str) -> None:
    with pytest.raises(BadInput) as refused:
        Expression.parse(text, KNOWN)
    assert said in str(refused.value)


def test_a_column_without_a_list_of_names_holds_any() -> None:
    known: dict[str, Kind] = {"tag.entry": "name"}
    assert Expression.parse('tag.entry == "search"', known).names == ("tag.entry",)
    with pytest.raises(BadInput, match="never"):
        Expression.parse('tag.entry == "serch"', known, {"tag.entry": ("search",)})


def test_a_frame_without_the_column_is_refused() -> None:
    with pytest.raises(BadInput, match=r"have no score\.points"):
        Expression.parse("score.points > 1", KNOWN).mask(FRAME)


def test_every_column_of_names_that_is_listed_is_known() -> None:
    assert {KNOWN[name] for name in VALUES} == {"name"}


@settings(deadline=None)
@given(st.text(max_size=60) | st.lists(st.sampled_from(
    ["value.past", "churn.band", "'high'", "1", "-", "+", "*", "/", "(", ")", "[", "]", ",", "==", "<", "!=",
     "in", "not", "and", "or", "is", "missing", "é", ".", "'", "1e9"]
), max_size=14).map(" ".join))  # fmt: skip
def test_no_text_makes_anything_but_bad_input(text: str) -> None:
    try:
        mask = Expression.parse(text, KNOWN).mask(FRAME)
    except BadInput:
        return
    assert (mask.dtype, mask.shape) == (np.dtype(bool), (len(FRAME),))


# --- against a reference that looks at one contact at a time

Row = dict[str, Any]
Read = Callable[[Row], Any]
Written = tuple[str, Read]
NUMBERS: dict[str, Kind] = {"a.x": "number", "a.y": "number"}
NAMES: dict[str, Kind] = {"b.p": "name", "b.q": "name"}
WORDS = ("red", "green", "blue")
SIGNS: dict[str, Callable[[Any, Any], bool]] = {
    "==": lambda a, b: a == b, "!=": lambda a, b: a != b, "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b, ">": lambda a, b: a > b, ">=": lambda a, b: a >= b,
}  # fmt: skip


def column(name: str) -> Written:
    return name, lambda row: row[name]


def literal(value: float) -> Written:
    return repr(value), lambda row: value


def calculated(sign: str, left: Written, right: Written) -> Written:
    def read(row: Row) -> float | None:
        one, other = left[1](row), right[1](row)
        if one is None or other is None or (sign == "/" and other == 0):
            return None
        found = {"+": one + other, "-": one - other, "*": one * other}.get(sign)
        return one / other if found is None else found

    return f"({left[0]} {sign} {right[0]})", read


def compared(sign: str, left: Written, right: Written) -> Written:
    def read(row: Row) -> bool | None:
        one, other = left[1](row), right[1](row)
        return None if one is None or other is None else SIGNS[sign](one, other)

    return f"{left[0]} {sign} {right[0]}", read


def among(negated: bool, value: Written, options: list[Any]) -> Written:
    def read(row: Row) -> bool | None:
        one = value[1](row)
        return None if one is None else (one in options) != negated

    listed = ", ".join(f'"{o}"' if isinstance(o, str) else repr(o) for o in options)
    return f"{value[0]} {'not in' if negated else 'in'} [{listed}]", read


def missing(negated: bool, value: Written) -> Written:
    said = "is not missing" if negated else "is missing"
    return f"{value[0]} {said}", lambda row: (value[1](row) is None) != negated


def opposite(inner: Written) -> Written:
    def read(row: Row) -> bool | None:
        found = inner[1](row)
        return None if found is None else not found

    return f"not ({inner[0]})", read


def joined(word: str, parts: list[Written]) -> Written:
    decides = word == "or"

    def read(row: Row) -> bool | None:
        found = [part[1](row) for part in parts]
        return decides if decides in found else None if None in found else not decides

    return f" {word} ".join(f"({part[0]})" for part in parts), read


small = st.integers(-3, 3).map(float)
numbers = st.recursive(
    st.sampled_from(list(NUMBERS)).map(column) | small.map(literal),
    lambda inner: st.builds(calculated, st.sampled_from("+-*/"), inner, inner),
    max_leaves=4,
)
names = st.sampled_from(list(NAMES)).map(column)
words = st.sampled_from(WORDS)
simple = (
    st.builds(compared, st.sampled_from(list(SIGNS)), numbers, numbers)
    | st.builds(
        compared,
        st.sampled_from(("==", "!=")),
        names,
        names | words.map(lambda w: (f"'{w}'", lambda row: w)),
    )
    | st.builds(among, st.booleans(), numbers, st.lists(small, min_size=1, max_size=3))
    | st.builds(among, st.booleans(), names, st.lists(words, min_size=1, max_size=3))
    | st.builds(missing, st.booleans(), numbers | names)
)
conditions = st.recursive(
    simple,
    lambda inner: (
        inner.map(opposite)
        | st.builds(joined, st.sampled_from(("and", "or")), st.lists(inner, min_size=2, max_size=3))
    ),
    max_leaves=6,
)
contacts = st.lists(
    st.fixed_dictionaries(
        {**dict.fromkeys(NUMBERS, st.none() | small), **dict.fromkeys(NAMES, st.none() | words)}
    ),
    max_size=6,
)


@settings(deadline=None)
@given(conditions, contacts)
def test_a_mask_is_what_a_contact_at_a_time_gives(condition: Written, people: list[Row]) -> None:
    text, read = condition
    if not any(name in text for name in (*NUMBERS, *NAMES)):
        return
    frame = pd.DataFrame(people, columns=[*NUMBERS, *NAMES])
    frame = frame.astype({**dict.fromkeys(NUMBERS, "float64"), **dict.fromkeys(NAMES, "object")})
    mask = Expression.parse(text, {**NUMBERS, **NAMES}).mask(frame)
    assert mask.tolist() == [read(row) is True for row in people]


def test_a_hundred_thousand_contacts_take_a_moment() -> None:
    rng, count = np.random.default_rng(1), 100_000
    frame = pd.DataFrame(
        {
            "churn.band": rng.choice(np.array(["low", "high", None], dtype=object), count),
            "value.next_90d": rng.normal(50, 30, count),
        }
    )
    expression = Expression.parse('churn.band == "high" and value.next_90d * 2 > 50', KNOWN)
    started = time.perf_counter()
    assert expression.mask(frame).any()
    assert time.perf_counter() - started < 0.5
