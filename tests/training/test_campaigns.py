"""What campaigns cost and brought, counted by hand, and where the effect is known beforehand."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import ttest_ind
from typer.testing import CliRunner

from features.events.lake import Lake
from features.events.log import EventLog
from models.holdout import held_out
from nextbest.cli import app
from nextbest.columns import CONTACT_ID
from nextbest.errors import BadInput
from nextbest.settings import Settings
from training import _campaign_holdout
from training._campaign_holdout import incremental
from training.attribution import RULES
from training.campaigns import CampaignOutcome, CampaignReport, campaign_report, plain
from training.simulated_messages import TRAITS, simulate_messages

FIRST = datetime(2026, 3, 1, tzinfo=UTC)
NOW = FIRST + timedelta(days=30)


def at(days: float) -> datetime:
    return FIRST + timedelta(days=days)


class Happened:
    """Events by short words, each with an id of its own."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    def add(self, event: str, who: str, day: float, **values: Any) -> None:
        person = {"anonymous_id": who} if who.startswith("v") else {"contact_id": who}
        stamps = {"timestamp": at(day), "received_at": at(day)}
        self.rows.append({"event_id": f"e{len(self.rows)}", "event": event, **stamps, **person, **values})

    def send(self, who: str, day: float, campaign: str | None, channel: str | None, message: str) -> None:
        told = {"campaign_id": campaign, "channel": channel, "message_id": message}
        self.add("message_sent", who, day, **told)

    def came(self, event: str, who: str, day: float, message: str | None) -> None:
        self.add(event, who, day, message_id=message)

    def order(self, who: str, day: float, price: float, order: str, quantity: float | None = None) -> None:
        self.add("order_completed", who, day, item_id="i", price=price, quantity=quantity, order_id=order)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """c1 gets spring by email and sms, c2 spring by email, c3 a message of no campaign over fax."""
    settings = Settings(home=tmp_path, now=NOW, margin=0.5)
    happened = Happened()
    happened.send("c1", 0, "spring", "email", "m1")
    happened.came("message_delivered", "c1", 0.01, "m1")
    happened.came("message_opened", "c1", 0.1, "m1")
    happened.came("message_opened", "c1", 0.2, "m1")
    happened.came("message_clicked", "c1", 0.2, "m1")
    happened.send("c2", 0, "spring", "email", "m1")  # one id for all its recipients
    happened.came("message_bounced", "c2", 0.01, "m1")
    happened.send("c1", 2, "spring", "sms", "m2")
    happened.order("c1", 3, 10.0, "o1", 2.0)
    happened.order("c1", 3, 4.0, "o1")
    happened.order("c2", 3, 50.0, "o2")  # after a message that bounced
    log = EventLog(settings.event_log_url)
    log.append(happened.rows)
    log.compact(Lake(settings.lake))
    known = len(happened.rows)
    happened.send("c3", 5, None, "fax", "m3")
    happened.came("unsubscribed", "c3", 5.1, "m3")
    happened.came("unsubscribed", "c3", 5.1, None)
    happened.came("message_clicked", "c3", 5.2, "elsewhere")
    happened.order("v3", 6, 7.0, "o3")  # the visitor is c3
    happened.order("c3", 12.5, 7.0, "o4")  # too late
    happened.send("c1", 29, "summer", "sms", "m4")
    log.append(happened.rows[known:])
    log.write_identities([{"anonymous_id": "v3", "contact_id": "c3", "timestamp": at(6)}])
    log.close()
    return settings


def named(report: CampaignReport, by: Any) -> dict[str, CampaignOutcome]:
    return {outcome.name: outcome for outcome in report.groups[by]}


def counts(outcome: CampaignOutcome) -> tuple[Any, ...]:
    return (
        outcome.contacts, outcome.sent, outcome.delivered, outcome.bounced, outcome.opened, outcome.clicked,
        outcome.unsubscribed,
    )  # fmt: skip


