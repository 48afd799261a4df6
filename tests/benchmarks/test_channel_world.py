"""The simulated world: its past obeys its rules, and its truth is what its past and its dice show."""

import ast
import json
import sys
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks import channel_world
from benchmarks._world_hours import next_at, tastes, usual, week_hour
from benchmarks._world_nature import State
from benchmarks._world_rules import RULES, Tally, best_arm, interactions, own_rates
from benchmarks._world_settings import CHANNELS, DAY, HOUR, NOTHING, START, WEEK, Settings
from benchmarks._world_timeline import Timeline
from benchmarks._world_usual import Usual
from benchmarks.channel_world import Decisions, World, judged, policies
from nextbest.columns import CHANNELS as KNOWN_CHANNELS
from nextbest.columns import CONTACT_COLUMNS, CONTACT_FEATURES, EVENT_COLUMNS

BENCHMARKS = Path(channel_world.__file__).parent
PRODUCT = {"models", "training", "serving", "features", "nextbest"}


@pytest.fixture(scope="module")
def world() -> World:
    return World.simulated(600, days=60, seed=3)


@pytest.fixture(scope="module")
def restless() -> World:
    """A world in which messages often make people withdraw their consent."""
    channels = tuple(replace(c, leaves=0.2) for c in CHANNELS)
    return World.of(Settings(contacts=400, days=40, channels=channels), seed=4)


def sent_decisions(world: World) -> tuple[Decisions, np.ndarray]:
    sent = world.log.take(world.log.sent)
    return Decisions(sent.contact, sent.channel, sent.hour), sent.at


# --- it knows nothing of the product


