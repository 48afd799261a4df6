"""The event log: once each, in order, durable, forgetting on demand."""

import json
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from sqlalchemy import create_mock_engine
from sqlalchemy.schema import CreateTable

from features.events._log_tables import METADATA
from features.events.lake import Lake
from features.events.log import EventLog
from features.events.schema import validate_events
from features.events.segment import Arrival
from nextbest.columns import EVENT_COLUMNS
from nextbest.errors import BadInput

NOW = datetime(2024, 6, 1, 12, tzinfo=UTC)


def line(number: int, contact: str | None = "a", **values: Any) -> dict[str, Any]:
    return {
        "event_id": f"e{number}",
        "event": "order_completed",
        "timestamp": NOW + timedelta(minutes=number),
        "contact_id": contact,
        "order_id": "o1",
        "item_id": f"i{number}",
        "quantity": 1.0,
        "price": 2.5,
        **values,
    }


def leads(log: EventLog, contact: str = "a") -> list[bool]:
    return [row["lead"] for row in log.tail([contact], 0)]


def test_appending_again_stores_nothing_twice(log: EventLog) -> None:
    assert log.append([line(1), line(2), line(1)]) == 2
    assert log.append([line(2), line(3)]) == 1
    assert log.append([]) == 0
    assert log.position() == 3
    assert [row["event_id"] for row in log.tail(["a"], 0)] == ["e1", "e2", "e3"]


def test_the_first_line_of_an_order_leads_across_appends(log: EventLog) -> None:
    log.append([line(1), line(2)])
    log.append([line(3), line(4, order_id="o2"), line(5, order_id=None)])
    assert leads(log) == [True, False, False, True, True]


def test_checkout_refund_and_another_contact_have_leads_of_their_own(log: EventLog) -> None:
    log.append([line(1, event="checkout_started"), line(2), line(3, event="order_refunded"), line(4, "b")])
    assert leads(log) == [True, True, True]
    assert leads(log, "b") == [True]


def test_tail_is_by_contact_after_a_position_with_aware_times(log: EventLog) -> None:
    log.append([line(1), line(2, "b"), line(3)])
    (row,) = log.tail(["a"], since=1)
    assert row["position"] == 3
    assert row["timestamp"] == NOW + timedelta(minutes=3)
    assert set(row) == {*EVENT_COLUMNS, "position", "lead"}
    assert len(log.tail(["a", "b"], 0)) == 3
    assert log.tail(["nobody"], 0) == []


def test_an_anonymous_id_never_opens_a_contact(log: EventLog) -> None:
    log.append([line(1, "a"), line(2, None, anonymous_id="a"), line(3, "b", anonymous_id="visit")])
    assert [r["event_id"] for r in log.tail(["a"], 0)] == ["e1"]
    assert [r["event_id"] for r in log.tail([], 0, anonymous_ids=["a"])] == ["e2"]
    assert log.tail([], 0, anonymous_ids=["visit", "b"]) == []


def test_a_linked_visitor_becomes_part_of_the_contact(log: EventLog) -> None:
    log.append([line(1, None, anonymous_id="visit")])
    log.write_identities([{"anonymous_id": "visit", "contact_id": "a", "timestamp": NOW}])
    (person,) = log.people(["a"])
    (row,) = log.tail(list(person.members), 0, list(person.visitors))
    assert (row["event_id"], row["contact_id"]) == ("e1", None)
    assert log.identities()["contact_id"].tolist() == ["a"]


def test_a_link_said_again_is_kept_once_unless_it_is_of_an_earlier_time(log: EventLog) -> None:
    for ago in (1, 0, 2):
        moment = NOW - timedelta(days=ago)
        log.write_identities([{"anonymous_id": "visit", "contact_id": "a", "timestamp": moment}])
    assert [link.timestamp for link in log.links()] == [
        int((NOW - timedelta(days=ago)).timestamp() * 1e6) for ago in (1, 2)
    ]
    assert [link.position for link in log.links()] == [1, 2]


def test_contacts_are_merged(log: EventLog) -> None:
    log.write_contacts([{"contact_id": "a", "traits": {"x": 1}, "consent_email": True, "created_at": NOW}])
    log.write_contacts([{"contact_id": "a", "traits": '{"y":2}', "consent_sms": False}])
    (row,) = log.contacts(["a"]).to_dict("records")
    assert row["traits"] == '{"x": 1, "y": 2}'
    assert (row["consent_email"], row["consent_sms"], row["consent_ads"]) == (True, False, None)
    assert row["created_at"] == pd.Timestamp(NOW)
    assert log.contacts(["b"]).empty


def test_read_gives_canonical_frames(log: EventLog) -> None:
    frame, _ = validate_events(pd.DataFrame([line(n) for n in range(5)]), NOW)
    log.append(frame)
    (back,) = log.read(since=1, until=4)
    pd.testing.assert_frame_equal(back.reset_index(drop=True), frame.iloc[1:4].reset_index(drop=True))


