"""The service's background: one worker watches and delivers, and everyone is looked at when it is due."""

import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from features.events.log import EventLog
from features.events.triggers import BUILD, SWEPT, TriggerLog
from features.tables import table_path
from nextbest.cli import app
from nextbest.errors import NotReady
from nextbest.settings import Settings
from serving.trigger_jobs import alone, sweep_everyone
from serving.trigger_watch import TriggerWatch

from .conftest import NOW

DAY = timedelta(days=1)
RULES = 'rules: [{name: due, when: "next_order.days <= 3"}]'


def build(settings: Settings, position: int) -> None:
    """Write the feature tables that are looked at here."""
    settings.tables.mkdir(parents=True, exist_ok=True)
    erased(settings, position)
    pq.write_table(pa.table({"item_id": ["i"]}), table_path(settings, "item"))


def erased(settings: Settings, position: int) -> None:
    """Write the contacts' table alone, as an erasure does."""
    lists = pa.table({"contact_id": ["a"], "lists_as_of": [position]})
    pq.write_table(lists, table_path(settings, "contact_lists"))


def frame(ids: Sequence[str], days: float) -> pd.DataFrame:
    return pd.DataFrame({"contact_id": list(ids), "next_order.days": np.full(len(ids), days)})


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    (tmp_path / "mine.yaml").write_text(RULES)
    return Settings(home=tmp_path / "home", triggers=tmp_path / "mine.yaml", now=NOW)


@pytest.fixture
def logs(settings: Settings) -> Iterator[tuple[EventLog, TriggerLog]]:
    url = settings.event_log_url
    with closing(EventLog(url)) as events, closing(TriggerLog(url)) as triggers:
        yield events, triggers


def until(true: Callable[[], bool], seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.02)


def happens(events: EventLog, number: int, contact: str) -> None:
    events.append([{"event_id": f"e{number}", "event": "x", "timestamp": NOW, "contact_id": contact}])


def test_one_worker_watches_and_the_next_takes_over(
    settings: Settings, logs: tuple[EventLog, TriggerLog]
) -> None:
    events, triggers = logs
    build(settings, 0)
    sweep_everyone(settings, lambda *_: iter([frame(["a", "b"], 9.0)]), NOW)
    looked: list[tuple[int, list[str]]] = []

    def watch(number: int) -> TriggerWatch:
        def live(ids: Sequence[str], now: datetime) -> pd.DataFrame:
            looked.append((number, list(ids)))
            return frame(ids, 1.0)

        return TriggerWatch(settings, events, triggers, live, lambda: NOW, ["-c", ""], 0.02)

    with ExitStack() as stack:
        first, second = (stack.enter_context(closing(watch(number))) for number in (1, 2))
        happens(events, 1, "a")
        until(lambda: bool(looked))
        [winner] = {number for number, _ in looked}
        (first if winner == 1 else second).close()
        happens(events, 2, "b")
        until(lambda: len(looked) > 1)
    assert looked == [(winner, ["a"]), (3 - winner, ["b"])]
    assert [one["contact_id"] for one in triggers.page()[0]] == ["a", "b"]


def test_everyone_is_looked_at_after_a_build_and_once_a_day(
    settings: Settings, logs: tuple[EventLog, TriggerLog], tmp_path: Path
) -> None:
    events, triggers = logs
    moments, told = [NOW], tmp_path / "told"
    note = f"open({str(told)!r}, 'a').write('swept ')"
    with closing(
        TriggerWatch(settings, events, triggers, frame_of_nobody, lambda: moments[-1], ["-c", note], 0.02)
    ):
        time.sleep(0.2)
        assert not told.exists()  # nothing was built
        build(settings, 0)
        until(lambda: told.exists() and told.read_text() == "swept ")
        time.sleep(0.2)
        assert told.read_text() == "swept "  # one that fails is not begun over and over
        done = {
            SWEPT: round(NOW.timestamp() * 1e6),
            BUILD: table_path(settings, "item").stat().st_mtime_ns,
        }
        triggers.set_marks(**done)
        erased(settings, 0)
        moments.append(NOW + 23 * DAY / 24)
        time.sleep(0.1)
        assert told.read_text() == "swept "
        moments.append(NOW + DAY)
        until(lambda: told.read_text() == "swept swept ")
        build(settings, 1)
        until(lambda: told.read_text() == "swept swept swept ")