@pytest.mark.parametrize("path", [*BENCHMARKS.glob("_world_*.py"), BENCHMARKS / "channel_world.py"])
def test_it_imports_nothing_of_the_product(path: Path) -> None:
    imported = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            imported |= {name.name.split(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(str(node.module).split(".")[0])
    assert not imported & PRODUCT
    assert imported <= {"numpy", "pandas", "benchmarks", *sys.stdlib_module_names}


def test_its_names_are_those_the_product_reads(world: World) -> None:
    assert set(world.channels) <= set(KNOWN_CHANNELS)
    assert tuple(world.message_events().columns) == EVENT_COLUMNS
    assert tuple(world.order_events().columns) == EVENT_COLUMNS
    assert tuple(world.contacts().columns) == CONTACT_COLUMNS
    assert set(world.features(np.arange(5)).columns) <= {"contact_id", *CONTACT_FEATURES}


# --- the past


def test_the_same_seed_gives_the_same_world() -> None:
    one, again, other = (World.simulated(100, days=20, seed=seed) for seed in (1, 1, 2))
    for field in fields(one.log):
        np.testing.assert_array_equal(getattr(one.log, field.name), getattr(again.log, field.name))
    pd.testing.assert_frame_equal(one.message_events(), again.message_events())
    assert len(one.log) != len(other.log)


def test_propensities_sum_to_one_over_permitted_channels_and_nothing(world: World) -> None:
    log = world.log
    shares = Usual(world.people, world.settings).shares(log.contact, log.permitted)
    np.testing.assert_allclose(shares.sum(axis=1), 1.0)
    assert (shares[:, :-1][~log.permitted] == 0).all()
    assert (shares[:, :-1][log.permitted] > 0).all()
    assert (shares[:, -1] > 0).all()
    drawn = shares[np.arange(len(log)), np.where(log.sent, log.channel, len(world.channels))]
    np.testing.assert_array_equal(log.propensity, drawn)


def test_hours_are_drawn_by_their_propensities(world: World) -> None:
    for place, channel in enumerate(world.settings.channels):
        share = usual(channel)
        assert share.sum() == pytest.approx(1)
        assert not any(channel.quiet(hour) for hour in np.flatnonzero(share))
        sent = world.log.take(world.log.channel == place)
        np.testing.assert_array_equal(sent.hour_propensity, share[sent.hour])


def test_channels_are_drawn_as_often_as_their_propensities_say(world: World) -> None:
    log = world.log
    shares = Usual(world.people, world.settings).shares(log.contact, log.permitted)
    spread = np.sqrt((shares * (1 - shares)).sum(axis=0))
    counts = np.bincount(np.where(log.sent, log.channel, len(world.channels)), minlength=shares.shape[1])
    assert (np.abs(counts - shares.sum(axis=0)) < 4 * spread).all()


def test_the_past_breaks_no_rule(world: World) -> None:
    decisions, at = sent_decisions(world)
    assert not world.forbidden(decisions, at).any()
    sent = world.log.take(world.log.sent)
    assert not world.forbidden(decisions, sent.time).any()
    np.testing.assert_array_equal(world.permitted(world.log.contact, world.log.at), world.log.permitted)
    for place, channel in enumerate(world.settings.channels):
        rows = pd.DataFrame({"contact": sent.contact, "time": sent.time})[sent.channel == place]
        for _, times in rows.groupby("contact")["time"]:
            sorted_times = np.sort(times.to_numpy())
            for last in sorted_times:
                within = (sorted_times <= last) & (sorted_times > last - WEEK)
                assert within.sum() <= channel.weekly_cap


def test_who_withdrew_gets_no_more_over_that_channel(restless: World) -> None:
    sent = restless.log.take(restless.log.sent)
    assert np.isfinite(restless.withdrawn).sum() > 100
    assert (sent.time < restless.withdrawn[sent.contact, sent.channel]).all()
    contact, channel = np.nonzero(np.isfinite(restless.withdrawn))
    moment = restless.withdrawn[contact, channel]
    assert not restless.permitted(contact, moment)[np.arange(len(contact)), channel].any()
    gone = Decisions(contact, channel, np.full(len(contact), 12))
    assert restless.forbidden(gone).all()
    assert (restless.value_of(gone) == 0).all()
    consents = [f"consent_{name}" for name in restless.channels]
    early, late = (restless.contacts(at)[consents].to_numpy()[contact, channel] for at in (START, None))
    assert early.all()
    assert not late.any()


def test_answers_come_within_seven_days_and_bounces_are_not_answered(world: World) -> None:
    log = world.log
    wait = (log.answered_at - log.time)[log.response]
    assert wait.min() > 0
    assert wait.max() < WEEK
    assert not (log.response & log.bounced).any()
    assert not log.response[~log.sent].any()
    assert (log.order_value[np.isnan(log.clicked_at)] == 0).all()


def test_orders_come_anyway_and_after_clicks(world: World) -> None:
    orders, log = world.orders, world.log
    brought = orders.decision >= 0
    assert brought.any()
    assert (~brought).sum() > brought.sum()
    of = orders.decision[brought]
    np.testing.assert_array_equal(orders.contact[brought], log.contact[of])
    np.testing.assert_array_equal(orders.value[brought], log.order_value[of])
    assert (orders.time[brought] > log.clicked_at[of]).all()
    rate = world.people.orders_a_day
    expected = (1 - np.exp(-rate)).sum() * world.settings.days
    assert (~brought).sum() == pytest.approx(expected, abs=4 * np.sqrt(expected))


# --- the truth


def test_the_truth_is_what_the_past_was_drawn_from(world: World) -> None:
    decisions, at = sent_decisions(world)
    truth = world.expected(decisions.contact, decisions.channel, decisions.hour, at)
    np.testing.assert_allclose(truth.response, world.log.chance[world.log.sent], rtol=1e-9)


def test_answers_agree_with_the_truth(world: World) -> None:
    sent = world.log.take(world.log.sent)
    for rows in (*(sent.channel == place for place in range(3)), sent.chance > 0.2, sent.chance < 0.05):
        p = sent.chance[rows]
        spread = np.sqrt((p * (1 - p)).sum())
        assert abs(sent.response[rows].sum() - p.sum()) < 4 * spread


def test_value_is_the_mean_of_many_draws(world: World) -> None:
    best = world.oracle()
    rows = np.flatnonzero(best.channel != NOTHING)
    rows = rows[np.argsort(world.people.basket[rows])[:300]]
    few = Decisions(best.contact[rows], best.channel[rows], best.hour[rows])
    many = Decisions(*(np.tile(getattr(few, field.name), 500) for field in fields(Decisions)))
    outcome, earned = world.draw(many, seed=1)
    error = earned.std() / np.sqrt(len(earned))
    assert earned.mean() == pytest.approx(world.value_of(few).mean(), abs=4 * error)
    assert outcome.response.mean() == pytest.approx(world.responses_of(few).mean(), abs=0.005)
    assert outcome.ordered.mean() == pytest.approx(world.conversions_of(few).mean(), abs=0.002)


def test_the_table_says_what_expected_says(world: World) -> None:
    contact = np.arange(20)
    whole, hour = world.table(contact)
    for place in range(len(world.channels)):
        for h in (0, 9, 20):
            one = world.expected(contact, np.full(20, place), np.full(20, h))
            np.testing.assert_allclose(whole.net[:, place, hour == h].ravel(), one.net, rtol=1e-9)


def test_a_message_tires_and_more_so_over_its_own_channel(world: World) -> None:
    contact = np.arange(600)
    email, noon, days = np.zeros(600, dtype=np.int64), np.full(600, 12), np.full(600, 30.0)
    nobody, one = np.zeros(600), np.ones(600)
    fresh, other, same = (
        world.nature.expected(contact, email, noon, State(*weary, days))
        for weary in ((nobody, nobody), (one, nobody), (one, one))
    )
    assert (fresh.response > other.response).all()
    assert (other.response > same.response).all()
    assert (fresh.leaving < other.leaving).all()


def test_the_oracle_is_allowed_and_beats_everything(world: World) -> None:
    figures = {name: judged(world, decisions) for name, decisions in policies(world)}
    best = figures["oracle"]
    assert set(RULES) < set(figures)
    for name, found in figures.items():
        assert found["forbidden"] == 0, name
        assert found["net_value"] <= best["net_value"]
        assert found["regret"] == pytest.approx(best["net_value"] - found["net_value"])
    assert figures["oracle, one hour for all"]["net_value"] > 1.2 * figures["best arm"]["net_value"]
    assert figures["nothing"]["net_value"] == 0
    most = figures["oracle of responses"]["responses"]
    assert most == max(found["responses"] for found in figures.values())


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_no_decision_has_negative_regret(world: World, seed: int) -> None:
    random = np.random.default_rng(seed)
    contact = random.integers(0, 600, 50)
    decisions = Decisions(contact, random.integers(-1, 6, 50), random.integers(0, 24, 50))
    assert (world.regret(decisions) >= 0).all()
    blocked = world.forbidden(decisions)
    assert (world.value_of(decisions)[blocked] == 0).all()
    assert not blocked[decisions.channel == NOTHING].any()


def test_about_half_of_what_differs_between_contacts_can_be_known(world: World) -> None:
    known, own = world.people.observable.var(axis=0), world.people.latent.var(axis=0)
    np.testing.assert_allclose(known / (known + own), 0.5, atol=0.08)


def test_quiet_hours_forbid(world: World) -> None:
    sms = world.channels.index("sms")
    contact = np.flatnonzero(world.permitted(np.arange(600))[:, sms])
    channel = np.full(len(contact), sms)
    assert not world.eligible(contact, channel, hour=np.full(len(contact), 23)).any()
    assert world.eligible(contact, channel, hour=np.full(len(contact), 12)).all()
    noon = world.end + ((12 - world.local_hour(contact, world.end)) % 24) * HOUR
    assert world.eligible(contact, channel, at=noon).all()


def test_an_answer_in_names_and_moments_is_read(world: World) -> None:
    best = world.oracle()
    wait = (best.hour - world.local_hour(best.contact, world.end)) % 24
    names = np.array([*world.channels, None], dtype=object)
    answer = pd.DataFrame(
        {
            "contact_id": world.contacts()["contact_id"],
            "channel": names[best.channel],
            "send_at": pd.to_datetime(world.end + wait * HOUR, unit="s", utc=True),
        }
    )
    answer.loc[best.channel == NOTHING, "send_at"] = pd.NaT
    np.testing.assert_array_equal(world.value_of(world.decided(answer)), world.value_of(best))
    with pytest.raises(ValueError, match="the simulated world has email"):
        world.decided(answer.assign(channel="fax"))
    with pytest.raises(ValueError, match="within 24 hours"):
        world.decided(answer.assign(channel="email", send_at=pd.Timestamp("2031-01-01", tz="UTC")))


# --- what a policy sees


def test_events_are_the_log(world: World) -> None:
    events, log = world.message_events(), world.log
    count = events["event"].value_counts()
    assert count["message_sent"] == log.sent.sum()
    assert count["message_bounced"] == log.bounced.sum()
    assert count["message_sent"] == count["message_bounced"] + count["message_delivered"]
    assert count["message_clicked"] == (log.clicked_at < world.end).sum()
    assert count["unsubscribed"] == np.isfinite(log.left_at).sum()
    assert events["event_id"].is_unique
    assert events["timestamp"].is_monotonic_increasing
    said = [json.loads(text) for text in events["properties"]]
    assert all(one["simulated"] for one in said)
    sent = events[events["event"] == "message_sent"]
    place = sent["message_id"].str.removeprefix("simulated-").astype(int).to_numpy()
    assert [json.loads(text)["propensity"] for text in sent["properties"]] == log.propensity[place].tolist()


def test_features_know_only_what_came_before(world: World) -> None:
    everyone = np.arange(600)
    first, last = world.features(everyone, START), world.features(everyone)
    assert (first["sent_total"] == 0).all()
    np.testing.assert_array_equal(first["orders_total"], world.people.known["orders_total"])
    grown = (last["orders_total"] - first["orders_total"]).sum()
    assert grown == (world.orders.time < world.end).sum()
    assert last["sent_total"].sum() == world.log.sent.sum()
    assert (last["recency_days"].dropna() >= 0).all()
    assert (last["average_order"].isna() == (last["orders_total"] == 0)).all()


def test_history_counts_the_events(world: World) -> None:
    counts = world.history.counts(np.arange(600), np.full(600, world.end))
    events = world.message_events()
    for place, kind in enumerate(("message_sent", "message_opened", "message_clicked")):
        assert counts[:, :, place].sum() == (events["event"] == kind).sum()
    days = world.history.days_since(np.arange(600), np.full(600, world.end))
    np.testing.assert_array_equal(np.isnan(days[:, :, 0]), counts[:, :, 0] == 0)


@settings(max_examples=40, deadline=None)
@given(
    rows=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 40), st.integers(0, 2)), max_size=25),
    now=st.integers(0, 45),
)
def test_a_timeline_sums_as_a_loop_does(rows: list[tuple[int, int, int]], now: int) -> None:
    columns = [np.array([row[place] for row in rows], dtype=np.int64) for place in range(3)]
    line = Timeline.of(4, columns[0], columns[1] * DAY, columns[2])
    sums = line.sums(np.arange(4), np.full(4, now * DAY), 3, half_life=4.0, since=WEEK)
    last = line.last(np.arange(4), np.full(4, now * DAY), 3)
    for contact in range(4):
        for label in range(3):
            times = [t for c, t, n in rows if (c, n) == (contact, label) and t < now]
            decayed = sum(0.5 ** ((now - t) / 4) for t in times if now - t <= 7)
            assert sums[contact, label] == pytest.approx(decayed)
            assert last[contact, label] == (max(times) * DAY if times else -np.inf)


