"""Bulk answers are the service's: contact by contact, from the tables or from the log, killed or not."""

import json
import shutil
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from features.build import build
from features.events.lake import Lake
from features.events.log import EventLog
from features.live import LiveContacts
from features.store import Store
from models.candidates import COUNTS, KNOWN, Candidates
from models.channel import Channel
from models.messages import ChannelLog
from nextbest._bulk_channels import write_channels
from nextbest.columns import CHANNELS, CONTACT_FEATURES, EVENT_COLUMNS, ITEM_COLUMNS
from nextbest.errors import NextbestError
from nextbest.settings import Settings
from serving import channel_bulk
from serving.budget import Budget
from serving.champions import Loaded
from serving.channel_bulk import ChannelBulk
from serving.engine import book_of
from serving.parts import Parts
from serving.people import People
from serving.reach import ChannelLadder
from serving.schemas import BestChannelRequest
from serving.shelf import Shelf

NOW = datetime(2026, 3, 2, 17, 20, tzinfo=UTC)
ZONES = (None, "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Mars/Olympus")
PEOPLE = [f"c{n:02d}" for n in range(24)]
PATIENT = {"campaign_budget_ms": 60_000.0, "now": NOW}


def quiet(*_: Any) -> None:
    """Show no progress."""


def event(number: int, kind: str, contact: str | None, days_ago: float, **values: Any) -> dict[str, Any]:
    moment = NOW - timedelta(days=days_ago)
    row = dict.fromkeys(EVENT_COLUMNS) | {"event_id": f"e{number}", "event": kind, "contact_id": contact}
    return row | {"timestamp": moment, "received_at": moment} | values


def history() -> list[dict[str, Any]]:
    """Orders, visits, and messages over three channels that some answer, over the last year."""
    random = np.random.default_rng(1)
    rows: list[dict[str, Any]] = []

    def add(kind: str, contact: str, days_ago: float, **values: Any) -> None:
        rows.append(event(len(rows), kind, contact, days_ago, **values))

    for contact in PEOPLE:
        for order in range(int(random.integers(0, 6))):
            money = {"order_id": f"{contact}-{order}", "price": 5.0, "quantity": 2.0, "item_id": "milk"}
            add("order_completed", contact, float(random.uniform(1, 300)), **money)
        for _ in range(int(random.integers(1, 30))):
            add("page_viewed", contact, float(random.uniform(0.1, 60)))
        for _ in range(int(random.integers(0, 14))):
            channel, ago = str(random.choice(["email", "sms", "mobile_push"])), float(random.uniform(2, 80))
            add("message_sent", contact, ago, channel=channel)
            if random.random() < 0.4:
                add("message_opened", contact, ago - 0.5, channel=channel)
    add("unsubscribed", "c03", 5, channel="email")
    add("unsubscribed", "c04", 5)
    add("unsubscribed", "c05", 5, channel="email")
    add("subscribed", "c05", 4, channel="email")
    return rows


def contacts() -> list[dict[str, Any]]:
    random = np.random.default_rng(2)
    rows = []
    for number, contact in enumerate(PEOPLE[:-2]):
        flags = {f"consent_{c}": random.choice([True, True, False, None]) for c in CHANNELS}
        flags |= {f"reachable_{c}": random.choice([True, None, False]) for c in CHANNELS}
        rows.append({"contact_id": contact, "timezone": ZONES[number % len(ZONES)], **flags})
    for flag in ("consent_email", "reachable_email"):
        rows[3][flag] = rows[5][flag] = rows[8][flag] = rows[9][flag] = True
    return rows


def fill(settings: Settings) -> None:
    items = pd.DataFrame({"item_id": ["milk"], "category": ["food/dairy"]})
    Lake(settings.lake).write_items(items.reindex(columns=list(ITEM_COLUMNS)))
    with closing(EventLog(settings.event_log_url)) as log:
        log.append(history())
        log.write_contacts(contacts())
        log.write_identities(
            [
                {
                    "anonymous_id": "c10",
                    "contact_id": "c11",
                    "timestamp": NOW - timedelta(days=9),
                    "alias": True,
                }
            ]
        )
        log.compact(Lake(settings.lake))
    build(settings, NOW)


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    settings = Settings(home=tmp_path_factory.mktemp("bulk") / "home", **PATIENT)
    fill(settings)
    return settings


@pytest.fixture
def fresh(filled: Settings, tmp_path: Path) -> Settings:
    """Return a copy of the home, to write events into."""
    settings = filled.model_copy(update={"home": tmp_path / "home"})
    shutil.copytree(filled.home, settings.home)
    Store(settings).apply()
    return settings


