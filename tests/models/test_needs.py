"""Rules of needs that grow: dates, windows, ends, and what a wrong rule is told."""

import re
from datetime import timedelta
from importlib.resources import files

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from models.needs import GrownNeeds, NeedRule, NeedRules, Purchases
from nextbest.errors import BadInput

DAY = 86_400.0
AGES = {
    f"s{age}": {"title": f"Sweater, Age {age}", "category": "clothes/kids/sweaters"} for age in range(2, 17)
}
CLOTHES = {
    "name": "clothes", "category": "clothes/kids*", "size": r"Age (\d+)", "until": 14, "after": "P365D",
    "every": "P365D", "early": "P30D", "late": "P60D",
}  # fmt: skip
NAPPIES = {
    "name": "nappies", "title": "*nappies*", "size": "(Mini|Midi|Maxi)", "ladder": ["Mini", "Midi", "Maxi"],
    "after": "P60D", "early": "P10D", "late": "P10D",
}  # fmt: skip


@pytest.fixture(scope="module")
def grown(make_catalogue):
    shelf = make_catalogue(
        {
            **AGES,
            "mini": {"title": "Soft Nappies mini", "category": "baby"},
            "midi": {"title": "Soft Nappies MIDI", "category": "baby"},
            "maxi": {"title": "Soft Nappies Maxi", "category": "baby"},
            "adult": {"title": "Sweater, Age 40", "category": "clothes/adults"},
        }
    )
    return GrownNeeds([NeedRule.model_validate(rule) for rule in (CLOTHES, NAPPIES)], shelf)


def bought(grown, *purchases, contact=0):
    """Purchases as (item, day)."""
    pairs = [(place, group) for place, (item, _) in enumerate(purchases) for group in grown.groups_of[item]]
    place = np.array([one for one, _ in pairs], dtype=np.int64)
    return Purchases(
        np.full(len(pairs), contact),
        np.array([group for _, group in pairs], dtype=np.int64),
        place,
        np.array([float(purchases[one][1]) * DAY for one in place]),
    )


def sizes(grown, purchases, day):
    """Return the sizes needed on a day."""
    needs = grown.of(bought(grown, *purchases), day * DAY).open(day * DAY)
    return [grown.label(int(target)) for target in needs.target]


def test_a_size_up_in_a_year_and_each_year_on(grown):
    six = [("s6", 0)]
    assert [sizes(grown, six, day) for day in (300, 334, 335, 365, 425, 426)] == [
        [],
        [],
        ["7"],
        ["7"],
        ["7"],
        [],
    ]
    assert sizes(grown, six, 2 * 365) == ["8"]
    assert sizes(grown, six, 8 * 365) == ["14"]
    assert sizes(grown, six, 9 * 365) == []


def test_a_ladder_goes_one_rung_up_once(grown):
    assert sizes(grown, [("mini", 0)], 60) == ["Midi"]
    assert sizes(grown, [("mini", 0)], 120) == []
    assert sizes(grown, [("maxi", 0)], 60) == []


def test_what_was_bought_since_is_needed_no_more(grown):
    assert sizes(grown, [("s6", 0), ("s7", 340)], 360) == []
    assert sizes(grown, [("s6", 0), ("s7", 340)], 340 + 365) == ["8"]
    assert sizes(grown, [("s6", 0), ("s7", -20)], 365) == ["8", "7"], "bought before: another child's"


def test_two_children_grow_apart(grown):
    both = [("s6", 0), ("s3", 30)]
    assert sizes(grown, both, 380) == ["7", "4"]
    assert sizes(grown, [*both, ("s7", 350)], 380) == ["4"]
    assert sizes(grown, [("s6", 0), ("s3", 300)], 2 * 365) == ["8"]


def test_the_latest_purchase_of_a_size_counts(grown):
    assert sizes(grown, [("s6", 0), ("s6", 200)], 365) == []
    assert sizes(grown, [("s6", 0), ("s6", 200)], 565) == ["7"]


days = st.integers(0, 2000)
items = st.sampled_from([*AGES, "mini", "midi", "maxi"])
histories = st.lists(st.tuples(items, days), min_size=1, max_size=12)