@settings(max_examples=50, deadline=None)
@given(minutes=st.integers(0, 20_000), offset=st.sampled_from([-7, -5, 0, 1, 3]), hour=st.integers(0, 23))
def test_the_next_local_hour_comes_within_a_day(minutes: int, offset: int, hour: int) -> None:
    at, east = np.array([START + minutes * 60.0]), np.array([offset])
    found = next_at(at, east, np.array([hour]))
    assert 0 <= found[0] - at[0] < DAY
    assert week_hour(found, east)[0] % 24 == hour


def test_archetypes_like_different_hours() -> None:
    best = tastes()[:, :24].argmax(axis=1)
    assert len(set(best)) == 3


# --- the rules

Make = Callable[..., Tally]


@pytest.fixture
def tally() -> Make:
    """Return a function that makes a tally of (received, answered, latest) for one contact."""

    def make(received: list[float], answered: list[float], latest: list[float]) -> Tally:
        return Tally(
            received=np.array([received]),
            answered=np.array([answered]),
            latest=np.array([latest]),
            rate=np.array([0.1, 0.2, 0.3]),
            worth=np.array([2.0, 0.5, 1.0]),
            cost=np.array([0.05, 0.01, 1.0]),
            hour=np.array([9, 10, 11]),
        )

    return make


