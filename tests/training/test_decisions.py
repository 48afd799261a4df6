"""What answers led to, on a log small enough to count by hand."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from features.events.lake import Lake
from features.events.log import EventLog
from features.forget import forget
from nextbest.cli import app
from nextbest.errors import BadInput
from nextbest.settings import Settings
from training.decisions import DecisionReport, Outcome, decision_report

FIRST = datetime(2026, 3, 1, tzinfo=UTC)
NOW = FIRST + timedelta(days=30)


def at(days: float) -> datetime:
    return FIRST + timedelta(days=days)


def answer(name: str, day: float, placement: str | None, *shown: Any, **values: Any) -> dict[str, Any]:
    kind = "best_channel" if placement is None else "recommendations"
    return {
        "decision_id": name, "timestamp": at(day), "kind": kind, "placement": placement, "source": "ranked",
        "model_version": "m/1", "explore": False, "shown": [[item, 1.0, source] for item, source in shown],
        **values,
    }  # fmt: skip


TOLD = ("recommendation_id", "decision_id", "position", "products")


class Happened:
    """Events by short words, each with an id of its own."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    def add(self, event: str, who: str, day: float, item: str | None = None, **values: Any) -> None:
        person = {"anonymous_id": who} if who.startswith("v") else {"contact_id": who}
        told = {name: values.pop(name) for name in TOLD if name in values}
        self.rows.append(
            {"event_id": f"e{len(self.rows)}", "event": event, "timestamp": at(day), "received_at": at(day),
             "item_id": item, "properties": json.dumps(told) if told else None, **person, **values}
        )  # fmt: skip

    def view(self, who: str, day: float, answer: str, item: str | None = None) -> None:
        self.add("recommendation_viewed", who, day, item, recommendation_id=answer)

    def click(self, who: str, day: float, answer: str, item: str | None, **values: Any) -> None:
        self.add("recommendation_clicked", who, day, item, recommendation_id=answer, **values)

    def order(self, who: str, day: float, item: str, price: float, quantity: float | None = None) -> None:
        self.add(
            "order_completed", who, day, item, price=price, quantity=quantity, order_id=f"o{len(self.rows)}"
        )


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    settings = Settings(home=tmp_path, now=NOW)
    log = EventLog(settings.event_log_url)
    log.record_decisions([
        answer("d1", 0, "home", ("a", "ranked"), ("b", "ranked"), ("c", "trending"), contact_id="c1"),
        answer("d2", 2, "email", ("a", "popular"), contact_id="c1", source="popular", model_version=None,
               fallback="no_champion"),
        answer("d3", 5, "cart", ("d", "basket"), ("f", "exploration"), anonymous_id="v1", explore=True),
        answer("d4", 5, "bought_together", ("e", "basket")),
        answer("d5", 10, None, ("email", "policy"), contact_id="c1"),
        answer("d6", 11, "buy_again", contact_id="c1", source="none", fallback="nothing_due"),
        answer("d7", 12, None, (None, "policy"), contact_id="c1"),
        {**answer("d8", 29, "home", contact_id="c3"), "shown": [["a", 1.0], ["b", 1.0]]},  # as before
    ])  # fmt: skip
    happened = Happened()
    happened.view("c1", 0.1, "d1")  # the whole list
    happened.click("c1", 0.2, "d1", "a")
    happened.click("c1", 0.3, "d1", "a")
    happened.view("c1", 2.4, "d2", "a")
    happened.click("c1", 2.5, "d2", "a")
    happened.order("c1", 3.0, "a", 5.0, 2.0)  # the latest click has it: d2
    happened.order("c1", 3.0, "b", 4.0)  # seen in d1 and not clicked
    happened.click("v1", 5.1, "d3", None, position=1)
    log.append(happened.rows)
    log.compact(Lake(settings.lake))
    known = len(happened.rows)
    happened.order("c2", 6.0, "d", 7.0)  # the visitor is c2
    happened.order("c2", 20.0, "d", 7.0)  # too late
    happened.view("v9", 5.1, "d4", "e")
    happened.click("v9", 5.2, "d4", "e")
    happened.order("v9", 5.3, "e", 3.0)
    happened.order("v9", 5.1, "e", 99.0)  # before the click, as late as the view
    happened.order("c9", 5.4, "e", 50.0)  # somebody else
    happened.add("message_sent", "c1", 10.1, decision_id="d5", channel="email")
    happened.add("message_clicked", "c1", 10.2, decision_id="d5", channel="email", item_id="q")
    happened.add("message_clicked", "c1", 10.2, channel="email")  # of a message nobody here chose
    happened.order("c1", 11.0, "z", 20.0)
    happened.click("c1", 12.0, "nowhere", "a")
    happened.click("c1", 12.0, "d1", "not shown")
    seen = [{"product_id": "a", "position": 1}, {"sku": "other"}]
    happened.add("recommendation_viewed", "c3", 29.1, recommendation_id="d8", products=seen)
    happened.click("c3", 29.2, "d8", "a")
    log.append(happened.rows[known:])
    log.write_identities([{"anonymous_id": "v1", "contact_id": "c2", "timestamp": at(6)}])
    log.close()
    return settings


def named(report: DecisionReport, by: Any) -> dict[str, Outcome]:
    return {outcome.name: outcome for outcome in report.groups[by]}