@pytest.fixture(scope="module")
def model() -> Channel:
    """Return a channel model with trees, hours, worth and risk, whatever they have found."""
    count, random = 3_000, np.random.default_rng(0)
    frame = pd.DataFrame(
        random.gamma(1.0, 2.0, (count, len(CONTACT_FEATURES))), columns=list(CONTACT_FEATURES)
    )
    blocks = np.full((count, len(CHANNELS), len(KNOWN)), np.nan)
    blocks[:, :, : len(COUNTS)] = random.poisson(1.0, (count, len(CHANNELS), len(COUNTS)))
    sent, hours = random.integers(0, 3, count), random.integers(0, 168, count)
    seen = random.poisson(0.1, (count, 168)).astype(np.float32)
    chance = np.array([0.5, 0.25, 0.3])[sent] * np.where(hours % 24 > 15, 1.5, 0.5)
    responses = (random.random(count) < chance).astype(float)
    log = ChannelLog(
        Candidates(frame.assign(contact_id=[f"m{n}" for n in range(count)]), CHANNELS, blocks),
        sent, responses, np.full(count, 1 / 3), hours, seen,
        left=(random.random(count) < 0.02).astype(float),
        earned=np.where(random.random(count) < 0.5, 3.0 + 20.0 * (sent == 1), 0.0),
    )  # fmt: skip
    found = Channel.learn(log)
    found.policy = "learned"
    assert found.worth is not None
    assert found.times.makes_a_difference
    return found


@dataclass
class Given:
    """A registry with one champion, or none."""

    loaded: Loaded | None = None

    def get(self, task: str) -> Loaded | None:
        return self.loaded

    def why_none(self, task: str) -> str:
        return "no_champion"

    def refresh(self) -> None:
        pass

    def close(self) -> None:
        pass


@pytest.fixture
def champion(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Given]:
    def serves(model: Any = None, simulated: bool = False) -> Given:
        loaded = None if model is None else Loaded("channel", "nextbest-channel/1", model, simulated)
        given = Given(loaded)
        monkeypatch.setattr(channel_bulk, "Champions", lambda *_, **__: given)
        return given

    return serves


def asked(**values: Any) -> BestChannelRequest:
    return BestChannelRequest(contact_ids=["everyone"], **values)


def bulk(settings: Settings, out: Path, ids: Sequence[str], request: BestChannelRequest) -> dict[str, Any]:
    write_channels(settings, out, ids, request, quiet)
    rows = pq.read_table(out).to_pylist()
    assert sorted(row["contact_id"] for row in rows) == sorted(ids)
    return {row["contact_id"]: row for row in rows}


def service(
    settings: Settings, champions: Given, ids: Sequence[str], request: BestChannelRequest
) -> dict[str, Any]:
    """Ask the ladder as the engine puts it together."""
    budget = Budget()
    with closing(EventLog(settings.event_log_url)) as log:
        book = book_of(settings, log)
        book.refresh()
        live = LiveContacts.open(settings, log)
        parts = Parts(settings, People(live), Shelf(lambda _: None), champions, budget, book, lambda _: None)
        answer = ChannelLadder(parts).answer(request.model_copy(update={"contact_ids": list(ids)}), NOW)
    budget.close()
    return {decision.contact_id: decision for decision in answer.contacts}


def same(rows: dict[str, Any], decisions: dict[str, Any]) -> None:
    assert rows.keys() == decisions.keys()
    for contact, decision in decisions.items():
        row = rows[contact]
        taken = next((c for c in decision.channels if c.channel == decision.best), None)
        expected = (decision.best, decision.source, decision.held_out, decision.send_at)
        assert (row["channel"], row["source"], row["held_out"], row["send_at"]) == expected, contact
        for name in ("probability", "expected_value"):
            told = None if taken is None else getattr(taken, name)
            assert row[name] == (told if told is None else pytest.approx(told, rel=1e-6, abs=1e-9)), contact
        assert row["propensity"] == pytest.approx(decision.propensity)


REQUESTS = {
    "plain": {"value": 10.0},
    "default worth": {},
    "campaign": {"campaign_id": "spring", "value": 10.0},
    "channels and window": {"channels": ["sms", "email"], "window_hours": 100, "value": 3.0},
    "later": {"at": NOW + timedelta(days=3), "window_hours": 5, "value": 10.0},
    "worth too little": {"value": 1e-6},
}


