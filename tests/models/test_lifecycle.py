"""Engagement and lifecycle: whole histories of events, valued as features are, and what follows from them."""

import copy

import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from features.contacts import derive
from features.decay import DAY, factor
from features.points import Rules
from models._engagement import engagement, silence
from models._lifecycle_rules import AFTER_LADDER, BEFORE_STAGES, STAGES, LifecycleRules
from models.lifecycle import Lifecycle
from nextbest.columns import CONTACT_FEATURES, COUNTER_COLUMNS, COUNTERS, FIRST_TIMES, LAST_TIMES, POINTS
from nextbest.errors import BadInput

NOW = 1_700_000_000.0
POINT_RULES = Rules.load()
DOES = (
    "product_viewed", "page_viewed", "product_added", "products_searched", "form_submitted",
    "message_opened", "message_clicked",
)  # fmt: skip
"""What contacts do of themselves, and no rule takes points off for."""
RULES = LifecycleRules.load()


def contact(events, now=NOW, **more):
    """Return the features, valued at `now`, of somebody with these (event, days ago) of NOW."""
    row = dict.fromkeys(COUNTER_COLUMNS, 0.0)
    times = [(kind, NOW - ago * DAY) for kind, ago in events]
    last = max((at for _, at in times), default=NOW)
    for kind, at in times:
        points = POINT_RULES.points({"event": kind, "lead": True})
        for place, span in enumerate(("7d", "30d", "90d", "365d", "total")):
            weight = 1.0 if span == "total" else factor(last - at, float(span[:-1]))
            for counter, kinds in COUNTERS.items():
                row[f"{counter}_{span}"] += weight * (kind in kinds)
            row[f"{POINTS}_{span}"] += weight * points[place]
    for names, pick in ((FIRST_TIMES, min), (LAST_TIMES, max)):
        for name, kinds in names.items():
            row[name] = pick((at for kind, at in times if kinds is None or kind in kinds), default=np.nan)
    return derive(row, now) | {name: row[name] for name in (*FIRST_TIMES, *LAST_TIMES)} | more


def score(*rows, model=None):
    return (model or Lifecycle()).score(pd.DataFrame(list(rows)))


ages = st.floats(0.0, 600.0)
done = st.lists(st.tuples(st.sampled_from([*DOES, "message_sent"]), ages), max_size=12)
bought = st.lists(ages.map(lambda ago: ("order_completed", ago)), max_size=8)


# --- monotone


@given(done, bought, st.sampled_from([*DOES, "order_completed"]))
def test_doing_something_more_now_never_lowers_the_index(events, orders, kind):
    if kind == "order_completed" and not orders:
        return  # the first order leads into the other half
    before, after = score(contact([*events, *orders]), contact([*events, *orders, (kind, 0.0)]))["index"]
    assert after >= before - 1e-9


@given(done, bought.filter(len), st.floats(0.0, 1.0))
def test_the_later_the_last_order_the_higher_the_index(events, orders, share):
    kind, ago = min(orders, key=lambda order: order[1])
    others = [order for order in orders if order is not (kind, ago)]
    others.remove((kind, ago))
    before, after = score(
        contact([*events, *others, (kind, ago)]), contact([*events, *others, (kind, ago * share)])
    )["index"]
    assert after >= before - 1e-9


@given(done, bought, st.floats(0.0, 400.0))
def test_while_nothing_happens_the_index_never_rises(events, orders, days):
    now, later = score(contact([*events, *orders]), contact([*events, *orders], now=NOW + days * DAY))[
        "index"
    ]
    assert later <= now + 1e-9


@given(done, bought)
def test_the_ladder_is_climbed_by_the_index(events, orders):
    ladder = AFTER_LADDER if orders else BEFORE_STAGES
    rows = [contact([*events, *orders], now=NOW + days * DAY) for days in (0, 10, 40, 90, 200, 400, 900)]
    told = score(*rows)
    told = told[told["stage"] != "new"]
    ranks = [ladder.index(stage) for stage in told.sort_values("index")["stage"]]
    assert ranks == sorted(ranks)


numbers = st.one_of(st.just(np.nan), st.floats(-1e6, 1e6), st.just(0.0))