def frame_of_nobody(ids: Sequence[str], now: datetime) -> pd.DataFrame:
    return frame(ids, 9.0)


def test_a_broken_look_does_not_end_the_watch(settings: Settings, logs: tuple[EventLog, TriggerLog]) -> None:
    events, triggers = logs
    build(settings, 0)
    sweep_everyone(settings, lambda *_: iter([frame(["a"], 9.0)]), NOW)
    tries: list[int] = []

    def live(ids: Sequence[str], now: datetime) -> pd.DataFrame:
        tries.append(1)
        if len(tries) == 1:
            raise OSError("no store")
        return frame(ids, 1.0)

    with closing(TriggerWatch(settings, events, triggers, live, lambda: NOW, ["-c", ""], 0.02)):
        happens(events, 1, "a")
        until(lambda: bool(triggers.page()[0]))


class Sink(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.server.got.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))  # type: ignore[attr-defined]
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def sink() -> Iterator[Any]:
    with HTTPServer(("127.0.0.1", 0), Sink) as server:
        server.got = []  # type: ignore[attr-defined]
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_by_hand_it_is_delivered_where_no_service_does_and_by_the_service_after_a_restart(
    settings: Settings, sink: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command line, with profiles of our own in the place of the models'."""
    profile = ModuleType("serving.profiles")
    days = [9.0]
    profile.profiles = lambda settings, now, ids, columns, progress: iter([frame(["a", "b"], days[0])])  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "serving.profiles", profile)
    monkeypatch.setenv("NEXTBEST_TRIGGERS", str(settings.triggers))
    monkeypatch.setenv("NEXTBEST_WEBHOOK_URL", f"http://127.0.0.1:{sink.server_port}/")
    monkeypatch.setenv("NEXTBEST_WEBHOOK_SECRET", "plain")
    given = Settings(home=settings.home)

    def sweep(now: datetime) -> Any:
        told = CliRunner().invoke(
            app, ["triggers", "sweep", "--home", str(settings.home), "--now", now.isoformat(), "--json"]
        )
        return json.loads(told.stdout) if told.exit_code == 0 else told.output

    assert "features build" in sweep(NOW)
    build(settings, 0)
    assert sweep(NOW) == {"contacts": 2, "changed": 2, "fired": {}, "sent": 0}
    days[0] = 1.0
    assert sweep(NOW + DAY) == {"contacts": 2, "changed": 2, "fired": {"due": 2}, "sent": 2}
    assert [one["data"]["contact_id"] for one in sink.got] == ["a", "b"]
    assert "as of" in sweep(NOW)

    days[0] = 9.0
    sweep(NOW + 2 * DAY)
    days[0] = 1.0
    with alone(given, "triggers"):  # a service that does not come to it any more
        assert sweep(NOW + 3 * DAY)["sent"] is None
    assert len(sink.got) == 2
    with (
        closing(EventLog(given.event_log_url)) as events,
        closing(TriggerLog(given.event_log_url)) as triggers,
        closing(TriggerWatch(given, events, triggers, frame_of_nobody, lambda: NOW, ["-c", ""], 0.02)),
    ):
        until(lambda: len(sink.got) == 4)


def test_two_sweeps_of_everyone_are_not_under_way_at_once(settings: Settings) -> None:
    build(settings, 0)
    with alone(settings, "sweep"), pytest.raises(NotReady, match="another sweep"):
        sweep_everyone(settings, lambda *_: iter([]), NOW)


def test_redeliver_with_nothing_to_take_up(settings: Settings) -> None:
    told = CliRunner().invoke(app, ["triggers", "redeliver", "--home", str(settings.home), "--json"])
    assert json.loads(told.stdout) == {"again": 0, "gone": 0, "kept": 0, "sent": 0}