def test_messages_are_counted_once_whatever_came_of_them(settings: Settings) -> None:
    report = campaign_report(settings, NOW)
    assert {name: counts(o) for name, o in named(report, "campaign").items()} == {
        "spring": (2, 3, 1, 1, 1, 1, 0),
        "": (1, 1, None, 0, 0, 0, 1),
        "summer": (1, 1, None, 0, 0, 0, 0),
    }
    assert {name: counts(o)[:2] for name, o in named(report, "channel").items()} == {
        "email": (2, 2), "sms": (1, 2), "fax": (1, 1),
    }  # fmt: skip
    assert counts(report.total) == (3, 5, 1, 1, 1, 1, 1)
    spring = named(report, "campaign")["spring"]
    assert (spring.bounce_rate, spring.unsubscribe_rate) == (1 / 3, 0)
    assert report.facts["events_of_no_message"] == {"clicked": 1, "unsubscribed": 1}


def test_money_is_attributed_and_set_against_the_cost(settings: Settings) -> None:
    report = campaign_report(settings, NOW)
    channels = named(report, "channel")
    money = {name: (o.orders_attributed, o.revenue_attributed) for name, o in channels.items()}
    assert money == {"email": (0, 0), "sms": (1, 24), "fax": (1, 7)}
    sms = channels["sms"]
    assert sms.cost == pytest.approx(0.1)
    assert sms.romi_attributed == pytest.approx((24 * 0.5 - 0.1) / 0.1)
    assert channels["fax"].romi_attributed is None, "what costs nothing has no return"
    assert report.facts["channels_without_cost"] == ["fax"]
    assert report.total.revenue_attributed == 31
    linear = named(campaign_report(settings, NOW, rule="linear"), "channel")
    assert (linear["email"].revenue_attributed, linear["email"].orders_attributed) == (12, 0.5)
    assert {o.name for o in report.groups["segment"]} == {"unknown"}
    assert "features build" in report.facts["segments_why_none"]


@pytest.mark.parametrize("rule", RULES)
def test_by_every_rule_groups_add_up_to_the_whole(settings: Settings, rule: Any) -> None:
    report = campaign_report(settings, NOW, rule=rule)
    for outcomes in report.groups.values():
        assert sum(o.revenue_attributed for o in outcomes) == pytest.approx(31)
        assert sum(o.orders_attributed for o in outcomes) == pytest.approx(2)
        assert sum(o.cost for o in outcomes) == pytest.approx(report.total.cost)


def test_a_span_leaves_others_messages_their_orders(settings: Settings) -> None:
    early = campaign_report(settings, NOW, until=at(1))
    assert (early.total.sent, early.total.revenue_attributed) == (2, 0), "the later message has the order"
    late = campaign_report(settings, NOW, since=at(1), rule="linear", by=["campaign"])
    assert named(late, "campaign")["spring"].revenue_attributed == 12, "the earlier one keeps its half"
    assert campaign_report(settings, at(2.5)).total.orders_attributed == 0
    assert campaign_report(settings, NOW, window_days=0.5).total.orders_attributed == 0
    for wrong in ({"since": at(2), "until": at(2)}, {"window_days": 0.0}, {"rule": "first"}):
        with pytest.raises(BadInput):
            campaign_report(settings, NOW, **wrong)  # type: ignore[arg-type]


# --- hold-out

SHARE = 0.25
PEOPLE = 400
LIFT = 6.0


def decisions(campaign: str, day: float, people: list[str], intended: bool = True) -> list[dict[str, Any]]:
    held = held_out(people, SHARE, "messages", campaign)
    return [
        {
            "decision_id": f"{campaign}-{who}", "timestamp": at(day), "kind": "best_channel",
            "contact_id": who, "campaign_id": campaign, "source": "policy", "held_out": bool(out),
            "shown": [[None if out else channel, 1.0, "policy"]],
            **({"intended_channel": channel} if intended else {}),
        }
        for place, (who, out) in enumerate(zip(people, held, strict=True))
        for channel in ["sms" if place % 2 else "email"]
    ]  # fmt: skip


def log_of(home: Path, decided: list[dict[str, Any]], effect: float, **values: Any) -> Settings:
    """A log in which those treated over sms order for `effect` more than what all order."""
    settings = Settings(home=home, now=NOW, message_holdout_share=SHARE, **values)
    random, happened = np.random.default_rng(2), Happened()
    for row in decided:
        who, day = row["contact_id"], (row["timestamp"] - FIRST).days
        treated, channel = not row["held_out"], row.get("intended_channel") or row["shown"][0][0]
        if treated:
            happened.send(who, day, row["campaign_id"], channel, f"m-{row['decision_id']}")
        spend = float(random.gamma(2.0, 5.0)) + effect * (treated and channel == "sms")
        happened.order(who, day + 1, spend, f"o-{row['decision_id']}")
        happened.order(who, day + 9, 100.0, f"later-{row['decision_id']}")
    log = EventLog(settings.event_log_url)
    log.append(happened.rows)
    log.record_decisions(decided)
    log.close()
    return settings