@pytest.mark.parametrize("name", REQUESTS)
@pytest.mark.parametrize("learned", [True, False])
def test_bulk_answers_what_the_service_answers(
    filled: Settings, model: Channel, champion: Any, tmp_path: Path, name: str, learned: bool
) -> None:
    settings = filled.model_copy(update={"message_holdout_share": 0.3})
    champions, request = champion(model if learned else None), asked(**REQUESTS[name])
    ids = [*PEOPLE, "stranger"]
    decisions = service(settings, champions, ids, request)
    same(bulk(settings, tmp_path / "out.parquet", ids, request), decisions)
    if name in ("plain", "default worth"):
        assert sum(decision.best is not None for decision in decisions.values()) > 5
    if name == "campaign":
        assert any(decision.held_out for decision in decisions.values())


def test_most_are_decided_from_the_tables_and_merged_contacts_are_not(
    filled: Settings, champion: Any
) -> None:
    champion()
    with closing(ChannelBulk(filled, NOW)) as made:
        (tables, first), (live, second) = made.blocks([*PEOPLE, "stranger"])
    assert (first, second) == (True, False)
    assert set(live) == {"c10", "c11"}
    assert tables == sorted({*PEOPLE, "stranger"} - {"c10", "c11"})


def test_where_chance_chooses_its_propensities_are_the_services(
    filled: Settings, model: Channel, champion: Any, tmp_path: Path
) -> None:
    champions, request = champion(model), asked(value=10.0, explore=True)
    decisions = service(filled, champions, PEOPLE, request)
    rows = bulk(filled, tmp_path / "out.parquet", PEOPLE, request)
    alike = [c for c in PEOPLE if rows[c]["channel"] == decisions[c].best]
    assert any(0 < rows[contact]["propensity"] < 1 for contact in alike)
    same({c: rows[c] for c in alike}, {c: decisions[c] for c in alike})


@pytest.mark.parametrize("serves", [True, False])
def test_a_model_learned_from_simulated_messages_decides_in_bulk_only_where_it_may(
    filled: Settings, model: Channel, champion: Any, tmp_path: Path, serves: bool
) -> None:
    settings = filled.model_copy(update={"serve_simulated": serves})
    champions, request = champion(model, simulated=True), asked(value=10.0)
    rows = bulk(settings, tmp_path / "out.parquet", PEOPLE, request)
    assert ("learned" in {row["source"] for row in rows.values()}) == serves
    same(rows, service(settings, champions, PEOPLE, request))


def test_what_happened_a_moment_ago_counts(
    fresh: Settings, model: Channel, champion: Any, tmp_path: Path
) -> None:
    champions, request = champion(model), asked(channels=["email"], value=50.0)
    before = bulk(fresh, tmp_path / "before.parquet", PEOPLE, request)
    assert before["c08"]["channel"] == before["c09"]["channel"] == "email"
    with closing(EventLog(fresh.event_log_url)) as log:
        ago = 1 / 86_400
        sent = [event(9_000 + n, "message_sent", "c09", ago, channel="email") for n in range(3)]
        log.append([event(8_000, "unsubscribed", "c08", ago, channel="email"), *sent])
    rows = bulk(fresh, tmp_path / "after.parquet", PEOPLE, request)
    assert rows["c08"]["channel"] is None, "who has unsubscribed is not written to"
    assert rows["c09"]["channel"] is None, "the cap is reached"
    same(rows, service(fresh, champions, PEOPLE, request))


def test_a_refusal_under_any_id_of_a_person_is_heeded(
    fresh: Settings, model: Channel, champion: Any, tmp_path: Path
) -> None:
    champions, request = champion(model), asked(channels=["email"], value=50.0)
    with closing(EventLog(fresh.event_log_url)) as log:
        log.write_contacts(
            [{"contact_id": "c10", "consent_email": False}, {"contact_id": "c11", "consent_email": True}]
        )
    rows = bulk(fresh, tmp_path / "out.parquet", PEOPLE, request)
    assert (rows["c10"]["channel"], rows["c11"]["channel"]) == (None, None)
    same(rows, service(fresh, champions, PEOPLE, request))


def test_a_consent_withdrawn_a_moment_ago_is_heeded(
    fresh: Settings, model: Channel, champion: Any, tmp_path: Path
) -> None:
    champion(model)
    with closing(EventLog(fresh.event_log_url)) as log:
        log.write_contacts([{"contact_id": "c08", "consent_email": False}])
    rows = bulk(fresh, tmp_path / "out.parquet", PEOPLE, asked(channels=["email"], value=50.0))
    assert rows["c08"]["channel"] is None
    assert rows["c09"]["channel"] == "email"


