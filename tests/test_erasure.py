"""An erased person is nowhere: every byte of a whole state folder, and every value behind compression."""

import gzip
import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from features import forget as forgetting
from features.build import build
from features.events.ingest import ingest
from features.events.lake import Lake
from features.events.log import EventLog
from features.events.turned_away import TurnedAway
from features.excluded import Excluded
from features.forget import broken_off, forget
from nextbest._bulk_channels import write_channels
from nextbest.columns import EVENT_COLUMNS
from nextbest.errors import BadInput
from nextbest.settings import Settings
from serving.engine import Engine
from serving.export import write_export
from serving.schemas import BestChannelRequest, PredictionsRequest, RecommendationsRequest
from training._purchases import purchases
from training._snapshots import contacts_seen, left_out
from training.base import Context
from training.runner import train

NEEDLE = "quokka-Zq7"
CONTACT, EARLIER, VISITOR = f"é/{NEEDLE}", f"old-{NEEDLE}", f"visitor-{NEEDLE}"


def places(home: Path, needle: str = NEEDLE) -> Iterator[str]:
    """Yield where in a folder the needle stands: as bytes, in a value of Parquet or SQLite, behind gzip."""
    raw = needle.encode()
    for path in sorted(home.rglob("*")):
        name = str(path.relative_to(home))
        if needle in name:
            yield f"{name}: the name"
        if not path.is_file():
            continue
        content = path.read_bytes()
        if raw in content or (content[:2] == b"\x1f\x8b" and raw in gzip.decompress(content)):
            yield f"{name}: bytes"
        if content[:4] == b"PAR1" and _in_parquet(path, needle):
            yield f"{name}: a value"
        if content[:16] == b"SQLite format 3\0" and _in_sqlite(path, raw):
            yield f"{name}: a value"


def _in_parquet(path: Path, needle: str) -> bool:
    table = pq.read_table(path)
    return any(needle in str(table[name].unique().to_pylist()) for name in table.column_names
               if "string" in str(table[name].type) and "list" not in str(table[name].type))  # fmt: skip


def _in_sqlite(path: Path, raw: bytes) -> bool:
    with closing(sqlite3.connect(path)) as database:
        database.text_factory = bytes
        tables = [
            name.decode()
            for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        ]
        return any(
            raw in value
            for table in tables
            for row in database.execute(f'SELECT * FROM "{table}"')  # noqa: S608
            for value in row
            if isinstance(value, bytes)
        )


def bought(world: Any, contact: str) -> pd.DataFrame:
    """Return the year of a household of the world as that of another, with events of its own."""
    events = Lake(world.settings.lake).events().execute()
    theirs = events[events["contact_id"] == world.contacts[0]]
    own = {"contact_id": contact, "event_id": [f"{NEEDLE}-{n}" for n in range(len(theirs))]}
    return theirs.assign(**own)