PERSONS = [f"c{i}" for i in range(PEOPLE)]


def test_the_incremental_revenue_is_the_difference_of_the_means_for_all_treated(tmp_path: Path) -> None:
    decided = decisions("spring", 1, PERSONS)
    settings = log_of(tmp_path, decided, LIFT)
    report = campaign_report(settings, NOW)
    spring = named(report, "campaign")["spring"]
    held = sum(row["held_out"] for row in decided)
    assert (spring.held_out, spring.treated, spring.sent) == (held, PEOPLE - held, PEOPLE - held)
    orders = {e["contact_id"]: e["price"] for e in _orders(settings, "o-")}
    arms = {h: [orders[row["contact_id"]] for row in decided if row["held_out"] == h] for h in (True, False)}
    n = spring.treated
    assert spring.revenue_incremental == pytest.approx(n * (np.mean(arms[False]) - np.mean(arms[True])))
    welch = ttest_ind(arms[False], arms[True], equal_var=False).confidence_interval(0.9)
    assert spring.incremental_interval[0] < n * welch.low < n * welch.high < spring.incremental_interval[1]
    assert spring.incremental_interval[0] < n * LIFT / 2 < spring.incremental_interval[1]
    assert spring.revenue_attributed > 2 * spring.revenue_incremental, "most of it would have come anyway"
    assert spring.incremental_cost == spring.cost
    expected = (spring.revenue_incremental - spring.cost) / spring.cost
    assert spring.romi_incremental == pytest.approx(expected)
    low, high = spring.romi_incremental_interval
    assert low < expected < high
    assert report.total.revenue_incremental == pytest.approx(spring.revenue_incremental)


def _orders(settings: Settings, prefix: str) -> list[dict[str, Any]]:
    log = EventLog(settings.event_log_url)
    rows = pd.concat(list(log.read())).to_dict("records")
    log.close()
    return [row for row in rows if str(row["order_id"]).startswith(prefix)]


def test_channels_are_told_apart_where_the_held_out_have_an_intended_one(tmp_path: Path) -> None:
    channels = named(campaign_report(log_of(tmp_path, decisions("spring", 1, PERSONS), 20.0), NOW), "channel")
    low, high = channels["email"].incremental_interval
    assert low < 0 < high
    assert channels["sms"].incremental_interval[0] > 10 * channels["sms"].treated
    assert min(channels["sms"].held_out, channels["email"].held_out) > 30


def test_without_an_intended_channel_there_is_nothing_by_channel(tmp_path: Path) -> None:
    decided = decisions("spring", 1, PERSONS, intended=False)
    report = campaign_report(log_of(tmp_path, decided, LIFT), NOW)
    assert all(o.revenue_incremental is None for o in report.groups["channel"])
    assert all("which channel" in o.incremental_why for o in report.groups["channel"])
    assert named(report, "campaign")["spring"].revenue_incremental is not None
    for row in decided:
        row["shown"] = [["sms" if not row["held_out"] else None, 1.0, "policy"]]
    alone = campaign_report(log_of(tmp_path / "one", decided, LIFT), NOW)
    assert named(alone, "channel")["sms"].held_out > 60, "a campaign of one channel needs no word"


def test_too_few_held_out_say_so_and_campaigns_add_up(tmp_path: Path) -> None:
    decided = [*decisions("spring", 1, PERSONS[:60]), *decisions("summer", 12, PERSONS)]
    report = campaign_report(log_of(tmp_path, decided, LIFT), NOW)
    campaigns = named(report, "campaign")
    assert campaigns["spring"].revenue_incremental is None
    assert campaigns["spring"].incremental_why == "fewer than 30 contacts were held out"
    assert campaigns["spring"].held_out + campaigns["spring"].treated == 60
    assert campaigns["summer"].revenue_incremental is not None
    assert report.total.treated == campaigns["spring"].treated + campaigns["summer"].treated
    assert report.total.incremental_cost == pytest.approx(report.total.cost)