@given(histories, st.integers(0, 6000), st.integers(-3000, 3000))
def test_dates_move_with_the_clock(grown, history, day, shift):
    one = grown.of(bought(grown, *history), day * DAY)
    other = grown.of(bought(grown, *((item, at + shift) for item, at in history)), (day + shift) * DAY)
    np.testing.assert_array_equal(one.target, other.target)
    np.testing.assert_allclose(one.due + shift * DAY, other.due)
    np.testing.assert_allclose(one.opens + shift * DAY, other.opens)


@given(histories, st.integers(0, 6000))
def test_nothing_fires_outside_its_window_or_past_the_end(grown, history, day):
    now = day * DAY
    purchases = bought(grown, *history)
    needs = grown.of(purchases, now).open(now)
    assert ((needs.opens <= now) & (now <= needs.closes)).all()
    last = {}
    for item, at in history:
        last[item] = max(last.get(item, -1), at)
    for target, item, at in zip(needs.target, needs.item, needs.bought, strict=True):
        rule, label = grown.rule(int(target)), grown.label(int(target))
        assert at / DAY == last[history[item][0]], "counted from the latest purchase of the size"
        if rule.name == "clothes":
            assert int(label) <= 14
            grown_by = int(label) - int(re.sub(r"\D", "", history[item][0]))
            assert at + (grown_by * 365 - 30) * DAY <= now <= at + (grown_by * 365 + 60) * DAY
        else:
            assert at + 50 * DAY <= now <= at + 70 * DAY


@given(histories, histories, st.integers(0, 6000))
def test_a_contact_is_answered_alone_as_among_others(grown, one, other, day):
    parts = [bought(grown, *one), bought(grown, *other, contact=1)]
    names = ("contact", "group", "item", "time")
    both = Purchases(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))
    together, alone = grown.of(both, day * DAY), grown.of(parts[1], day * DAY)
    mine = together.contact == 1
    np.testing.assert_array_equal(together.target[mine], alone.target)
    np.testing.assert_array_equal(together.due[mine], alone.due)


def test_a_size_nobody_can_buy_is_no_need(make_catalogue):
    rule = NeedRule.model_validate(CLOTHES)
    shelf = make_catalogue(
        {**AGES, "s7": {**AGES["s7"], "in_stock": False}, "s8": {**AGES["s8"], "hidden": True}}
    )
    grown = GrownNeeds([rule], shelf)
    assert [sizes(grown, [("s6", 0)], year * 365) for year in (1, 2, 3)] == [[], [], ["9"]]


def test_no_rules_and_no_purchases_are_no_error(make_catalogue, grown):
    assert GrownNeeds([], make_catalogue(AGES)).groups_of == {}
    assert len(grown.of(bought(grown), 0.0)) == 0


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"category": None}, "give at least one of item, category, title, brand"),
        ({"size": r"Age \d+"}, "must have one group in brackets"),
        ({"size": "Age ("}, "is no pattern"),
        ({"until": None}, "it would never end; give until, times or a ladder"),
        ({"after": 365}, "365 is no duration; write P365D"),
        ({"after": "P0D"}, "must be longer than nothing"),
        ({"step": 0}, "step"),
        ({"agee": 1}, "agee"),
    ],
)
def test_a_wrong_rule_is_told_what_would_work(change, says, tmp_path):
    path = tmp_path / "needs.yaml"
    rule = {key: value for key, value in {**CLOTHES, **change}.items() if value is not None}
    path.write_text(yaml.safe_dump({"needs": [rule]}))
    with pytest.raises(BadInput, match=r"needs\.yaml are wrong") as raised:
        NeedRules.load(path)
    assert says in str(raised.value)


def test_names_must_differ_and_a_file_must_be_there(tmp_path):
    path = tmp_path / "needs.yaml"
    path.write_text(yaml.safe_dump({"needs": [CLOTHES, CLOTHES]}))
    with pytest.raises(BadInput, match="names must differ; twice: clothes"):
        NeedRules.load(path)
    with pytest.raises(BadInput, match="cannot be read"):
        NeedRules.load(tmp_path / "none.yaml")


def test_the_package_does_nothing_and_its_examples_are_right():
    assert NeedRules.load().needs == ()
    text = (files("models") / "needs.yaml").read_text(encoding="utf-8")
    shown = "\n".join(line[2:] for line in text.splitlines() if re.match(r"# (needs:|  )", line))
    rules = NeedRules.model_validate(yaml.safe_load(shown)).needs
    assert [rule.name for rule in rules] == ["clothes_by_age", "nappies"]
    assert rules[0].after == timedelta(days=365)