ALL = np.ones((1, 3), dtype=bool)
NEVER = -np.inf


def test_the_best_arm_is_what_made_most_and_nothing_where_none_is_left(tally: Make) -> None:
    found = tally([0, 0, 0], [0, 0, 0], [NEVER] * 3)
    assert best_arm(found, ALL) == [0]
    assert best_arm(found, np.array([[False, True, True]])) == [1]
    assert best_arm(found, np.array([[False, False, True]])) == [NOTHING]


def test_the_published_rule_needs_three_messages_over_two_channels_and_an_answer(tally: Make) -> None:
    assert interactions(tally([1, 2, 0], [0, 2, 0], [NEVER, 5, NEVER]), ALL) == [1]
    assert interactions(tally([0, 2, 0], [0, 2, 0], [NEVER, 5, NEVER]), ALL) == [0]
    assert interactions(tally([0, 3, 0], [0, 3, 0], [NEVER, 5, NEVER]), ALL) == [0]
    assert interactions(tally([2, 2, 0], [0, 0, 0], [NEVER] * 3), ALL) == [0]


def test_the_published_rule_gives_ties_to_the_latest(tally: Make) -> None:
    assert interactions(tally([2, 2, 0], [1, 1, 0], [9, 5, NEVER]), ALL) == [0]
    assert interactions(tally([2, 2, 0], [1, 1, 0], [5, 9, NEVER]), ALL) == [1]


def test_own_rates_are_drawn_to_the_channels(tally: Make) -> None:
    assert own_rates(tally([1, 0, 0], [1, 0, 0], [5, NEVER, NEVER]), ALL) == [1]
    assert own_rates(tally([9, 0, 0], [9, 0, 0], [5, NEVER, NEVER]), ALL) == [0]


def test_the_command_prints_a_labelled_table_and_writes_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    out = tmp_path / "out.json"
    monkeypatch.setattr(sys, "argv", ["channel_world", "--data", "200", "--json", str(out)])
    channel_world.main()
    assert capsys.readouterr().out.startswith("SIMULATED: 200 contacts")
    written = json.loads(out.read_text())
    assert written["data"]["name"] == "simulated"
    assert written["peers"]["oracle"]["regret"] == 0
    assert set(written["channels"]) == {*(c.name for c in CHANNELS), "nothing"}