def test_decisions_that_do_not_tell_are_no_hold_out(tmp_path: Path) -> None:
    decided = decisions("spring", 1, PERSONS)
    settings = log_of(tmp_path, decided, LIFT)
    log = EventLog(settings.event_log_url)
    log.forget_decisions(NOW)
    log.record_decisions([{k: v for k, v in row.items() if k != "held_out"} for row in decided])
    log.close()
    spring = named(campaign_report(settings, NOW), "campaign")["spring"]
    assert (spring.revenue_incremental, spring.treated, spring.romi_incremental) == (None, 0, None)
    assert "no contact is known" in spring.incremental_why


@pytest.mark.parametrize("by_campaign", [True, False])
def test_a_hash_that_was_obeyed_is_a_hold_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by_campaign: bool
) -> None:
    """Messages of an importer: nobody decided, but the log shows that the held out got none."""
    decided = decisions("spring", 1, PERSONS)
    if not by_campaign:
        for row, out in zip(decided, held_out(PERSONS, SHARE, "messages"), strict=True):
            row["held_out"] = bool(out)
    settings = log_of(tmp_path, decided, LIFT)
    log = EventLog(settings.event_log_url)
    log.forget_decisions(NOW)
    log.close()
    seen = pd.DataFrame({CONTACT_ID: PERSONS, "first": pd.Timestamp(at(0))})
    monkeypatch.setattr(_campaign_holdout, "contacts_seen", lambda _: seen)
    spring = named(campaign_report(settings, NOW, by=["campaign"]), "campaign")["spring"]
    assert spring.held_out == sum(row["held_out"] for row in decided)
    assert spring.incremental_interval[0] < spring.treated * LIFT / 2 < spring.incremental_interval[1]
    other = settings.model_copy(update={"message_holdout_salt": "another"})
    got = named(campaign_report(other, NOW, by=["campaign"]), "campaign")["spring"]
    assert got.revenue_incremental is None
    assert "got messages too" in got.incremental_why