@pytest.fixture(scope="module")
def file(world: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return canonical events of the contact, as they may be taken in twice."""
    path = tmp_path_factory.mktemp("old") / "events.parquet"
    bought(world, CONTACT).to_parquet(path)
    return path


@pytest.fixture(scope="module")
def known(world: Any, file: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return a world that knows the contact in every way there is."""
    home = tmp_path_factory.mktemp("known") / "home"
    held = world.copy(home)
    settings, now = held.settings, held.now
    ingest(settings, str(file), now=now)
    with closing(EventLog(settings.event_log_url)) as log:
        log.append([visit(n, now) for n in range(3)])
        log.write_identities([
            {"anonymous_id": VISITOR, "contact_id": CONTACT, "timestamp": now, "alias": False},
            {"anonymous_id": EARLIER, "contact_id": CONTACT, "timestamp": now, "alias": True},
        ])  # fmt: skip
        log.write_contacts(
            [{"contact_id": CONTACT, "timezone": "Europe/Vienna", "traits": '{"club": "gold"}'}]
        )
    build(settings, now)
    train(["rfm", "value"], Context(settings, now, settings.seed))
    serve(settings, now)
    leave_traces(settings, now)
    return held


def visit(number: int, now: Any) -> dict[str, Any]:
    row = dict.fromkeys(EVENT_COLUMNS) | {"event_id": f"web-{NEEDLE}-{number}", "event": "page_viewed"}
    moment = now - timedelta(hours=number + 1)
    return row | {
        "timestamp": moment,
        "received_at": moment,
        "anonymous_id": VISITOR,
        "url": "https://shop.org/",
    }


def serve(settings: Settings, now: Any) -> None:
    engine = Engine(settings, lambda: now)
    try:
        engine.answers.recommendations(RecommendationsRequest(contact_id=CONTACT), now)
        engine.answers.recommendations(RecommendationsRequest(anonymous_id=VISITOR), now)
        engine.answers.predictions(PredictionsRequest(contact_ids=[CONTACT]), now)
        engine.answers.best_channel(
            BestChannelRequest(contact_ids=[CONTACT, EARLIER], campaign_id="spring"), now
        )
        assert engine.answers.contact_card(CONTACT, now) is not None
    finally:
        engine.close()


def leave_traces(settings: Settings, now: Any) -> None:
    """Leave what files of other parts hold: rejects, a killed bulk run, dead letters, old examples, logs."""
    home = settings.home
    TurnedAway(settings.rejects).add(
        [({"type": "alias", "previousId": CONTACT}, "an alias needs userId")], now
    )
    with suppress(KeyboardInterrupt):
        asked = BestChannelRequest(contact_ids=["everyone"])
        write_channels(settings, home / "channels.parquet", ["1", CONTACT], asked, _interrupting)
    lines = [{"contact_id": CONTACT, "tries": 9}, {"contact_id": "another", "tries": 9}]
    (home / "dead_letters.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    example = {
        "columns": ["shopper"],
        "data": [[json.dumps({"contact_id": one})] for one in (CONTACT, "another")],
    }
    (home / "artifacts" / "input_example.json").write_text(json.dumps({"dataframe_split": example}))
    (home / "service.log").write_text(f"asked for '{CONTACT}'\n")
    with closing(sqlite3.connect(home / "other.db")) as database:
        database.execute("CREATE TABLE told (contact_id TEXT, what TEXT)")
        database.executemany("INSERT INTO told VALUES (?, 'fell')", [(CONTACT,), ("another",)])
        database.commit()
    (settings.tables / f".contact.parquet.{NEEDLE}.tmp").write_text(CONTACT)


def _interrupting(stage: str, done: int, total: int) -> None:
    del stage
    if done == total:
        raise KeyboardInterrupt


def test_no_byte_is_left(known: Any, tmp_path: Path) -> None:
    held = known.copy(tmp_path / "home")
    settings, home = held.settings, held.settings.home
    before = list(places(home))
    told = {place.split(":")[0] for place in before}
    assert {"events.db", "online.db", "dead_letters.jsonl", "other.db", "service.log"} <= told
    assert {"lake/contacts.parquet", "features/contact_item.parquet", "artifacts/input_example.json"} <= told
    assert f"rejects/http-{held.now:%Y-%m-%d}.csv" in told
    assert any(place.startswith(".channels.parquet.parts/") for place in told)
    assert not [place for place in before if place.startswith("artifacts/models")]  # models name nobody
    rows = len(Lake(settings.lake).contacts())
    gone = forget(settings, [EARLIER])
    assert min(gone.log, gone.lake, gone.rejects, gone.features, gone.files) > 0
    assert list(places(home)) == []
    assert not forget(settings, [CONTACT])
    assert len(Lake(settings.lake).contacts()) == rows - 1
    assert "another" in (home / "dead_letters.jsonl").read_text()
    assert "another" in (home / "artifacts" / "input_example.json").read_text()
    build(settings, held.now, online=False)
    assert list(places(home)) == []


def test_an_export_has_everything_of_all_ids_of_the_person(known: Any, file: Path, tmp_path: Path) -> None:
    settings, out = known.settings, tmp_path / "deep" / "told.json"
    counts = write_export(settings, EARLIER, out)
    told = json.loads(out.read_text(encoding="utf-8"))
    assert told["contact_id"] == CONTACT
    assert (told["ids"], told["anonymous_ids"]) == ([EARLIER, CONTACT], [VISITOR])
    assert counts["events"] == len(told["events"]) == len(pd.read_parquet(file)) + 3
    assert all(event["timestamp"] and event["received_at"] for event in told["events"])
    assert {row["kind"] for row in told["decisions"]} >= {"recommendations", "best_channel"}
    assert any("club" in row.get("traits", "") for row in told["traits"])
    assert len(told["identities"]) == 2
    assert told["stored"]["repeat_items"]
    assert told["profile"]["features.orders_total"] > 0
    assert 0 <= told["profile"]["churn.probability"] <= 1
    assert told["tags"]["interests"]
    assert told["left_out"] is None
    with pytest.raises(BadInput, match="nothing is known"):
        write_export(settings, "stranger", out)


@pytest.mark.parametrize("step", ["log", "features", "sweep"])
def test_an_erasure_that_was_broken_off_is_completed(
    known: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    held = known.copy(tmp_path / "home")
    settings = held.settings
    with monkeypatch.context() as killed:
        _kill_at(killed, step)
        with pytest.raises(KeyboardInterrupt):
            forget(settings, [CONTACT])
    assert broken_off(settings)
    if step == "sweep":
        build(settings, held.now, online=False)
    else:
        forget(settings, [CONTACT])
    assert not broken_off(settings)
    assert list(places(settings.home)) == []


def _kill_at(patch: pytest.MonkeyPatch, step: str) -> None:
    def killed(*arguments: Any) -> int:
        del arguments
        raise KeyboardInterrupt

    places_of: dict[str, tuple[Any, str]] = {
        "lake": (Lake, "_erase_events"), "log": (EventLog, "erase"), "rejects": (forgetting.rejects, "erase"),
        "features": (forgetting, "erase"), "sweep": (forgetting, "sweep"),
    }  # fmt: skip
    patch.setattr(*places_of[step], killed)


def test_nothing_is_learned_from_who_was_erased_when_old_files_come_again(
    known: Any, file: Path, tmp_path: Path
) -> None:
    held = known.copy(tmp_path / "home")
    settings = held.settings
    before = purchases(settings, held.now)
    forget(settings, [CONTACT])
    assert ingest(settings, str(file), now=held.now).stored > 0
    build(settings, held.now, online=False)
    assert CONTACT in pq.read_table(settings.tables / "contact_lists.parquet")["contact_id"].to_pylist()
    assert CONTACT not in contacts_seen(settings)["contact_id"].to_numpy()
    assert left_out(settings) == 1
    after = purchases(settings, held.now)
    assert len(after) == (before["contact_id"] != CONTACT).sum() < len(before)
    (report,) = train(["rfm"], Context(settings, held.now, settings.seed))
    assert report.facts["contacts_left_out"] == 1
    assert NEEDLE not in "".join(path.read_text("latin-1") for path in (settings.home / "excluded").iterdir())


def test_an_alias_of_the_excluded_is_excluded(tmp_path: Path) -> None:
    from features.excluded import OBJECTED, exclude, include

    settings = Settings(home=tmp_path)
    assert not Excluded.of(settings)
    assert exclude(settings, ["a"], OBJECTED) == 1
    assert exclude(settings, ["a"], OBJECTED) == 0
    link = {
        "anonymous_id": "a",
        "contact_id": "b",
        "timestamp": pd.Timestamp("2026-01-01", tz="UTC"),
        "alias": True,
    }
    Lake(settings.lake).write_identities(pd.DataFrame([link]))
    excluded = Excluded.of(settings)
    assert excluded.mask(["a", "b", "c", None]).tolist() == [True, True, False, False]
    frame = pd.DataFrame({"contact_id": pd.Categorical(["a", "c", None, "b"])})
    assert excluded.without(frame).index.tolist() == [1, 2]
    assert include(settings, ["a"]) == 1
    assert not Excluded.of(settings).mask(np.array(["a", "b"])).any()