def test_a_model_read_again_decides_the_same(
    filled: Settings, model: Channel, champion: Any, tmp_path: Path
) -> None:
    (tmp_path / "model").mkdir()
    model.save(tmp_path / "model")
    champion(model)
    before = bulk(filled, tmp_path / "before.parquet", PEOPLE, asked())
    champion(Channel.load(tmp_path / "model"))
    assert bulk(filled, tmp_path / "after.parquet", PEOPLE, asked()) == before


# --- runs that were killed


class Killed(Exception):
    pass


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channel_bulk, "BLOCK_SIZE", 5)
    monkeypatch.setattr(channel_bulk, "LIVE_SIZE", 2)


@pytest.fixture
def killed(monkeypatch: pytest.MonkeyPatch, small_blocks: None) -> SimpleNamespace:
    """Let a run die after so many blocks, and count the blocks that are decided."""
    state, decide = SimpleNamespace(after=None, decided=[], meanwhile=lambda: None), ChannelBulk.decide

    def counted(self: ChannelBulk, contact_ids: list[str], *more: Any) -> Any:
        if state.after is not None and len(state.decided) >= state.after:
            raise Killed
        state.decided.append(contact_ids)
        found = decide(self, contact_ids, *more)
        state.meanwhile()
        return found

    monkeypatch.setattr(ChannelBulk, "decide", counted)
    return state


def die(settings: Settings, out: Path, request: BestChannelRequest, killed: Any, after: int) -> None:
    killed.after = after
    with pytest.raises(Killed):
        write_channels(settings, out, PEOPLE, request, quiet)
    assert not out.exists()
    killed.after, killed.decided = None, []


def test_a_killed_run_goes_on_and_gives_the_same_file(
    filled: Settings, champion: Any, tmp_path: Path, killed: Any
) -> None:
    champion()
    request, whole, out = asked(value=10.0), tmp_path / "whole.parquet", tmp_path / "out.parquet"
    write_channels(filled, whole, PEOPLE, request, quiet)
    blocks = len(killed.decided)
    killed.decided = []
    die(filled, out, request, killed, 2)
    later = filled.model_copy(update={"now": NOW + timedelta(minutes=50)})
    write_channels(later, out, PEOPLE, request, quiet)
    assert len(killed.decided) == blocks - 2
    assert pq.read_table(out).equals(pq.read_table(whole)), "as of the moment it began"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["out.parquet", "whole.parquet"]


@pytest.mark.parametrize("change", ["late", "request", "contacts", "model", "unreadable"])
def test_another_run_begins_anew(
    filled: Settings, model: Channel, champion: Any, tmp_path: Path, killed: Any, change: str
) -> None:
    champion()
    request, out, ids, settings = asked(value=10.0), tmp_path / "out.parquet", PEOPLE, filled
    die(filled, out, request, killed, 2)
    if change == "late":
        settings = filled.model_copy(update={"now": NOW + timedelta(minutes=70)})
    elif change == "request":
        request = asked(value=11.0)
    elif change == "contacts":
        ids = PEOPLE[:-1]
    elif change == "model":
        champion(model)
    else:
        (tmp_path / ".out.parquet.parts" / "run.json").write_text("{")
    write_channels(settings, out, ids, request, quiet)
    assert sorted(who for block in killed.decided for who in block) == sorted(ids)
    assert pq.read_table(out).num_rows == len(ids)
    assert [file.name for file in tmp_path.iterdir()] == ["out.parquet"]


def test_news_between_a_killed_run_and_the_next_loses_nobody(
    fresh: Settings, champion: Any, tmp_path: Path, killed: Any
) -> None:
    """News moves a contact from the tables' blocks to the others: the blocks are no longer the same."""
    champion()
    out, request = tmp_path / "out.parquet", asked(channels=["email"], value=50.0)
    die(fresh, out, request, killed, 1)
    with closing(EventLog(fresh.event_log_url)) as log:
        log.append([event(7_000, "page_viewed", "c01", 1e-5), event(7_001, "page_viewed", "c07", 1e-5)])
    rows = bulk(fresh, out, PEOPLE, request)
    assert set(rows) == set(PEOPLE)
    assert pq.read_table(out).num_rows == len(PEOPLE)