@given(st.lists(st.dictionaries(st.sampled_from(CONTACT_FEATURES), numbers), min_size=1, max_size=5))
def test_everybody_is_in_exactly_one_stage_of_its_half(rows):
    frame = pd.DataFrame(rows, columns=list(CONTACT_FEATURES), dtype=float)
    told = Lifecycle().score(frame)
    assert told["index"].between(0, 100).all()
    before = told["half"] == "before"
    assert (before == ~(frame["orders_total"] > 0)).all()
    assert told.loc[before, "stage"].isin(BEFORE_STAGES).all()
    assert told.loc[~before, "stage"].isin({*AFTER_LADDER, "new"}).all()
    assert set(STAGES) == {*BEFORE_STAGES, *AFTER_LADDER, "new"}


# --- what the defaults say


VISIT = [("page_viewed", 0.1)] * 5 + [("product_viewed", 0.1)] * 3
REGULAR = [("order_completed", 14.0 * n) for n in range(1, 20)]


@pytest.mark.parametrize(
    ("events", "known", "stage"),
    [
        ([], False, "visitor"),
        ([], True, "lead"),
        (VISIT, False, "visitor"),
        (VISIT, True, "engaged"),
        ([("form_submitted", 0.1)], False, "engaged"),
        ([("form_submitted", 40.0)], False, "lead"),
        ([*VISIT, ("form_submitted", 0.1), ("product_added", 0.1)], False, "sales_ready"),
        ([(kind, ago + 60) for kind, ago in VISIT], True, "lead"),
        ([("order_completed", 3.0)], True, "new"),
        ([("order_completed", 3.0)] * 3, True, "active"),
        ([("order_completed", 300.0)], True, "lost"),
        (REGULAR, True, "loyal"),
        ([(kind, ago + 35) for kind, ago in REGULAR], True, "active"),
        ([(kind, ago + 70) for kind, ago in REGULAR], True, "slipping"),
        ([(kind, ago + 110) for kind, ago in REGULAR], True, "leaving"),
        ([(kind, ago + 200) for kind, ago in REGULAR], True, "lost"),
    ],
)
def test_the_stages_of_typical_contacts(events, known, stage):
    assert score(contact(events, identified=known))["stage"].tolist() == [stage]


@pytest.mark.parametrize(
    ("lead", "stages"),
    [
        ("identified", ["visitor", "lead", "visitor"]),
        ("form", ["visitor", "visitor", "lead"]),
        ("either", ["visitor", "lead", "lead"]),
        ("both", ["visitor", "visitor", "visitor"]),
    ],
)
def test_what_makes_a_lead_is_a_rule(lead, stages):
    rules = RULES.model_copy(update={"before": RULES.before.model_copy(update={"lead": lead})})
    form = [("form_submitted", 90.0)]
    rows = contact([], identified=False), contact([], identified=True), contact(form, identified=False)
    assert score(*rows, model=Lifecycle(rules))["stage"].tolist() == stages


def test_a_message_sent_is_no_visit_and_silence_counts_from_the_third_on():
    quiet, written = [("page_viewed", 90.0)], [("page_viewed", 90.0), ("message_sent", 0.1)]
    index = score(contact(quiet), contact(written))["index"]
    assert index[1] <= index[0]
    twice, thrice = (contact([*REGULAR, *[("message_sent", 1.0)] * n]) for n in (2, 3))
    never, two, three = score(contact(REGULAR), twice, thrice)["index"]
    assert never == pytest.approx(two)
    assert three < two


def test_a_silence_is_measured_by_the_own_cadence():
    rows = [contact([("order_completed", gap * n) for n in range(1, 20)]) for gap in (20.0, 60.0)]
    assert silence(pd.DataFrame(rows), RULES.after) == pytest.approx([1.0, 1.0], abs=0.05)
    often = contact([("order_completed", n / 2) for n in range(14, 60)])
    assert silence(pd.DataFrame([often]), RULES.after) == pytest.approx([7.0 / 14.0]), "no gap below 14 days"


def test_features_alone_are_enough():
    row = contact([*VISIT, *REGULAR])
    alone = {name: row[name] for name in CONTACT_FEATURES}
    pd.testing.assert_frame_equal(score(row), score(alone))


# --- rules


