"""States and events of triggers: each event once, whoever else writes, dies or erases meanwhile."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import event, text

from features.events import triggers
from features.events.deliveries import Deliveries
from features.events.log import EventLog
from features.events.triggers import Basis, Change, Firing, TriggerLog

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)
DAY_MICROS = 86_400_000_000
HOT = Firing("hot", "false", "true", {"score.points": 51.5, "rfm.segment": None})


@pytest.fixture
def fired(log: EventLog) -> Iterator[TriggerLog]:
    with closing(TriggerLog(log.url)) as opened:
        yield opened


def seen(contact: str, before: str | None, after: str, *firings: Firing) -> Change:
    return Change(contact, before, after, firings)


def test_a_change_and_its_event_come_together(fired: TriggerLog) -> None:
    basis = fired.basis()
    assert fired.store([seen("a", None, "cold"), seen("b", None, "cold")], basis, NOW).changed == 2
    stored = fired.store([seen("a", "cold", "hot", HOT)], basis, NOW, ["one", "other"])
    assert (stored.changed, stored.fired, stored.again) == (1, {"hot": 1}, [])
    assert fired.states(["a", "b", "c"]) == {"a": "hot", "b": "cold"}
    [found], following = fired.page()
    assert found.pop("id").startswith("trg_")
    assert found == {
        "position": 1, "timestamp": NOW, "contact_id": "a", "rule": "hot", "before": "false", "after": "true",
        "facts": {"score.points": 51.5, "rfm.segment": None},
    }  # fmt: skip
    assert following == 1
    assert Deliveries(fired.engine).waiting(["one", "other"])[0] == 2


def test_whoever_comes_second_is_told_to_look_again_and_fires_nothing(fired: TriggerLog) -> None:
    basis = fired.basis()
    fired.store([seen("a", None, "cold")], basis, NOW)
    change = [seen("a", "cold", "hot", HOT)]
    assert fired.store(change, basis, NOW).changed == 1
    stored = fired.store(change, basis, NOW)
    assert (stored.changed, stored.fired, stored.again) == (0, {}, ["a"])
    assert fired.store([seen("a", None, "cold")], basis, NOW).again == ["a"]
    assert len(fired.page()[0]) == 1


def test_who_knew_less_does_not_overwrite_who_knew_more(fired: TriggerLog) -> None:
    fired.store([seen("a", None, "cold")], Basis(5, 0), NOW)
    stored = fired.store([seen("a", "cold", "hot", HOT)], Basis(4, 0), NOW)
    assert (stored.changed, stored.again, fired.states(["a"])) == (0, [], {"a": "cold"})
    assert fired.store([seen("a", "cold", "hot", HOT)], Basis(5, 0), NOW).changed == 1


def test_a_rule_rests_for_its_cooldown(fired: TriggerLog) -> None:
    basis, rest = fired.basis(), {"hot": 2 * DAY_MICROS}
    fired.store([seen("a", None, "cold")], basis, NOW)
    for days, count in ((0, 1), (1, 1), (2, 2), (3, 2)):
        fired.store([seen("a", "cold", "hot", HOT)], basis, NOW + days * DAY, cooldowns=rest)
        fired.store([seen("a", "hot", "cold")], basis, NOW + days * DAY, cooldowns=rest)
        assert len(fired.page()[0]) == count


def test_pages_go_on_where_the_last_one_ended(fired: TriggerLog) -> None:
    basis = fired.basis()
    for number, rule in enumerate(("hot", "due", "hot", "due", "hot")):
        contact = f"c{number}"
        fired.store([seen(contact, None, "cold")], basis, NOW)
        fired.store([seen(contact, "cold", rule, Firing(rule, None, "x"))], basis, NOW + number * DAY)
    assert fired.page(limit=2)[1] == 2
    assert [one["position"] for one in fired.page(2, 2)[0]] == [3, 4]
    assert fired.page(5) == ([], 5)
    assert fired.page(9) == ([], 9)
    rest, following = fired.page(1, rule="due")
    assert ([one["position"] for one in rest], following) == ([2, 4], 5)
    assert [one["position"] for one in fired.page(NOW + 3 * DAY)[0]] == [4, 5]
    assert fired.page(NOW + 9 * DAY) == ([], 5)
    assert fired.forget(NOW + 2 * DAY) == 2
    assert [one["position"] for one in fired.page()[0]] == [3, 4, 5]


def test_erased_contacts_leave_nothing_and_do_not_come_back(log: EventLog, fired: TriggerLog) -> None:
    before = fired.basis()
    fired.store([seen("secret-id", None, "cold"), seen("b", None, "cold")], before, NOW)
    fired.store([seen("secret-id", "cold", "hot", HOT)], before, NOW, ["one"])
    log.erase(["secret-id"])
    assert (fired.states(["secret-id"]), fired.page(), Deliveries(fired.engine).waiting(["one"])) == (
        {},
        ([], 1),
        (0, None),
    )
    # a sweep that had read the contact before it was erased
    late = [seen("secret-id", None, "cold"), seen("secret-id", "cold", "hot", HOT), seen("b", "cold", "hot")]
    assert (fired.store(late, before, NOW).changed, fired.states(["secret-id", "b"])) == (1, {"b": "hot"})
    assert fired.store(late[:1], fired.basis(), NOW).changed == 1  # known again, since it came again
    log.erase(["secret-id"])
    if log.url.startswith("sqlite"):
        folder = Path(log.url.removeprefix("sqlite:///")).parent
        assert not any(b"secret-id" in file.read_bytes() for file in folder.iterdir())


def test_a_log_of_before_gets_the_tables(log: EventLog) -> None:
    with closing(TriggerLog(log.url)) as fired, fired.engine.begin() as connection:
        for table in ("deliveries", "triggers", "trigger_states"):
            connection.execute(text(f"DROP TABLE {table}"))
    with closing(TriggerLog(log.url)) as fired:
        assert fired.page() == ([], 0)
        assert fired.store([seen("a", None, "cold")], fired.basis(), NOW).changed == 1


def test_marks(fired: TriggerLog) -> None:
    assert fired.mark("looked") is None
    fired.set_marks(looked=1, swept=2**60)
    fired.set_marks(looked=3)
    assert (fired.mark("looked"), fired.mark("swept")) == (3, 2**60)


def test_only_whom_somebody_named_is_a_contact(log: EventLog, fired: TriggerLog) -> None:
    log.append([
        {"event_id": "1", "event": "seen", "timestamp": NOW, "contact_id": "a", "anonymous_id": "v1"},
        {"event_id": "2", "event": "seen", "timestamp": NOW, "anonymous_id": "v2"},
    ])  # fmt: skip
    log.write_contacts([{"contact_id": "b"}])
    log.write_identities([{"anonymous_id": "v3", "contact_id": "c", "timestamp": NOW, "alias": False}])
    assert fired.contacts_among(["a", "b", "c", "d", "v1", "v2", "v3"]) == {"a", "b", "c"}


# --- processes that are killed


def apart(work: Callable[[], object]) -> int:
    """Do work in a process of its own; return how it ended, as waitpid says."""
    child = os.fork()
    if child == 0:
        try:
            work()
            os._exit(0)
        finally:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def dying(fired: TriggerLog, statement: int) -> TriggerLog:
    """Kill this process, as kill -9 does, when so many statements or commits were begun."""
    left = [statement]

    def count(*_: object) -> None:
        left[0] -= 1
        if left[0] < 0:
            os.kill(os.getpid(), signal.SIGKILL)

    event.listen(fired.engine, "before_cursor_execute", count)
    event.listen(fired.engine, "commit", count)
    return fired


CONTACTS = [f"c{number}" for number in range(5)]


def look(fired: TriggerLog, after: str) -> None:
    """Bring everybody to a state, as a sweep does; it fires where that is hot and was not."""
    held, basis = fired.states(CONTACTS), fired.basis()
    changes = [
        seen(contact, before, after, *([HOT] if after == "hot" and before else []))
        for contact in CONTACTS
        if (before := held.get(contact)) != after
    ]
    fired.store(changes, basis, NOW, ["one"])


def test_killed_at_any_statement_each_event_is_there_once(
    log: EventLog, fired: TriggerLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(triggers, "_TOGETHER", 2)  # three transactions a sweep

    def killed(statement: int) -> int:
        def sweep() -> None:
            with closing(TriggerLog(log.url)) as own:
                look(dying(own, statement), "hot")

        return apart(sweep)

    look(fired, "cold")
    ended = -signal.SIGKILL
    statement = 0
    while ended == -signal.SIGKILL:
        ended = killed(statement)
        look(fired, "hot")
        look(fired, "hot")
        statement += 1
        events = fired.page(limit=1000)[0]
        assert len(events) == len(CONTACTS) * statement
        assert [one["position"] for one in events] == list(range(1, len(events) + 1))
        assert Deliveries(fired.engine).waiting(["one"])[0] == len(events)
        look(fired, "cold")
    assert (ended, statement > 15) == (0, True)


def test_processes_that_sweep_at_once_make_each_event_once(log: EventLog, fired: TriggerLog) -> None:
    for rounds in range(1, 4):
        look(fired, "cold")
        begin = time.time() + 0.2
        children = []
        for _ in range(3):
            child = os.fork()
            if child == 0:
                try:
                    with closing(TriggerLog(log.url)) as own:
                        time.sleep(max(begin - time.time(), 0))
                        look(own, "hot")
                    os._exit(0)
                finally:
                    os._exit(1)
            children.append(child)
        assert [os.waitpid(child, 0)[1] for child in children] == [0, 0, 0]
        assert len(fired.page(limit=1000)[0]) == len(CONTACTS) * rounds
