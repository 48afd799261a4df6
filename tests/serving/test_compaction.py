"""The service brings the log into the lake, one process at a time."""

import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from features.events.lake import Lake
from features.events.log import EventLog
from serving.compaction import Compaction

from .conftest import NOW


@pytest.fixture
def log(tmp_path: Path) -> Iterator[EventLog]:
    with closing(EventLog(f"sqlite:///{tmp_path / 'events.db'}")) as log:
        yield log


def event(number: int) -> dict[str, Any]:
    return {
        "event_id": f"e{number}",
        "event": "wished",
        "timestamp": NOW,
        "received_at": NOW,
        "contact_id": "a",
    }


def test_it_is_done_where_there_is_news_and_nobody_else_is_at_it(log: EventLog, tmp_path: Path) -> None:
    lake, compaction = Lake(tmp_path / "lake"), Compaction(log, Lake(tmp_path / "lake"), 0)
    assert not compaction.once()
    log.append([event(1)])
    with lake.locked():
        assert not compaction.once()
    assert compaction.once()
    assert not compaction.once()
    log.write_contacts([{"contact_id": "a", "consent_email": False}])
    assert compaction.once()
    assert lake.contacts()["consent_email"].tolist() == [False]
    compaction.close()


def test_it_runs_by_itself_until_closed(log: EventLog, tmp_path: Path) -> None:
    lake, compaction = Lake(tmp_path / "lake"), Compaction(log, Lake(tmp_path / "lake"), 0.01)
    log.append([event(1)])
    end = time.monotonic() + 30
    while log.has_news(lake) and time.monotonic() < end:
        time.sleep(0.01)
    compaction.close()
    assert lake.events().count().execute() == 1


def test_killed_halfway_the_next_completes_it(
    log: EventLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log.append([event(1), event(2)])
    lake, compaction = Lake(tmp_path / "lake"), Compaction(log, Lake(tmp_path / "lake"), 0)

    def die(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Lake, "note", die)
        with pytest.raises(KeyboardInterrupt):
            compaction.once()
    assert log.has_news(lake)
    assert compaction.once()
    assert lake.events().count().execute() == 2
