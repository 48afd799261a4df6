"""The next-purchase and basket jobs, on small shops taken through the lake and the feature tables."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from features.build import build
from features.events.lake import Lake
from models import artifact
from models.sequence import SequenceModel
from nextbest.columns import EVENT_COLUMNS, ITEM_COLUMNS
from nextbest.errors import BadInput, NotReady
from nextbest.settings import Settings
from training import _purchases
from training.base import Context
from training.jobs import jobs_found
from training.jobs.basket import Puzzles
from training.metrics import paired_bootstrap

START = datetime(2025, 1, 1, tzinfo=UTC)
DAYS = 200
NOW = START + timedelta(days=DAYS, hours=12)
FAST = {
    "next-purchase": {
        "epochs": "2",
        "width": "8",
        "rounds": "30",
        "every_days": "15",
        "moments": "3",
        "min_count": "2",
    },
    "basket": {},
}


def orders(rows):
    """Return canonical events of (contact, days after START, items)."""
    lines = [
        (contact, START + timedelta(days=day), f"o{number}", item)
        for number, (contact, day, items) in enumerate(rows)
        for item in items
    ]
    frame = pd.DataFrame(lines, columns=["contact_id", "timestamp", "order_id", "item_id"])
    frame = frame.assign(event="order_completed", quantity=1.0, price=2.0)
    frame["event_id"] = [f"e{number}" for number in range(len(frame))]
    frame["timestamp"] = frame["received_at"] = frame["timestamp"].astype("datetime64[us, UTC]")
    return frame.sort_values("timestamp").reindex(columns=list(EVENT_COLUMNS)).astype({"price": float})


def regulars(contacts=60, items=30, seed=3):
    """Everybody buys a pair of their own over and over, and sometimes something else with it."""
    random = np.random.default_rng(seed)
    for contact in range(contacts):
        own = 2 * (contact % (items // 2))
        for day in np.arange(random.uniform(0, 12), DAYS, random.uniform(8, 16)):
            other = [f"i{random.integers(items):02d}"] if random.random() < 0.5 else []
            yield (
                f"c{contact:03d}",
                float(day),
                list(dict.fromkeys([f"i{own:02d}", f"i{own + 1:02d}", *other])),
            )


def once(contacts=50, seed=4):
    """Everybody orders a single time."""
    random = np.random.default_rng(seed)
    for contact in range(contacts):
        yield f"c{contact:03d}", float(random.uniform(0, DAYS)), [f"i{n}" for n in random.choice(9, 2, False)]


def always_new(contacts=50, seed=5):
    """Nobody buys anything twice."""
    random = np.random.default_rng(seed)
    for contact in range(contacts):
        items = random.permutation(40)
        for number, day in enumerate(np.arange(random.uniform(0, 20), DAYS, 21)):
            yield (
                f"c{contact:03d}",
                float(day),
                [f"i{items[2 * number]:02d}", f"i{items[2 * number + 1]:02d}"],
            )


def opened(tmp_path_factory, rows, name):
    settings = Settings(home=tmp_path_factory.mktemp(name))
    events = orders(rows)
    lake = Lake(settings.lake)
    lake.write([events])
    items = pd.DataFrame({"item_id": sorted(set(events["item_id"]))}).reindex(columns=list(ITEM_COLUMNS))
    lake.write_items(items.assign(category="shop/all"))
    build(settings, NOW)
    return Context(settings, NOW, 7)


@pytest.fixture(scope="module")
def context(tmp_path_factory):
    return opened(tmp_path_factory, regulars(), "regulars")


@pytest.fixture(scope="module")
def prepared(context):
    kept = {}

    def of(name, **options):
        key = (name, *sorted(options.items()))
        if key not in kept:
            job, told = jobs_found()[name], Context(context.settings, NOW, 7, options)
            data = job.prepare(told)
            kept[key] = (job, told, data, job.fit(data, told))
        return kept[key]

    return of


@pytest.mark.parametrize("name", FAST)
def test_every_step_of_a_job(name, prepared, tmp_path):
    job, told, data, model = prepared(name, **FAST[name])
    ours = job.evaluate(model, data)
    assert job.metric in ours.metrics
    assert ours.statistic(np.arange(ours.units)) == pytest.approx(ours.metrics[job.metric])
    for baseline in job.baselines(data, told).values():
        theirs = job.evaluate(baseline, data)
        assert theirs.units == ours.units
    assert all(name.endswith(".png") for name in job.figures(model, data))
    assert all(len(table) for table in job.tables(model, data).values())
    given, answer = job.example(model, data)
    for frame in (given, answer):
        assert len(frame)
        assert {str(kind) for kind in frame.dtypes} <= {"float64", "object"}
    assert not set(data.lines["contact_id"]) & set(answer.get("contact_id", ()))  # an example is nobody
    assert job.facts(data)["simulated"] is False
    again = artifact.load(artifact.save(model, tmp_path / name))
    assert job.evaluate(again, data).metrics == pytest.approx(ours.metrics)


@pytest.mark.parametrize("name", FAST)
def test_what_everyone_buys_is_found(name, prepared):
    job, told, data, model = prepared(name, **FAST[name])
    ours = job.evaluate(model, data)
    assert ours.metrics[job.metric] > 0.5
    popularity = job.evaluate(job.baselines(data, told)["popularity"], data)
    assert paired_bootstrap(ours.statistic, popularity.statistic, ours.units, 1).low > 0


def test_probabilities_hold_on_the_holdout(prepared):
    job, _, data, model = prepared("next-purchase", **FAST["next-purchase"])
    assert job.evaluate(model, data).metrics["ece"] < 0.05


def test_generators_of_the_past_know_nothing_of_what_is_ranked(prepared, monkeypatch):
    job, told, data, _ = prepared("next-purchase", **FAST["next-purchase"])
    seen = []
    learn = SequenceModel.learn
    monkeypatch.setattr(
        "models.sequence.SequenceModel.learn",
        lambda lines, *rest: seen.append(lines["time"].max()) or learn(lines, *rest),
    )
    job.fit(data, told)
    assert seen
    assert max(seen) <= data.cuts[0].timestamp()


def test_what_comes_after_the_cut_changes_nothing_that_is_learned(prepared, context):
    job, told, data, model = prepared("next-purchase", **FAST["next-purchase"])
    lines = data.lines[data.lines["time"] <= data.split.cut.timestamp()]
    again = job.fit(replace(data, lines=lines, _answers=[]), told)
    shopper, shelf = data.holdout.shoppers[0], data.holdout.catalogue
    one, other = (m.recommend(shopper, shelf, 10) for m in (model, again))
    assert one.item_ids == other.item_ids
    np.testing.assert_array_equal(one.scores, other.scores)
    np.testing.assert_array_equal(one.probabilities, other.probabilities)


def test_purchases_are_of_whoever_is_known(tmp_path):
    settings = Settings(home=tmp_path)
    events = orders([("a", 1, ["x"]), ("b", 2, ["y"]), ("c", 3, ["z"])])
    events["anonymous_id"] = [None, "linked", "stranger"]
    events["contact_id"] = ["a", None, None]
    lake = Lake(settings.lake)
    lake.write([events.astype({"anonymous_id": object, "contact_id": object})])
    told = {"anonymous_id": ["linked"], "contact_id": ["b"], "timestamp": [pd.Timestamp(START)]}
    lake.write_identities(pd.DataFrame(told))
    lines = _purchases.purchases(settings, NOW)
    assert lines["contact_id"].tolist() == ["a", "b", "stranger"]
    assert lines["time"].tolist() == [(START + timedelta(days=d)).timestamp() for d in (1, 2, 3)]


def test_first_orders_are_the_first(context):
    lines = _purchases.purchases(context.settings, NOW)
    after, until = START + timedelta(days=50), START + timedelta(days=80)
    first = _purchases.first_orders(lines, after, until)
    for contact in ("c000", "c007"):
        own = lines[(lines["contact_id"] == contact) & (lines["time"] > after.timestamp())]
        order = own["order_id"].iloc[0]
        assert first[contact] == set(own[own["order_id"] == order]["item_id"])
        assert first[contact] <= _purchases.bought_between(lines, after, until)[contact]


def test_a_puzzle_lacks_one_item():
    frame = pd.DataFrame({"order_id": list("aaabbc"), "item_id": list("xyyxzx")})
    puzzles = Puzzles.of(frame, 1)
    assert len(puzzles.missing) == 2
    for left, missing in zip(puzzles.left, puzzles.missing, strict=True):
        assert missing not in left
        assert len(left) == 1


def test_orders_of_one_time_buyers_are_not_ready(tmp_path_factory):
    context = opened(tmp_path_factory, once(), "once")
    with pytest.raises(NotReady, match="no contact ordered both before and after"):
        jobs_found()["next-purchase"].prepare(context)
    job = jobs_found()["basket"]
    data = job.prepare(context)
    assert job.evaluate(job.fit(data, context), data).units == len(data.holdout.missing)


def test_a_shop_where_nothing_is_bought_twice(tmp_path_factory):
    context = opened(tmp_path_factory, always_new(), "always_new")
    told = Context(context.settings, NOW, 7, FAST["next-purchase"])
    job = jobs_found()["next-purchase"]
    data = job.prepare(told)
    model = job.fit(data, told)
    assert job.evaluate(model, data).units > 10


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("next-purchase", {"epochs": "many"}, "epochs is 'many'; it must be a whole number"),
        ("next-purchase", {"width": "0"}, "width is 0; it must be 1 or more"),
        ("next-purchase", {"every_days": "0"}, "every_days is '0'"),
        ("next-purchase", {"without": "baskets"}, "without is 'baskets'; known: sequence, basket, "),
        ("basket", {"length": "5"}, "rules have 2 to 4 items"),
        ("basket", {"lift_weight": "x"}, "lift_weight is 'x'; it must be a number"),
    ],
)
def test_wrong_options_are_refused(name, options, message, context):
    job, told = jobs_found()[name], Context(context.settings, NOW, 7, options)
    with pytest.raises(BadInput, match=message):
        job.fit(job.prepare(told), told)