def test_compact_twice_is_compact_once(log: EventLog, tmp_path: Path) -> None:
    lake = Lake(tmp_path / "lake")
    log.append([line(1), line(2, "b")])
    log.write_identities([{"anonymous_id": "visit", "contact_id": "a", "timestamp": NOW}])
    assert log.compact(lake) == 3
    assert log.compact(lake) == 3
    log.append([line(3)])
    assert log.compact(lake) == 4
    assert sorted(lake.events().event_id.execute()) == ["e1", "e2", "e3"]
    assert lake.identities()["anonymous_id"].tolist() == ["visit"]


def test_a_new_log_in_the_place_of_the_old_is_noticed(log: EventLog, tmp_path: Path) -> None:
    lake = Lake(tmp_path / "lake")
    log.append([line(1), line(2)])
    log.compact(lake)
    other = EventLog(f"sqlite:///{tmp_path / 'other.db'}")
    other.append([line(9)])
    assert other.compact(lake) == 1
    assert lake.events().count().execute() == 3


def test_erase_leaves_nothing_of_the_contact(log: EventLog, tmp_path: Path) -> None:
    log.append([line(1, "gone-contact"), line(2, "b"), line(3, None, anonymous_id="gone-visit")])
    log.write_identities([{"anonymous_id": "gone-visit", "contact_id": "gone-contact", "timestamp": NOW}])
    log.write_contacts([{"contact_id": "gone-contact"}])
    log.record_decision(
        {"decision_id": "d", "timestamp": NOW, "kind": "recommendation", "contact_id": "gone-contact"}
    )
    assert log.erase(["gone-contact"]) == 2
    assert log.decisions() == []
    assert log.contacts().empty
    log.append([line(4)])
    assert log.position() == 6
    log.close()
    if not log.url.startswith("sqlite"):
        return  # PostgreSQL lets go of the space when it vacuums
    held = b"".join(path.read_bytes() for path in (tmp_path / "deep").iterdir())
    assert b"gone-contact" not in held
    assert b"gone-visit" not in held


def test_positions_are_never_used_twice(log: EventLog) -> None:
    log.append([line(1), line(2, "b")])
    log.erase(["b"])
    log.append([line(3)])
    assert log.position() == 3


def test_decisions_come_back_as_recorded(log: EventLog) -> None:
    row = {
        "decision_id": "d1",
        "timestamp": NOW,
        "kind": "channel",
        "contact_id": "a",
        "shown": [["email", 0.9]],
        "explored": True,
    }
    log.record_decision(row)
    (back,) = log.decisions(since=NOW, kind="channel")
    assert {key: back[key] for key in row} == row
    assert log.decisions(since=NOW + timedelta(seconds=1)) == []