def figures(outcome: Outcome) -> tuple[Any, ...]:
    return (
        outcome.answers, outcome.shown, outcome.viewed, outcome.clicked, outcome.converted, outcome.revenue,
        outcome.assisted, outcome.assisted_revenue,
    )  # fmt: skip


def test_each_order_line_is_counted_once_where_it_was_clicked_last(settings: Settings) -> None:
    report = decision_report(settings, NOW)
    assert {name: figures(outcome) for name, outcome in named(report, "placement").items()} == {
        "home": (2, 5, 4, 2, 0, 0.0, 1, 4.0),
        "email": (1, 1, 1, 1, 1, 10.0, 0, 0.0),
        "cart": (1, 2, 1, 1, 1, 7.0, 0, 0.0),
        "bought_together": (1, 1, 1, 1, 1, 3.0, 1, 99.0),
        "best_channel": (2, 1, 1, 1, 1, 20.0, 0, 0.0),
        "buy_again": (1, 0, 0, 0, 0, 0.0, 0, 0.0),
    }
    assert {name: figures(o)[:6] for name, o in named(report, "source").items()} == {
        "ranked": (3, 4, 3, 2, 0, 0.0),  # of d7 too, which chose nothing
        "trending": (1, 1, 1, 0, 0, 0.0),
        "popular": (1, 1, 1, 1, 1, 10.0),
        "basket": (2, 2, 2, 2, 2, 10.0),
        "exploration": (1, 1, 0, 0, 0, 0.0),
        "policy": (1, 1, 1, 1, 1, 20.0),
        "none": (1, 0, 0, 0, 0, 0.0),
    }
    assert figures(report.total)[:6] == (8, 10, 8, 6, 4, 40.0)
    assert {name: o.answers for name, o in named(report, "fallback").items()} == {
        "": 6, "no_champion": 1, "nothing_due": 1,
    }  # fmt: skip


def test_what_has_to_be_known_beside_the_figures(settings: Settings) -> None:
    facts = decision_report(settings, NOW).facts
    assert facts["fallback_share"] == 2 / 8
    assert facts["fallback_why"] == {"no_champion": 1 / 8, "nothing_due": 1 / 8}
    assert facts["explored_answers_share"] == 1 / 8
    assert facts["explored_items_share"] == 1 / 10
    assert facts["clicks_with_open_window"] == 1
    assert (facts["views_of_no_answer"], facts["clicks_of_no_answer"]) == (0, 2)


def test_intervals_are_wilsons_and_the_bootstraps(settings: Settings) -> None:
    report = decision_report(settings, NOW)
    assert named(report, "placement")["cart"].click_rate is None, "nobody reports what the cart shows"
    home = named(report, "placement")["home"]
    assert home.click_rate == 2 / 4
    assert home.click_interval == pytest.approx((0.1500, 0.8500), abs=1e-4)
    low, high = report.total.revenue_interval
    assert 0 <= low < 40 < high
    assert decision_report(settings, NOW) == report, "chance has a fixed seed"


def test_a_span_and_a_window(settings: Settings) -> None:
    report = decision_report(settings, NOW, since=at(2), until=at(10), by=["position"])
    assert [(o.name, *figures(o)[:6]) for o in report.groups["position"]] == [
        ("1", 3, 3, 3, 3, 3, 20.0), ("2", 1, 1, 0, 0, 0, 0.0),
    ]  # fmt: skip
    early = decision_report(settings, NOW, until=at(1), by=["placement"])
    assert figures(early.total) == (1, 3, 3, 1, 0, 0.0, 1, 4.0), "a later answer's click still has its line"
    assert decision_report(settings, NOW, window_days=0.7).total.revenue == 13.0
    assert decision_report(settings, at(2.6)).total.revenue == 0.0
    with pytest.raises(BadInput, match="is not before --until"):
        decision_report(settings, NOW, since=at(2), until=at(2))


def test_the_erased_vanish(settings: Settings) -> None:
    forget(settings, ["c2"])
    found = named(decision_report(settings, NOW), "placement")
    assert "cart" not in found
    assert found["email"].revenue == 10.0


def test_old_answers_can_be_forgotten(settings: Settings) -> None:
    log = EventLog(settings.event_log_url)
    assert log.forget_decisions(at(5)) == 2
    report = decision_report(settings, NOW)
    assert report.total.answers == 6
    log.close()


def test_the_command(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    run, where = CliRunner(), ["--home", str(settings.home), "--now", NOW.isoformat()]
    told = json.loads(run.invoke(app, ["report", *where, "--json"]).stdout)
    assert told["total"]["revenue"] == 40.0
    assert set(told) > {"by_placement", "by_source", "by_fallback", "window_days"}
    shown = run.invoke(app, ["report", "decisions", "--by", "model_version", *where]).stdout
    assert "by model version" in shown
    assert "no_champion 12.5%" in shown
    assert "report coverage" in run.invoke(app, ["report", *where]).stdout
    wrong = run.invoke(app, ["report", *where, "paths"])
    assert (wrong.exit_code, "nextbest report paths" in wrong.output) == (2, True)
    nothing = run.invoke(app, ["report", "decisions", "--since", "2027-01-01", *where])
    assert "no answer is in the decision log" in nothing.stdout