def wrong(**changes):
    """Return the rules' YAML with changes at "half.key"."""
    raw = copy.deepcopy(RULES.model_dump(mode="json"))
    for place, value in changes.items():
        half, _, key = place.partition("__")
        if key:
            raw[half][key] = value
        else:
            raw[half] = value
    return yaml.safe_dump(raw)


PART = {"part": "points", "weight": 1, "half": 1}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (wrong(before__index=[PART | {"weight": -1}]), "before → index → points → weight: .*greater"),
        (wrong(before__index=[PART | {"half": 0}]), "before → index → points → half"),
        (wrong(before__index=[PART | {"part": "cadence"}]), "before → index → cadence → part"),
        (wrong(before__index=[PART, PART]), "before: index: a part counts once; twice: points"),
        (wrong(before__index=[PART | {"weight": 0}]), "before: index: at least one part needs a weight"),
        (wrong(before__stages={"engaged": 70, "sales_ready": 60}), r"engaged \(70\) is above sales_ready"),
        (wrong(before__stages={"engaged": 70}), "stages: give engaged, sales_ready; got engaged"),
        (wrong(before__stages={"engaged": 30, "sales_ready": 101}), "before → stages → sales_ready"),
        (wrong(after__learned={}), "after: learned: give leaving, slipping, active, loyal; got none"),
        (wrong(before__lead="anybody"), "before → lead"),
        (wrong(after__new={"days": 30, "order": 1}), "after → new → order"),
        (wrong(cutoffs="guessed"), "cutoffs"),
        ("[]", "valid dictionary"),
        ("a: [", "cannot be read"),
    ],
)
def test_wrong_rules_are_refused_by_name(text, message, tmp_path):
    path = tmp_path / "lifecycle.yaml"
    path.write_text(text)
    with pytest.raises(BadInput, match=message):
        LifecycleRules.load(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(BadInput, match=r"nowhere\.yaml cannot be read"):
        LifecycleRules.load(tmp_path / "nowhere.yaml")


# --- learned cut-offs


def two_kinds(n=400):
    """Half ordered last week and do so again; half long ago, and hardly anyone does."""
    random = np.random.default_rng(1)
    frame = pd.DataFrame({"orders_total": 5.0, "orders_365d": 4.0}, index=range(n))
    frame["order_gap_days"], frame["orders_trend"] = 30.0, 1.0
    recent = np.arange(n) % 2 == 0
    frame["recency_days"] = np.where(recent, random.uniform(0, 20, n), random.uniform(200, 300, n))
    ordered = (random.random(n) < np.where(recent, 0.9, 0.02)).astype(float)
    return frame, recent, ordered


def test_cutoffs_are_learned_where_the_odds_cross_multiples_of_everyones():
    frame, recent, ordered = two_kinds()
    model = Lifecycle.learn(frame, ordered)
    stages = model.rules.after.stages
    index = engagement(frame, RULES.after)
    for name in ("leaving", "loyal"):
        assert np.quantile(index[~recent], 0.7) < stages[name] <= index[recent].min() + 5, name
    assert list(stages.values()) == sorted(stages.values())
    assert model.origin == {
        "before": "given by the rules: learning needs 200 contacts, there are 0",
        "after": "learned from 400 contacts",
    }
    assert model.rules.before == RULES.before
    assert (model.score(frame)["stage"][~recent] == "lost").mean() > 0.7


def test_a_stage_that_nobody_reaches_begins_at_the_top():
    frame, _, ordered = two_kinds()
    raw = RULES.model_dump(mode="json")
    raw["after"]["learned"]["loyal"] = 1e6
    model = Lifecycle.learn(frame, ordered, LifecycleRules.model_validate(raw))
    assert model.rules.after.stages["loyal"] == 100.0


def test_one_outcome_alone_teaches_nothing():
    frame, _, ordered = two_kinds()
    model = Lifecycle.learn(frame, np.ones_like(ordered))
    assert model.rules == RULES
    assert "400 of 400 ordered" in model.origin["after"]


def test_the_champion_answers_only_where_the_rules_ask_for_it():
    frame, _, ordered = two_kinds()
    champion = Lifecycle.learn(frame, ordered)
    asking = RULES.model_copy(update={"cutoffs": "learned"})
    assert Lifecycle.chosen(asking, champion) is champion
    assert Lifecycle.chosen(RULES, champion).rules == RULES
    assert Lifecycle.chosen(asking).rules == asking
