"""Sweeps: who is looked at, what fires, and that it does so once."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from features.events.log import EventLog
from features.events.triggers import TriggerLog
from nextbest.errors import BadInput
from serving.trigger_rules import TriggerRules
from serving.triggers import SweepSummary, TriggerSweep

from .conftest import NOW

DAY = timedelta(days=1)
RULES = TriggerRules.read(
    {
        "rules": [
            {"name": "fall", "moves": "rfm.segment", "direction": "down", "carry": ["value.past"]},
            {"name": "due", "when": "next_order.days <= 3", "cooldown_days": 5},
        ]
    }
)


@dataclass
class Town:
    """Contacts whose profiles are set by hand: (segment, days until the next order)."""

    log: EventLog
    triggers: TriggerLog
    people: dict[str, tuple[str | None, float]] = field(default_factory=dict)
    block: int = 2
    asked: list[list[str]] = field(default_factory=list)

    def sweep(self, rules: TriggerRules = RULES) -> TriggerSweep:
        return TriggerSweep(rules, self.triggers, self.log, ["hook"])

    def frame(self, ids: Sequence[str]) -> pd.DataFrame:
        rows = [(i, *self.people.get(i, (None, np.nan)), 12.5) for i in ids]
        return pd.DataFrame(rows, columns=["contact_id", "rfm.segment", "next_order.days", "value.past"])

    def everyone(self, now: datetime, columns: Sequence[str]) -> Iterator[pd.DataFrame]:
        assert columns == ("rfm.segment", "value.past", "next_order.days")
        ids = sorted(self.people)
        for start in range(0, len(ids), self.block):
            yield self.frame(ids[start : start + self.block])

    def everybody(self, now: datetime) -> SweepSummary:
        """Look at all, by tables built this moment."""
        return self.sweep().everyone(self.everyone, now, self.log.position())

    def live(self, ids: Sequence[str], now: datetime) -> pd.DataFrame:
        self.asked.append(list(ids))
        return self.frame(ids)

    def fired(self) -> list[tuple[str, str, str | None, str]]:
        return [
            (e["contact_id"], e["rule"], e["before"], e["after"]) for e in self.triggers.page(limit=999)[0]
        ]

    def happens(self, number: int, contact: str | None, **more: Any) -> None:
        self.log.append(
            [{"event_id": f"e{number}", "event": "x", "timestamp": NOW, "contact_id": contact, **more}]
        )


@pytest.fixture
def town(tmp_path: Path) -> Iterator[Town]:
    url = f"sqlite:///{tmp_path / 'events.db'}"
    with closing(EventLog(url)) as log, closing(TriggerLog(url)) as triggers:
        yield Town(log, triggers)


def test_the_first_look_sets_states_and_the_next_fires_what_changed(town: Town) -> None:
    town.people = {"a": ("champions", 9.0), "b": ("at_risk", 1.0), "c": (None, np.nan)}
    first = town.everybody(NOW)
    assert (first.contacts, first.changed, first.fired) == (3, 3, {})
    again = town.everybody(NOW)
    assert (again.contacts, again.changed, again.fired) == (3, 0, {})
    town.people = {"a": ("at_risk", 2.0), "b": ("champions", 1.0), "c": ("lost", 1.0), "d": ("lost", 1.0)}
    assert town.everybody(NOW + DAY).fired == {"fall": 1, "due": 2}
    assert town.fired() == [
        ("a", "fall", "champions", "at_risk"), ("a", "due", "false", "true"), ("c", "due", "false", "true"),
    ]  # fmt: skip
    [fall, due, _] = town.triggers.page()[0]
    assert fall["facts"] == {"rfm.segment": "at_risk", "value.past": 12.5}
    assert due["facts"] == {"next_order.days": 2.0}


def test_what_is_unknown_for_a_while_moves_nothing(town: Town) -> None:
    for number, segment in enumerate(("champions", None, "lost", "lost", None, "lost")):
        town.people = {"a": (segment, np.nan)}
        town.everybody(NOW + number * DAY)
    assert town.fired() == [("a", "fall", "champions", "lost")]


def test_a_new_rule_begins_with_the_state_and_an_old_one_is_forgotten(town: Town) -> None:
    town.people = {"a": ("champions", 9.0)}
    one = TriggerRules(RULES.watches[:1])
    town.sweep(one).everyone(lambda *_: iter([town.frame(["a"])]), NOW, 0)
    town.people = {"a": ("champions", 1.0)}
    assert town.everybody(NOW).fired == {}
    assert town.triggers.states(["a"]) == {"a": '{"fall":"champions","due":"true"}'}
    town.sweep(one).everyone(lambda *_: iter([town.frame(["a"])]), NOW, 0)
    assert town.triggers.states(["a"]) == {"a": '{"fall":"champions"}'}


def test_everyone_is_not_looked_at_backwards_in_time(town: Town) -> None:
    town.everybody(NOW)
    with pytest.raises(BadInput, match=r"as of 2026-03-01T00:00:00.00:00 already"):
        town.everybody(NOW - DAY)
    town.happens(1, "a")
    assert town.sweep().news(town.live, NOW - DAY).contacts == 0
    assert town.sweep().news(town.live, NOW).contacts == 1


def test_news_is_looked_at_once_person_by_person(town: Town) -> None:
    town.happens(1, "before")
    town.everybody(NOW)
    town.happens(2, "a", anonymous_id="v1")
    town.happens(3, None, anonymous_id="v2")
    town.happens(4, None, anonymous_id="v3")
    town.log.write_identities([
        {"anonymous_id": "v2", "contact_id": "b", "timestamp": NOW, "alias": False},
        {"anonymous_id": "old", "contact_id": "c", "timestamp": NOW, "alias": True},
    ])  # fmt: skip
    assert town.sweep().news(town.live, NOW).contacts == 3
    assert town.sweep().news(town.live, NOW).contacts == 0
    assert town.asked == [["a", "b", "c"]]


def test_before_everyone_was_looked_at_nothing_is_news(town: Town) -> None:
    town.people = {"a": ("lost", 9.0), "b": ("lost", 9.0)}
    town.happens(1, "a")
    town.happens(2, "b")
    assert town.sweep().news(town.live, NOW).contacts == 0
    town.sweep().everyone(town.everyone, NOW, 1)
    town.sweep().news(town.live, NOW)
    assert town.asked == [["b"]]


def test_who_did_something_since_the_build_is_left_to_the_live_look(town: Town) -> None:
    town.people = {"a": ("champions", 9.0), "b": ("champions", 9.0), "c": ("champions", 9.0)}
    town.everybody(NOW)
    built = town.log.position()
    town.happens(1, "a")
    town.happens(2, None, anonymous_id="v1")
    town.log.write_identities([{"anonymous_id": "v1", "contact_id": "b", "timestamp": NOW, "alias": False}])
    town.people = dict.fromkeys("abc", ("lost", 1.0))

    def stale(now: datetime, columns: Sequence[str]) -> Iterator[pd.DataFrame]:
        yield town.frame(["a", "b"])
        frame = town.frame(["c"])
        town.happens(3, "c")
        yield frame

    done = town.sweep().everyone(stale, NOW + DAY, built)
    assert (done.contacts, done.fired) == (0, {})
    assert town.sweep().news(town.live, NOW + DAY).fired == {"fall": 3, "due": 3}


def test_news_that_could_not_be_read_is_looked_at_again(town: Town) -> None:
    town.everybody(NOW)
    town.happens(1, "a")

    def broken(ids: Sequence[str], now: datetime) -> pd.DataFrame:
        raise OSError("no store")

    with pytest.raises(OSError, match="no store"):
        town.sweep().news(broken, NOW)
    assert town.sweep().news(town.live, NOW).contacts == 1


def test_news_of_the_meantime_wins_over_a_slow_sweep(town: Town) -> None:
    town.people = {"a": ("champions", 9.0), "b": ("champions", 9.0)}
    town.everybody(NOW)

    def slow(now: datetime, columns: Sequence[str]) -> Iterator[pd.DataFrame]:
        read = town.frame(["a", "b"])
        town.people["a"] = ("lost", 9.0)
        town.happens(1, "a")
        assert town.sweep().news(town.live, NOW).fired == {"fall": 1}
        yield read

    assert town.sweep().everyone(slow, NOW, 0).fired == {}
    assert town.everybody(NOW + DAY).fired == {}
    assert town.fired() == [("a", "fall", "champions", "lost")]


def test_who_was_changed_between_reading_and_writing_is_worked_out_again(town: Town) -> None:
    town.people = {"a": ("champions", 9.0), "b": ("champions", 9.0)}
    town.everybody(NOW)
    held = town.triggers.states

    def states(ids: Sequence[str]) -> dict[str, str]:
        """Let another sweep, which sees something else, come between reading and writing, once."""
        found = held(ids)
        town.triggers.states = held  # type: ignore[method-assign]
        town.people = {"a": ("loyal", 9.0), "b": ("lost", 9.0)}
        town.everybody(NOW)
        return found

    town.triggers.states = states  # type: ignore[method-assign]
    town.people = {"a": ("lost", 9.0), "b": ("lost", 9.0)}
    assert town.everybody(NOW).fired == {"fall": 1}
    assert town.fired() == [
        ("a", "fall", "champions", "loyal"), ("b", "fall", "champions", "lost"),
        ("a", "fall", "loyal", "lost"),
    ]  # fmt: skip


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_in_blocks_as_one_by_one(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """However contacts are cut into blocks, the events are those of looking at each by itself."""
    places = st.tuples(
        st.sampled_from(["champions", "loyal", "lost", None]), st.sampled_from([1.0, 9.0, np.nan])
    )
    days = data.draw(st.lists(st.lists(places, min_size=4, max_size=4), min_size=2, max_size=4))
    found = []
    for block in (1, 3, 4):
        url = f"sqlite:///{tmp_path_factory.mktemp('blocks') / 'events.db'}"
        with closing(EventLog(url)) as log, closing(TriggerLog(url)) as triggers:
            town = Town(log, triggers, block=block)
            for number, people in enumerate(days):
                town.people = dict(zip("abcd", people, strict=True))
                town.everybody(NOW + number * DAY)
            found.append(sorted(town.fired()))
    assert found[0] == found[1] == found[2]
    assert found[0] == sorted(_by_hand(days))


def _by_hand(days: list[list[tuple[str | None, float]]]) -> Iterator[tuple[str, str, str, str]]:
    worth = {"lost": 0, "loyal": 1, "champions": 2}
    for contact, path in zip("abcd", zip(*days, strict=True), strict=True):
        place, due, rests = path[0][0], path[0][1] <= 3, -9
        for number, (segment, left) in enumerate(path[1:], 1):
            if segment is not None:
                if place is not None and worth[segment] < worth[place]:
                    yield contact, "fall", place, segment
                place = segment
            if left <= 3 and not due and number - rests >= 5:
                rests = number
                yield contact, "due", "false", "true"
            due = left <= 3


def test_a_contacts_own_events_come_newest_first(town: Town) -> None:
    for days, segment in enumerate(["champions", "loyal", "at_risk", "lost"]):
        town.people = {"a": (segment, np.nan), "b": (segment, np.nan)}
        town.everybody(NOW + days * DAY)
    fired = town.triggers.of(["a", "nobody"], 2)
    assert [(one["contact_id"], one["after"]) for one in fired] == [("a", "lost"), ("a", "at_risk")]
    assert town.triggers.of(["nobody"], 2) == []
