"""RFM, value, churn and channel jobs, on one small shop taken through the lake and the feature tables."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from features.build import build
from features.events.lake import Lake
from models import artifact
from nextbest.columns import EVENT_COLUMNS
from nextbest.errors import BadInput, NotReady
from nextbest.settings import Settings
from training import _snapshots
from training.base import Context
from training.jobs import jobs_found

START = datetime(2025, 1, 1, tzinfo=UTC)
DAYS = 260
NOW = START + timedelta(days=DAYS, hours=12)


def shop(count=260, seed=3):
    """Order lines of contacts with a cadence of their own, a third of whom leave for good at some time."""
    random = np.random.default_rng(seed)
    rows = []
    for contact in range(count):
        gap = random.gamma(4.0, 3.0) + 2
        gone = random.uniform(40, DAYS) if random.random() < 0.35 else DAYS
        at = random.uniform(0, 60)
        while at < gone:
            rows.append((f"c{contact:03d}", START + timedelta(days=at), random.gamma(5.0, 4.0)))
            at += random.gamma(2.0, gap / 2)
    frame = pd.DataFrame(rows, columns=["contact_id", "timestamp", "price"]).sort_values("timestamp")
    frame = frame.assign(event="order_completed", quantity=1.0, item_id="i", currency=None)
    frame["order_id"] = frame["event_id"] = [f"o{i}" for i in range(len(frame))]
    frame["timestamp"] = frame["received_at"] = frame["timestamp"].astype("datetime64[us, UTC]")
    return frame.reindex(columns=list(EVENT_COLUMNS)).astype({"price": float})


@pytest.fixture(scope="module")
def context(tmp_path_factory):
    settings = Settings(home=tmp_path_factory.mktemp("home"))
    Lake(settings.lake).write([shop()])
    build(settings, NOW)
    return Context(settings, NOW, 7)


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


FAST = {"churn": {"rounds": "60"}, "channel": {"log": "simulated"}, "rfm": {}, "value": {}}


@pytest.mark.parametrize("name", FAST)
def test_every_step_of_a_job(name, prepared, tmp_path):
    job, told, data, model = prepared(name, **FAST[name])
    ours = job.evaluate(model, data)
    everyone = np.arange(ours.units)
    assert ours.statistic(everyone) == pytest.approx(ours.metrics[job.metric])
    baselines = job.baselines(data, told)
    assert baselines
    for baseline in baselines.values():
        theirs = job.evaluate(baseline, data)
        assert theirs.units == ours.units
        assert np.isfinite(theirs.metrics[job.metric])
    again = artifact.load(artifact.save(model, tmp_path / "model"))
    assert job.evaluate(again, data).metrics == pytest.approx(ours.metrics)
    asked, answered = job.example(model, data)
    for frame in (asked, answered):
        assert len(frame)
        assert {str(dtype) for dtype in frame.dtypes} <= {"float64", "object"}
    assert all(hasattr(figure, "savefig") for figure in job.figures(model, data).values())
    assert all(len(table) for table in job.tables(model, data).values())
    facts = job.facts(data)
    assert facts["simulated"] is (name == "channel")
    assert facts["validation_until"] < facts["holdout_until"]


def test_label_windows_of_churn_do_not_overlap(prepared):
    _, _, data, _ = prepared("churn", rounds="60")
    horizon = pd.Timedelta(days=30)
    train, later, last = (part.frame["timestamp"] for part in (data.train, data.later, data.holdout))
    assert train.max() + horizon <= later.min()
    assert later.max() + horizon <= last.min()
    assert data.latest.frame["timestamp"].nunique() == 1
    assert data.latest.frame["timestamp"].iloc[0] == train.max()


def test_labels_are_the_orders_of_the_horizon(prepared):
    _, _, data, _ = prepared("churn", rounds="60")
    lines = shop()
    cut = data.holdout.frame["timestamp"].iloc[0]
    window = lines[(lines["timestamp"] > cut) & (lines["timestamp"] <= cut + pd.Timedelta(days=30))]
    counts = window.groupby("contact_id").size()
    spend = window.groupby("contact_id")["price"].sum()
    contacts = data.holdout.frame["contact_id"]
    np.testing.assert_allclose(data.holdout.orders, contacts.map(counts).fillna(0))
    np.testing.assert_allclose(data.holdout.spend, contacts.map(spend).fillna(0), atol=1e-6)
    known = set(lines.loc[lines["timestamp"] <= cut, "contact_id"])
    assert set(contacts) == known


def test_churn_and_value_find_what_is_there(prepared):
    job, told, data, model = prepared("churn", rounds="60")
    assert job.evaluate(model, data).metrics["auc"] > 0.85
    job, told, data, model = prepared("value")
    mine = job.evaluate(model, data).metrics
    rate = job.evaluate(job.baselines(data, told)["rate"], data).metrics
    assert mine["mae"] < rate["mae"]
    assert abs(mine["total_error"]) < 0.25


FEW = {"churn": {"rounds": "20", "cuts": "2"}, "value": {"windows": "2"}}
"""Options of the jobs that are run twice."""


@pytest.fixture(scope="module")
def haunted(tmp_path_factory, prepared):
    """The same shop, in which from the cut on everybody orders twice a day, is refunded and looks around."""
    cut = prepared("churn", **FEW["churn"])[2].split.cut
    lines = shop()
    parts = [lines]
    for hour in range(1, 24 * 25, 12):
        at = pd.Timestamp(cut) + pd.Timedelta(hours=hour)
        event = ("order_completed", "order_refunded", "product_viewed")[hour // 12 % 3]
        ids = [f"x{hour}-{contact}" for contact in lines["contact_id"].unique()]
        told = {"event_id": ids, "order_id": ids, "contact_id": lines["contact_id"].unique(), "item_id": "i"}
        often = pd.DataFrame(told).assign(timestamp=at, received_at=at, event=event, price=99.0, quantity=1.0)
        parts.append(often.reindex(columns=list(EVENT_COLUMNS)))
    events = pd.concat([part.astype(lines.dtypes) for part in parts], ignore_index=True)
    settings = Settings(home=tmp_path_factory.mktemp("haunted"))
    Lake(settings.lake).write([events.sort_values("timestamp")])
    build(settings, NOW)
    return settings


@pytest.mark.parametrize("name", FEW)
def test_nothing_of_what_comes_after_the_cut_is_known(name, prepared, haunted):
    job, _, data, model = prepared(name, **FEW[name])
    told = Context(haunted, NOW, 7, FEW[name])
    other = job.prepare(told)
    assert other.split == data.split
    known = lambda one: one.holdout if name == "churn" else one.contacts  # noqa: E731
    assert known(other).orders.sum() > 2 * known(data).orders.sum()  # the labels do change
    pd.testing.assert_frame_equal(known(other).frame, known(data).frame)
    if name == "churn":
        for mine, theirs in (
            (data.history.early, other.history.early),
            (data.history.later, other.history.later),
        ):
            pd.testing.assert_frame_equal(theirs.frame, mine.frame)
            np.testing.assert_array_equal(theirs.days, mine.days)
            np.testing.assert_array_equal(theirs.seen, mine.seen)
            assert (mine.days[np.isfinite(mine.days)] <= mine.seen[np.isfinite(mine.days)]).all()
    else:
        for mine, theirs in zip(data.windows, other.windows, strict=True):
            pd.testing.assert_frame_equal(theirs.frame, mine.frame)
            np.testing.assert_array_equal(theirs.orders, mine.orders)
            np.testing.assert_allclose(theirs.spend, mine.spend)
    again = job.fit(other, told)
    pd.testing.assert_frame_equal(again.score(known(other).frame), model.score(known(data).frame))


def test_by_cadence_contacts_are_judged_after_their_own_gaps(prepared):
    job, told, data, model = prepared("churn", horizon_days="cadence", **FEW["churn"])
    days = data.holdout.frame["horizon_days"]
    assert days.nunique() > 1
    assert days.max() <= data.window_days
    np.testing.assert_array_equal(data.left, data.holdout.waits > days)
    slow = data.holdout.frame.loc[days == days.max(), "order_gap_days"].mean()
    assert slow > data.holdout.frame.loc[days == days.min(), "order_gap_days"].mean()
    scores = model.score(data.holdout.frame)
    assert (scores["horizon_days"] == days).all()
    assert job.evaluate(model, data).metrics["auc"] > 0.75
    assert job.facts(data)["horizon_days"] is None
    for baseline in job.baselines(data, told).values():
        assert np.isfinite(job.evaluate(baseline, data).metrics["auc"])


def test_a_simulated_log_knows_the_contacts_and_never_does_worse_than_one_channel(prepared):
    job, told, data, model = prepared("channel", log="simulated")
    mine = job.evaluate(model, data).metrics["response_rate"]
    arm = job.evaluate(job.baselines(data, told)["best_arm"], data).metrics["response_rate"]
    assert mine >= arm
    assert (mine == arm) == (model.policy == "best_arm")
    assert data.train.states.contacts["sent_total"].max() > 3
    assert data.train.states.contacts["orders_total"].max() > 1


def test_without_message_events_it_says_what_would_work(context):
    with pytest.raises(NotReady, match=r"no message events in the lake.*--set log=simulated"):
        jobs_found()["channel"].prepare(context)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("channel", {"log": "real"}, "no log 'real'; known: events, simulated"),
        ("channel", {"log": "simulated", "messages": "9"}, "messages is '9'"),
        ("churn", {"cuts": "none"}, "cuts is 'none'"),
        ("churn", {"rounds": "1.5"}, "rounds is '1.5'"),
        ("value", {"horizon_days": "x"}, "horizon_days is 'x'"),
    ],
)
def test_wrong_options_are_refused(name, options, message, context):
    job, told = jobs_found()[name], Context(context.settings, NOW, 7, options)
    with pytest.raises(BadInput, match=message):
        job.prepare(told)


def test_more_contacts_than_fit_are_sampled(context, monkeypatch):
    monkeypatch.setattr(_snapshots, "MOST_ROWS", 100)
    moments = [NOW - timedelta(days=60), NOW - timedelta(days=30)]
    found = _snapshots.snapshots(context, "churn", moments, 30)
    assert 60 < len(found) <= 100
    assert found.frame["timestamp"].nunique() == 2