def test_threads_and_a_second_process_append_at_once(log: EventLog) -> None:
    def work(start: int) -> None:
        for n in range(start, start + 20):
            log.append([line(n, order_id="shared")])

    script = f"""
from features.events.log import EventLog
from datetime import UTC, datetime
log = EventLog({log.url!r})
for n in range(300, 320):
    log.append([{{"event_id": f"e{{n}}", "event": "order_completed", "timestamp": datetime.now(UTC),
                  "contact_id": "a", "order_id": "shared", "item_id": "x"}}])
"""
    other = subprocess.Popen([sys.executable, "-c", script], cwd=Path(__file__).parents[2])
    threads = [threading.Thread(target=work, args=(start,)) for start in (0, 100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert other.wait() == 0
    assert log.position() == 60
    assert sum(leads(log)) == 1


def test_a_url_of_no_database_says_what_would_work() -> None:
    with pytest.raises(BadInput, match="sqlite:////folder"):
        EventLog("nonsense")


def test_the_tables_are_good_postgresql_too() -> None:
    dialect = create_mock_engine("postgresql://", lambda *_: None).dialect
    made = [str(CreateTable(table).compile(dialect=dialect)) for table in METADATA.sorted_tables]
    (events,) = [text for text in made if "CREATE TABLE events (" in text]
    assert "position BIGINT NOT NULL" in events
    assert "timestamp BIGINT" in events


def test_what_was_shown_to_a_contact_at_a_placement_within_days(log: EventLog) -> None:
    def told(n: int, contact: str, placement: str, ago: float, *items: str) -> dict[str, Any]:
        shown = [[item, 0.5] for item in items]
        moment = NOW - timedelta(days=ago)
        return {"decision_id": f"d{n}", "timestamp": moment, "kind": "recommendations", "contact_id": contact,
                "placement": placement, "shown": shown}  # fmt: skip

    log.record_decisions([
        told(1, "a", "email", 15, "old"), told(2, "a", "email", 9, "x", "y"),
        told(3, "a", "email", 1, "y", "z"),
        told(4, "a", "home", 1, "h"), told(5, "b", "email", 1, "b"), told(6, "a", "email", -1, "later"),
    ])  # fmt: skip
    since = NOW - timedelta(days=14)
    assert log.shown("a", "email", since, NOW) == {"x", "y", "z"}
    assert log.shown("a", "email", since, NOW, most=1) == {"y", "z"}
    assert log.shown("nobody", "email", since, NOW) == set()


def test_an_older_log_is_given_the_index_that_what_was_shown_is_found_by(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'events.db'}"
    EventLog(url).close()
    plan = "EXPLAIN QUERY PLAN SELECT shown FROM decisions WHERE contact_id = 'a' AND placement = 'email'"
    with closing(sqlite3.connect(tmp_path / "events.db")) as database:
        database.execute("DROP INDEX decisions_shown")
        database.commit()
    EventLog(url).close()
    with closing(sqlite3.connect(tmp_path / "events.db")) as database:
        assert "decisions_shown" in str(database.execute(plan + " AND timestamp > 1").fetchall())


def test_a_log_of_an_earlier_version_is_brought_over(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "events.db")) as database:
        database.executescript("""
            CREATE TABLE events (position INTEGER PRIMARY KEY AUTOINCREMENT, event_id VARCHAR NOT NULL UNIQUE,
                event VARCHAR, timestamp BIGINT, received_at BIGINT, contact_id VARCHAR,
                anonymous_id VARCHAR, item_id VARCHAR, order_id VARCHAR, quantity DOUBLE, price DOUBLE,
                currency VARCHAR, channel VARCHAR, campaign_id VARCHAR, message_id VARCHAR, url TEXT,
                properties TEXT, lead BOOLEAN NOT NULL);
            INSERT INTO events (event_id, event, timestamp, contact_id, lead) VALUES ('e1', 'x', 1, 'a', 1);
            INSERT INTO events (event_id, event, timestamp, contact_id, lead) VALUES ('e2', 'x', 1, 'a', 1);
            DELETE FROM events WHERE event_id = 'e2';
            CREATE TABLE contacts (contact_id VARCHAR PRIMARY KEY, timezone VARCHAR, traits TEXT);
            CREATE TABLE identities (anonymous_id VARCHAR PRIMARY KEY, contact_id VARCHAR, timestamp BIGINT);
            INSERT INTO identities VALUES ('visit', 'a', 5), ('other', 'b', NULL);
        """)
    for _ in range(2):
        with closing(EventLog(f"sqlite:///{tmp_path / 'events.db'}")) as log:
            assert [link[:4] for link in log.links()] == [("other", "b", 0, False), ("visit", "a", 5, False)]
            assert log.position() == 4  # of the erased event and the links; none is given out twice
            assert [event["event_id"] for event in log.tail(["a"], 0)] == ["e1"]
            assert log.people(["a"])[0].visitors == {"visit": None}


def test_the_word_said_last_stands_whenever_it_arrives(log: EventLog) -> None:
    def said(minute: int, **values: Any) -> Arrival:
        return Arrival(contacts=[{"contact_id": "a", "timestamp": minute, **values}])

    log.take([said(5, consent_email=False, traits='{"plan":"gold"}')])
    log.take([said(3, consent_email=True, consent_sms=True, traits='{"plan":"free","size":1}')])
    (row,) = log.contacts(["a"]).to_dict("records")
    assert (row["consent_email"], row["consent_sms"]) == (False, True)
    assert json.loads(row["traits"]) == {"plan": "gold", "size": 1}
    log.take([said(7, consent_email=True), said(6, consent_email=False)])
    assert log.contacts(["a"])["consent_email"].tolist() == [True]


def test_positions_order_what_several_writers_store(log: EventLog) -> None:
    """A reader who has seen a position never meets a lower one later."""
    seen: list[int] = []
    other = EventLog(log.url)
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            seen.append(log.position())
            assert len(log.tail(["a"], 0)) >= seen[-1]

    reader = threading.Thread(target=read)
    reader.start()

    def write(log: EventLog, start: int) -> None:
        for number in range(start, start + 15):
            log.append([line(number)])

    writers = [threading.Thread(target=write, args=each) for each in ((log, 0), (other, 100))]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    done.set()
    reader.join()
    other.close()
    assert seen == sorted(seen)
    assert log.position() == 30


@pytest.mark.parametrize("said", ["a consent", "an unsubscription"])
def test_that_consents_came_in_is_remembered_for_every_process(log: EventLog, said: str) -> None:
    with closing(EventLog(log.url)) as other:
        assert not other.keeps_consents()
        if said == "a consent":
            log.write_contacts([{"contact_id": "c", "consent_sms": False}])
        else:
            log.append([line(1, event="unsubscribed", order_id=None, item_id=None)])
        assert other.keeps_consents()


def test_erasures_are_counted(log: EventLog) -> None:
    assert log.erasures() == 0
    log.erase(["nobody"])
    log.erase(["nobody"])
    assert log.erasures() == 2


def test_whoever_has_something_new_is_named(log: EventLog) -> None:
    log.append([line(1, "old")])
    since = log.position()
    log.append([line(2, "new"), line(3, None, anonymous_id="v"), line(4, None, anonymous_id="w")])
    log.write_identities([{"anonymous_id": "v", "contact_id": "known", "timestamp": NOW}])
    assert log.newer(since) >= {"new", "known"}
    assert "old" not in log.newer(since)
    assert log.newer(log.position()) == set()