def test_campaigns_with_and_without_decisions_stand_side_by_side(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decided = [*decisions("spring", 1, PERSONS), *decisions("summer", 12, PERSONS)]
    settings = log_of(tmp_path, decided, LIFT)
    log = EventLog(settings.event_log_url)
    log.forget_decisions(at(5))
    log.close()
    seen = pd.DataFrame({CONTACT_ID: PERSONS, "first": pd.Timestamp(at(0))})
    monkeypatch.setattr(_campaign_holdout, "contacts_seen", lambda _: seen)
    report = campaign_report(settings, NOW)
    campaigns = named(report, "campaign")
    assert all(o.revenue_incremental is not None for o in campaigns.values())
    parts = sum(o.revenue_incremental or 0 for o in campaigns.values())
    assert report.total.revenue_incremental == pytest.approx(parts)
    assert report.total.held_out == sum(o.held_out for o in campaigns.values())


def test_a_contact_in_many_campaigns_is_still_one() -> None:
    """The same people twice, with the same outcome: twice the revenue, twice the half-width."""
    random = np.random.default_rng(0)
    once = pd.DataFrame({"campaign": "a", "person": range(200), "held_out": np.arange(200) % 4 == 0})
    once["revenue"] = random.gamma(1.0, 10.0, 200)
    one = incremental(once)
    two = incremental(pd.concat([once, once.assign(campaign="b")]))
    assert two.revenue == pytest.approx(2 * one.revenue)
    assert two.interval[1] - two.revenue == pytest.approx(2 * (one.interval[1] - one.revenue))
    others = incremental(pd.concat([once, once.assign(campaign="b", person=once["person"] + 500)]))
    assert others.interval[1] - others.revenue < 1.5 * (one.interval[1] - one.revenue)
    same = incremental(once.assign(revenue=3.0))
    assert (same.revenue, same.interval) == (0, (0, 0))


def test_the_interval_is_welchs_where_the_held_out_vary_more() -> None:
    random = np.random.default_rng(3)
    rows = pd.DataFrame({"campaign": "a", "person": range(300), "held_out": np.arange(300) % 4 == 0})
    rows["revenue"] = random.gamma(1.0, 10.0, 300) * np.where(rows["held_out"], 2.0, 1.0)
    treated, held = (rows.loc[rows["held_out"] == arm, "revenue"] for arm in (False, True))
    welch = ttest_ind(treated, held, equal_var=False).confidence_interval(0.9)
    found = incremental(rows)
    assert found.interval == pytest.approx((225 * welch.low, 225 * welch.high), rel=1e-9)


@pytest.mark.parametrize(("held", "buyers"), [(150, 0.3), (40, 0.1)])
def test_the_interval_holds_at_least_as_often_as_it_says(held: int, buyers: float) -> None:
    """Spend as it is: most buy nothing, few buy a great deal. The effect is known to be 0."""
    random, size = np.random.default_rng(1), 10 * held
    base = pd.DataFrame({"campaign": "a", "person": range(size), "held_out": np.arange(size) < held})
    ends = []
    for _ in range(150):
        spend = random.gamma(1.0, 40.0, size) * (random.random(size) < buyers)
        ends.append(incremental(base.assign(revenue=spend)).interval)
    low, high = np.array(ends).T
    assert ((low <= 0) & (high >= 0)).mean() >= 0.87
    assert (low > 0).mean() <= 0.06, "a campaign that does nothing is seldom said to bring money"


# --- segments, and the command


def test_segments_are_those_of_the_time_when_the_campaign_began(world: Any, tmp_path: Path) -> None:
    world = world.copy(tmp_path / "copy")
    traits = pd.DataFrame({CONTACT_ID: world.contacts}).assign(**dict.fromkeys(TRAITS, np.nan))
    log = EventLog(world.settings.event_log_url)
    log.append(simulate_messages(traits, world.now, 3))
    log.close()
    report = campaign_report(world.settings, world.now, by=["segment"])
    segments = named(report, "segment")
    assert len(segments) > 5
    assert {"loyal", "champions"} <= set(segments)
    assert report.facts["simulated_messages"] == report.total.sent > 1000
    assert sum(o.revenue_attributed for o in segments.values()) == pytest.approx(
        report.total.revenue_attributed
    )
    assert report.facts["segments_why_none"] is None


def test_the_command(settings: Settings, tmp_path: Path) -> None:
    run, where = CliRunner(), ["--home", str(settings.home), "--now", NOW.isoformat()]
    told = json.loads(run.invoke(app, ["report", "campaigns", *where, "--json"]).stdout)
    assert told["total"]["revenue_attributed"] == 31
    assert set(told) > {"by_campaign", "by_channel", "by_segment", "rule", "window_days", "holdout_share"}
    picture = tmp_path / "campaigns.png"
    shown = run.invoke(
        app, ["report", "campaigns", *where, "--by", "segment", "--rule", "markov", "--plot", str(picture)]
    )
    assert shown.exit_code == 0, shown.output
    for text in (
        "by segment",
        "by markov",
        "segments: by last touch",
        "5.0%",
        "no incremental revenue",
        "fax",
    ):
        assert text in shown.stdout
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert [f.name for f in tmp_path.iterdir() if f.name.startswith(".campaigns")] == []
    nothing = run.invoke(
        app, ["report", "campaigns", "--since", "2027-01-01", *where, "--plot", str(picture)]
    )
    assert "no message was sent" in nothing.stdout
    wrong = run.invoke(app, ["report", "campaigns", *where, "--plot", "figure.pdf"])
    assert (wrong.exit_code, "must end in .png" in wrong.output) == (2, True)


def test_simulated_messages_are_called_so(settings: Settings) -> None:
    traits = pd.DataFrame({CONTACT_ID: PERSONS[:20]}).assign(**dict.fromkeys(TRAITS, np.nan))
    log = EventLog(settings.event_log_url)
    log.append(simulate_messages(traits, NOW, 3))
    log.close()
    shown = CliRunner().invoke(
        app, ["report", "campaigns", "--home", str(settings.home), "--now", NOW.isoformat()]
    )
    assert "(simulated messages)" in shown.stdout
    assert "of these messages are simulated" in shown.stdout


def test_nothing_at_all_is_said_plainly(tmp_path: Path) -> None:
    report = campaign_report(Settings(home=tmp_path), NOW)
    assert (report.total.sent, report.total.revenue_incremental) == (0, None)
    assert all(not outcomes for outcomes in report.groups.values())
    assert json.loads(json.dumps(plain(report), default=str))["messages"] == 0