def test_who_unsubscribes_while_a_run_goes_on_is_not_written_to(
    fresh: Settings, champion: Any, tmp_path: Path, killed: Any
) -> None:
    champion()
    request = asked(channels=["email"], value=50.0)
    before = bulk(fresh, tmp_path / "before.parquet", PEOPLE, request)
    first, last = killed.decided[0][0], "c09"
    assert before[last]["channel"] == "email"
    assert last not in killed.decided[0]
    killed.decided = []

    def meanwhile() -> None:
        with closing(EventLog(fresh.event_log_url)) as log:
            log.append([event(6_000, "unsubscribed", last, 0), event(6_001, "page_viewed", first, 0)])

    killed.meanwhile = meanwhile
    rows = bulk(fresh, tmp_path / "after.parquet", PEOPLE, request)
    assert rows[last]["channel"] is None
    assert last in killed.decided[-1] + killed.decided[-2]
    assert first in killed.decided[0], "who was decided for before is not asked again"


def test_who_unsubscribes_before_a_killed_run_goes_on_is_not_written_to(
    fresh: Settings, champion: Any, tmp_path: Path, killed: Any
) -> None:
    champion()
    out, request = tmp_path / "out.parquet", asked(channels=["email"], value=50.0)
    before = bulk(fresh, out, PEOPLE, request)
    out.unlink()
    killed.decided = []
    die(fresh, out, request, killed, 3)
    assert before["c08"]["channel"] == "email"
    files = (tmp_path / ".out.parquet.parts").glob("*.parquet")
    done = [who for file in files for who in pq.read_table(file)["contact_id"].to_pylist()]
    assert "c08" in done
    with closing(EventLog(fresh.event_log_url)) as log:
        log.append([event(5_000, "unsubscribed", "c08", 0)])
    rows = bulk(fresh, out, PEOPLE, request)
    assert rows["c08"]["channel"] is None
    again = [contact for block in killed.decided for contact in block]
    assert set(again) & set(done) == {"c08"}
    changed = {contact for contact in PEOPLE if rows[contact] != before[contact]}
    assert changed == {"c08"}


# --- the decision log


def test_decisions_of_a_campaign_are_written_down_with_who_was_held_out(
    fresh: Settings, model: Channel, champion: Any, tmp_path: Path, small_blocks: None
) -> None:
    champion(model)
    settings = fresh.model_copy(update={"message_holdout_share": 0.4})
    ids = [*PEOPLE, "stranger"]
    with closing(EventLog(settings.event_log_url)) as log:
        before = log.decisions()
        without = bulk(settings, tmp_path / "without.parquet", ids, asked(value=10.0))
        assert log.decisions() == before, "of no campaign, nothing to report"
        rows = bulk(settings, tmp_path / "out.parquet", ids, asked(campaign_id="autumn", value=10.0))
        kept = {row["contact_id"]: row for row in log.decisions() if row["campaign_id"] == "autumn"}
    assert kept.keys() == rows.keys()
    for contact, row in rows.items():
        written = kept[contact]
        assert (written["kind"], written["campaign_id"]) == ("best_channel", "autumn")
        assert written["held_out"] == row["held_out"]
        assert written["intended_channel"] == without[contact]["channel"], "what it would have been"
        assert written["shown"] == [[row["channel"], row["propensity"], row["source"]]]
        assert written["model_version"] == "nextbest-channel/1"
    held = [row for row in rows.values() if row["held_out"]]
    assert held
    assert all(row["channel"] is None and row["send_at"] is None for row in held)


def test_a_block_is_written_whole_or_not_at_all(
    filled: Settings, champion: Any, tmp_path: Path, killed: Any
) -> None:
    champion()
    out = tmp_path / "out.parquet"
    die(filled, out, asked(value=10.0), killed, 2)
    parts = tmp_path / ".out.parquet.parts"
    assert not list(parts.glob("*.tmp"))
    assert datetime.fromisoformat(json.loads((parts / "run.json").read_text())["now"]) == NOW


def test_contacts_with_news_need_their_stored_rows(
    fresh: Settings, model: Channel, champion: Any, tmp_path: Path
) -> None:
    """Else their caps would pass."""
    champion(model)
    with closing(EventLog(fresh.event_log_url)) as log:
        log.append([event(9_500, "page_viewed", "c09", 1 / 86_400)])
    for file in fresh.home.glob("online.db*"):
        file.unlink()
    with pytest.raises(NextbestError, match="nextbest features build"):
        bulk(fresh, tmp_path / "out.parquet", PEOPLE, asked(value=10.0))
    assert not (tmp_path / "out.parquet").exists()
