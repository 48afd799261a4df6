"""The feature store on real Feast, over a small shop."""

import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from threading import Event, Thread
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from features.build import build
from features.erase import erase
from features.errors import StoreUnavailable
from features.events.lake import Lake
from features.events.log import EventLog
from features.forget import forget
from features.items import items_at
from features.live import LiveContacts
from features.online import FINGERPRINT
from features.snapshots import contact_frame, views_at
from features.state import LISTS_AS_OF, NAME_ARRAYS, ContactState
from features.store import Store
from nextbest.columns import (
    ARRAY_COLUMNS,
    AS_OF,
    CHANNEL_COLUMNS,
    CONTACT_FEATURES,
    COUNTER_COLUMNS,
    ITEM_COLUMNS,
    ITEM_STATISTICS,
    TIME_COLUMNS,
)
from nextbest.errors import BadInput, NotReady
from nextbest.settings import Settings

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def history(event: Callable[..., Any]) -> list[Any]:
    def buy(days_ago: float, contact: str | None, order: str, item: str, **more: Any) -> Any:
        values = {"contact_id": contact, "order_id": order, "item_id": item, "price": 2.0, "quantity": 1.0}
        return event("order_completed", days_ago, **(values | more))

    return [
        buy(800, "annelise", "1", "milk"), buy(800, "annelise", "1", "bread"),
        buy(90, "annelise", "2", "milk"),
        buy(60, "annelise", "3", "soap"), buy(50, "bob", "4", "milk", price=None), buy(20, "bob", "5", "bag"),
        buy(10, None, "6", "butter", anonymous_id="visitor"),
        event("products_searched", 11, anonymous_id="visitor"),
        event("message_sent", 45, contact_id="annelise", channel="email"),
        event("message_opened", 44, contact_id="annelise", channel="email"),
        event("message_sent", 3, contact_id="annelise", channel="sms"),
        event("product_viewed", 5, contact_id="annelise", item_id="butter", url="https://shop.org/pricing"),
        event("product_viewed", 1, contact_id="cid", item_id="butter"),
        event("product_added", 46, contact_id="annelise", item_id="milk"),
        event("products_searched", 39, contact_id="annelise"),
        event("order_refunded", 2, contact_id="bob", order_id="5", item_id="bag", price=2.0),
    ]  # fmt: skip


@pytest.fixture(scope="module")
def shop(history: Any, items: pd.DataFrame, put: Any, tmp_path_factory: Any, now: datetime) -> Settings:
    settings = Settings(home=tmp_path_factory.mktemp("shop"))
    put(settings, history)
    build(settings, now)
    return settings


@pytest.fixture
def fresh(shop: Settings, tmp_path: Path) -> Iterator[tuple[Settings, EventLog]]:
    """Return a copy of the shop to change, and its event log."""
    settings = Settings(home=tmp_path / "copy")
    shutil.copytree(shop.home, settings.home)
    Store(settings).apply()
    log = EventLog(settings.event_log_url)
    yield settings, log
    log.close()


def comparable(view: Any) -> dict[str, Any]:
    arrays = {name: list(getattr(view, name)) for name in ARRAY_COLUMNS if name not in CHANNEL_COLUMNS}
    return {"id": view.contact_id, **view.features, **view.times, **arrays, "channels": dict(view.channels)}


def alike(left: Any, right: Any) -> None:
    """Assert that two views hold the same, floats to 1e-9."""
    ours, theirs = comparable(left), comparable(right)
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        if value and isinstance(value, str | list) and isinstance(value[0], str):
            assert theirs[name] == value, name
        elif isinstance(value, dict):
            for channel in value.keys() | theirs[name].keys():
                assert theirs[name][channel] == pytest.approx(value[channel], rel=1e-9, abs=1e-9, nan_ok=True)
        else:
            assert theirs[name] == pytest.approx(value, rel=1e-9, abs=1e-9, nan_ok=True), name


def test_online_gives_the_stored_row_and_none_for_strangers(shop: Settings) -> None:
    ann, nobody, bob = Store(shop).online("contact_card", ["annelise", "nobody", "bob"])
    assert nobody is None
    assert ann is not None
    assert bob is not None
    assert {*COUNTER_COLUMNS, *TIME_COLUMNS, *ARRAY_COLUMNS, AS_OF, LISTS_AS_OF} <= set(ann)
    assert (ann["orders_total"], ann["lines_total"], bob["orders_total"], bob["spend_total"]) == (3, 4, 2, 0)
    assert set(ann["recent_items"]) == {"milk", "bread", "soap"}
    assert list(ann["channel_names"]) == ["email", "sms"]
    assert bob["last_cart"] is None or np.isnan(bob["last_cart"])
    assert ann["last_cart"] > 0


def test_tables_hold_the_types_feast_was_told(shop: Settings) -> None:
    texts = {"contact_id", "item_id", "category", "channel", "path", "anonymous_id", "linked_id",
             "event_id", "event", "url", "campaign_id", "message_id"}  # fmt: skip
    expected = dict.fromkeys((AS_OF, LISTS_AS_OF, FINGERPRINT), "int64") | {"lead": "bool"}
    expected |= dict.fromkeys(("timestamp", "linked_until"), "timestamp[us, tz=UTC]")
    for path in shop.tables.glob("*.parquet"):
        if path.stem == "contact_tags":  # Feast is not told of it
            continue
        for column in pq.read_schema(path):
            kind = "string" if column.name in texts or column.name in NAME_ARRAYS else "double"
            if path.stem == "contact_lists" and column.name in ARRAY_COLUMNS:
                kind = f"list<element: {kind}>"
            kind = expected.get(column.name, kind)
            assert str(column.type) == kind, (path.stem, column.name)


def test_online_asks_nothing_for_nobody(shop: Settings) -> None:
    assert Store(shop).online("contact_card", []) == []


def test_history_keeps_the_spine(shop: Settings, now: datetime) -> None:
    moments = [now - timedelta(days=d) for d in (55, 900, 0, 55, 60)]
    spine = pd.DataFrame(
        {"contact_id": ["annelise", "annelise", "bob", "nobody", "annelise"], "timestamp": moments},
        index=list("vwxyz"),
    )
    found = Store(shop).historical("churn", spine)
    assert list(found.index) == list("vwxyz")
    assert list(found["contact_id"]) == list(spine["contact_id"])
    assert list(found["timestamp"]) == moments
    assert found["orders_total"].fillna(-1).tolist() == [3, -1, 2, -1, 3]  # a row of that very moment counts


def test_rows_never_go_stale(shop: Settings, now: datetime) -> None:
    spine = pd.DataFrame({"contact_id": ["annelise"], "timestamp": [now + timedelta(days=5_000)]})
    assert Store(shop).historical("churn", spine)["orders_total"].tolist() == [3]


def test_an_empty_spine_is_answered(shop: Settings) -> None:
    assert len(Store(shop).historical("churn", pd.DataFrame({"contact_id": [], "timestamp": []}))) == 0


def test_offline_and_online_give_the_same_view(shop: Settings, now: datetime) -> None:
    offline = {view.contact_id: view for view in views_at(shop, now)}
    assert list(offline) == ["annelise", "bob", "cid"]
    for contact, row in zip(offline, Store(shop).online("contact_card", list(offline)), strict=True):
        assert row is not None
        online = ContactState.from_row(row | {"contact_id": contact}).at(now.timestamp())
        alike(online, offline[contact])


def test_the_frame_is_the_view_of_its_moment(shop: Settings, now: datetime) -> None:
    moments = [now - timedelta(days=d) for d in (70, 30, 0, 900)]
    frame = contact_frame(shop, "value", pd.DataFrame({"contact_id": "annelise", "timestamp": moments}))
    assert list(frame.columns) == ["contact_id", "timestamp", *CONTACT_FEATURES, *TIME_COLUMNS]
    assert frame["recency_days"].tolist()[:3] == pytest.approx([20, 30, 60])
    assert frame["orders_total"].tolist() == [2, 3, 3, 0]
    assert np.isnan(frame["tenure_days"][3])
    view = views_at(shop, moments[1], ["annelise"])[0]
    for name in CONTACT_FEATURES:
        assert frame[name][1] == pytest.approx(view.features[name], nan_ok=True), name


def test_asked_contacts_come_in_order_with_strangers_empty(shop: Settings, now: datetime) -> None:
    views = views_at(shop, now - timedelta(days=30), ["cid", "bob", "nobody"])
    assert [view.contact_id for view in views] == ["cid", "bob", "nobody"]
    assert [bool(view.features) for view in views] == [False, True, False]
    assert [list(view.recent_items) for view in views] == [[], ["milk"], []]


def test_what_happens_later_changes_nothing_earlier(
    shop: Settings, history: Any, event: Any, put: Any, tmp_path: Any, now: datetime
) -> None:
    at = now - timedelta(days=40)
    known = [one for one in history if one["timestamp"] <= at]
    past = Settings(home=tmp_path)
    put(past, known)
    build(past, now)
    for before, after in zip(views_at(past, at), views_at(shop, at), strict=True):
        alike(before, after)
    pd.testing.assert_frame_equal(items_at(past, at), items_at(shop, at))
    spine = pd.DataFrame({"contact_id": ["annelise", "bob"], "timestamp": [at, at]})
    pd.testing.assert_frame_equal(contact_frame(past, "churn", spine), contact_frame(shop, "churn", spine))


def test_the_shelf_holds_every_item(shop: Settings, now: datetime) -> None:
    shelf = items_at(shop, now - timedelta(days=15)).set_index("item_id")
    assert list(shelf.reset_index().columns) == [*ITEM_COLUMNS, *ITEM_STATISTICS]
    assert shelf["sold_total"].to_dict() == {"bag": 1, "bread": 1, "butter": 0, "milk": 3, "soap": 1}
    assert shelf.loc["milk", "repurchase_rate"] == 0.5
    assert shelf.loc["milk", "cadence_days"] == pytest.approx(710)
    assert np.isnan(shelf.loc["butter", "mean_price"])


def test_before_the_first_build_the_command_is_named(tmp_path: Any, now: datetime) -> None:
    nowhere = Settings(home=tmp_path / "new")
    for ask in (
        lambda: views_at(nowhere, now),
        lambda: items_at(nowhere, now),
        lambda: Store(nowhere).online("contact_card", ["annelise"]),
    ):
        with pytest.raises(NotReady, match="nextbest features build"):
            ask()


def test_an_unknown_service_or_engine_is_named(shop: Settings, now: datetime) -> None:
    with pytest.raises(NotReady, match=r"no feature service 'chrun'; known: best_channel, churn"):
        Store(shop).online("chrun", ["annelise"])
    with pytest.raises(BadInput, match="no engine 'dask'; known: duckdb, spark"):
        build(shop, now, engine="dask")  # type: ignore[arg-type]


def test_a_store_that_fails_says_so(shop: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(shop)
    store.online("contact_card", ["annelise"])

    def fail(*_: Any) -> None:
        raise OSError("disk I/O error")

    monkeypatch.setattr(store._provider, "online_read", fail)
    with pytest.raises(StoreUnavailable, match="disk I/O error"):
        store.online("contact_card", ["annelise"])


def test_an_empty_lake_builds(tmp_path: Any, now: datetime) -> None:
    settings = Settings(home=tmp_path)
    summary = build(settings, now)
    assert (summary.events, summary.contacts) == (0, 0)
    assert Store(settings).online("contact_card", ["annelise"]) == [None]
    assert views_at(settings, now) == []
    assert len(items_at(settings, now)) == 0


def test_an_acknowledged_event_is_in_the_next_answer(fresh: Any, event: Any, now: datetime) -> None:
    settings, log = fresh
    live = LiveContacts.open(settings)
    before = live.get(["annelise", "new"], now.timestamp())
    log.append([
        event("order_completed", contact_id="annelise", order_id="9", item_id="butter", price=4.0),
        event("order_completed", contact_id="annelise", order_id="9", item_id="bread", price=4.0),
        event("product_viewed", contact_id="new", item_id="milk"),
        event("product_viewed", anonymous_id="visitor-2", item_id="soap"),
        event("page_viewed", 700, contact_id="bob"),
    ])  # fmt: skip
    ann, new, bob = live.get(["annelise", "new", "bob"], now.timestamp())
    assert (before[0].features["orders_total"], before[1].known, before[1].features) == (3, False, {})
    assert (ann.features["orders_total"], ann.features["lines_total"]) == (4, 6)
    assert list(ann.recent_items)[:2] == ["bread", "butter"]
    assert "food/dairy" in ann.category_names
    assert (new.known, list(new.viewed_items)) == (False, ["milk"])
    assert (bob.features["pages_total"], bob.times["first_seen"]) == (1, now.timestamp() - 700 * 86_400)
    (visitor,) = live.visitors(["visitor-2"], now.timestamp())
    assert list(visitor.viewed_items) == ["soap"]
    for view, category in ((new, "food/dairy"), (visitor, "home/bath")):
        assert (view.step_names, view.step_categories) == (["product_viewed"], [category])
    assert bob.step_names == ["page_viewed"]


def test_what_another_process_does_is_in_the_next_answer(fresh: Any, now: datetime) -> None:
    """Whatever a worker keeps in memory, another may append, build or erase meanwhile."""
    settings, _ = fresh
    live, moment = LiveContacts.open(settings), now.timestamp()
    start = f"""if True:
        import sys
        from datetime import datetime
        from nextbest.settings import Settings
        from features.events.log import EventLog
        from features.store import Store
        settings, now = Settings(home={str(settings.home)!r}), datetime.fromisoformat({now.isoformat()!r})
        log, store = EventLog(settings.event_log_url), Store(settings)
        for line in sys.stdin:
            exec(line)
            print(flush=True)
        """

    def orders(contact: str) -> float:
        for _ in range(2):  # the second time from memory
            (view,) = live.get([contact], moment)
        return view.features.get("orders_total", 0.0)

    with subprocess.Popen(
        [sys.executable, "-c", start], cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:

        def elsewhere(code: str) -> None:
            assert other.stdin is not None
            assert other.stdout is not None
            print(code, file=other.stdin, flush=True)
            assert other.stdout.readline() == "\n"

        assert (orders("annelise"), orders("bob"), orders("nobody")) == (3, 2, 0)
        elsewhere(
            "log.append([dict(event_id=i, event='order_completed', timestamp=now, received_at=now, "
            "contact_id=c, item_id='milk', order_id=i) for i, c in [('n1', 'annelise'), ('n2', 'nobody')]])"
        )
        assert (orders("annelise"), orders("bob"), orders("nobody")) == (4, 2, 1)
        build(settings, now)
        assert (orders("annelise"), orders("bob"), orders("nobody")) == (4, 2, 1)
        elsewhere("store.erase(['annelise', 'bob'])")
        annelise, nobody = live.get(["annelise", "nobody"], moment)
        assert (annelise.known, nobody.known) == (False, True)  # of the former only the log's event is left
        assert (orders("annelise"), orders("bob"), orders("nobody")) == (1, 0, 1)


def test_a_build_between_changes_no_answer(fresh: Any, event: Any, now: datetime) -> None:
    settings, log = fresh
    log.append([
        event("order_completed", 0.5, contact_id="annelise", order_id="9", item_id="milk", price=4.0),
        event("message_clicked", 0.2, contact_id="annelise", channel="sms"),
        event("product_viewed", 0.1, contact_id="new", item_id="milk"),
    ])  # fmt: skip
    live = LiveContacts.open(settings)
    folded = live.get(["annelise", "bob", "new"], now.timestamp())
    summary = build(settings, now)
    assert (summary.position, summary.contacts, summary.written) == (3, 4, 2)
    for before, after in zip(folded, live.get(["annelise", "bob", "new"], now.timestamp()), strict=True):
        assert after.known
        alike(before, after)


def test_readers_never_see_half_a_build(fresh: Any, event: Any, now: datetime) -> None:
    settings, log = fresh
    bought = {"contact_id": "annelise", "item_id": "milk", "price": 4.0}
    log.append([event("order_completed", 0.1, order_id=f"n{i}", **bought) for i in range(3)])
    live, done, seen = LiveContacts.open(settings), Event(), set()

    def read() -> None:
        while not done.is_set():
            (ann,) = live.get(["annelise"], now.timestamp())
            seen.add(
                (ann.features["orders_total"], float(ann.repeat_count[list(ann.repeat_items).index("milk")]))
            )

    reader = Thread(target=read)
    reader.start()
    try:
        build(settings, now)
    finally:
        done.set()
        reader.join()
    assert seen == {(6.0, 5.0)}


def test_a_build_writes_online_what_changed(
    fresh: Any, put: Any, event: Any, tmp_path: Path, now: datetime
) -> None:
    settings, _ = fresh
    store = Store(settings)
    assert build(settings, now).written == 0
    put(settings, [event("page_viewed", 5000, contact_id="bob")])
    assert build(settings, now).written == 1
    rules = tmp_path / "rules.yaml"
    rules.write_text("rules: [{name: order, event: order_completed, points: 1, half_life_days: null}]")
    ruled = settings.model_copy(update={"rules": rules})
    Lake(settings.lake).erase(["bob"])
    assert build(ruled, now).written == 2
    annelise, bob = store.online("contact_card", ["annelise", "bob"])
    assert (annelise["points_90d"], annelise["points_total"], bob) == (0, 3, None)
    (settings.home / "online.db").unlink()
    assert build(ruled, now).written == 2


def views_of(settings: Settings, now: datetime, *contacts: str) -> list[Any]:
    return LiveContacts.open(settings).get(list(contacts), now.timestamp())


def test_a_link_brings_the_visitors_past_at_once_and_a_build_changes_no_answer(
    fresh: Any, event: Any, now: datetime
) -> None:
    settings, log = fresh
    log.append([event("product_viewed", 0.3, anonymous_id="visitor", item_id="soap")])
    log.write_identities([{"anonymous_id": "visitor", "contact_id": "cid", "timestamp": now}])
    (live,) = views_of(settings, now, "cid")
    assert (live.features["orders_total"], list(live.recent_items)) == (1, ["butter"])  # an import brought it
    assert list(live.step_names) == ["product_viewed", "product_viewed", "products_searched"]
    for _ in range(2):
        build(settings, now)
        (built,) = views_of(settings, now, "cid")
        alike(live, built)
    alike(views_at(settings, now, ["cid"])[0], live)


def test_contacts_become_one_and_stay_one_through_builds(fresh: Any, event: Any, now: datetime) -> None:
    settings, log = fresh
    log.append([event("product_viewed", 0.2, contact_id="bob", item_id="soap")])
    log.write_identities([{"anonymous_id": "bob", "contact_id": "annelise", "timestamp": now, "alias": True}])
    live, as_bob = views_of(settings, now, "annelise", "bob")
    assert (live.features["orders_total"], as_bob.features["orders_total"]) == (5, 5)
    assert (live.contact_id, as_bob.contact_id) == ("annelise", "bob")
    assert build(settings, now).contacts == 2
    alike(views_of(settings, now, "annelise")[0], live)
    alike(views_of(settings, now, "bob")[0], as_bob)
    log.append([event("order_completed", 0.1, contact_id="bob", order_id="n", item_id="bag", price=1.0)])
    (later,) = views_of(settings, now, "annelise")
    assert later.features["orders_total"] == 6
    assert Store(settings).online("contact_card", ["bob"]) == [None]


def test_a_second_claim_takes_away_what_a_row_had_counted(fresh: Any, event: Any, now: datetime) -> None:
    settings, log = fresh
    log.append([event("product_viewed", days, anonymous_id="v", item_id="soap") for days in (3, 1)])
    log.write_identities([{"anonymous_id": "v", "contact_id": "cid", "timestamp": now - timedelta(days=2)}])
    build(settings, now)
    assert views_of(settings, now, "cid")[0].features["views_total"] == 3
    log.write_identities([{"anonymous_id": "v", "contact_id": "bob", "timestamp": now}])
    for _ in range(2):
        cid, bob = views_of(settings, now, "cid", "bob")
        assert (cid.features["views_total"], bob.features["views_total"]) == (2, 0)
        build(settings, now)
    visitor = LiveContacts.open(settings).visitors(["v"], now.timestamp())[0]
    assert visitor.features["views_total"] == 1  # what was done before cid logged in is cid's alone
    found = forget(settings, ["cid"], log)
    assert found.log == 2  # and what may be cid's goes with cid
    assert LiveContacts.open(settings).visitors(["v"], now.timestamp())[0].features == {}


def test_of_a_busy_stranger_only_the_news_is_read_until_somebody_is_erased(
    fresh: Any, event: Any, now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, log = fresh
    log.append([event("product_viewed", 1, contact_id="newcomer", item_id="soap")] * 1)
    log.append([event("product_viewed", days, anonymous_id="w", item_id="soap") for days in (3, 2)])
    live, asked = LiveContacts.open(settings, log), list[int]()
    one, many = log.tail_of_unlinked, log.tail
    monkeypatch.setattr(log, "tail_of_unlinked", lambda c, since: asked.append(since) or one(c, since))
    monkeypatch.setattr(log, "tail", lambda c, since, a=(): asked.append(since) or many(c, since, a))

    def views() -> tuple[float, float]:
        moment = now.timestamp()
        newcomer, visitor = live.get(["newcomer"], moment)[0], live.visitors(["w"], moment)[0]
        return newcomer.features.get("views_total", 0.0), visitor.features.get("views_total", 0.0)

    assert views() == views() == (1, 2)
    assert min(asked[2:]) > 0, "from where it was counted up to"
    log.append([event("product_viewed", 0.5, contact_id="newcomer", item_id="soap")])
    log.append([event("product_viewed", 0.5, anonymous_id="w", item_id="soap")])
    assert views() == (2, 3)
    forget(settings, ["newcomer"], log)
    assert views() == (0, 3)


def test_two_are_erased_at_once(fresh: Any) -> None:
    settings, log = fresh
    with ThreadPoolExecutor(2) as pool:
        erased = list(pool.map(lambda contact: forget(settings, [contact], log), ["annelise", "bob"]))
    assert all(erased)
    assert Store(settings).online("contact_card", ["annelise", "bob"]) == [None, None]
    assert pq.read_table(settings.tables / "contact_lists.parquet")["contact_id"].to_pylist() == ["cid"]


def test_an_erased_contact_is_nowhere(fresh: Any, now: datetime) -> None:
    settings, log = fresh
    with closing(sqlite3.connect(settings.home / "online.db")) as database:  # free pages keep old copies
        database.execute("PRAGMA secure_delete = OFF")
        database.execute("CREATE TABLE left_behind AS SELECT 'annelise' || randomblob(9000) AS old")
        database.execute("DROP TABLE left_behind")
        database.commit()
    Lake(settings.lake).erase(["annelise"])
    log.erase(["annelise"])
    assert erase(settings, ["annelise"]) > 5
    store = Store(settings)
    ann, bob = store.online("contact_card", ["annelise", "bob"])
    assert ann is None
    assert bob is not None
    assert [view.contact_id for view in views_at(settings, now)] == ["bob", "cid"]
    for path in settings.home.rglob("*"):
        if path.is_file() and (path.name.startswith("online") or path.suffix == ".parquet"):
            assert b"annelise" not in path.read_bytes(), path
    build(settings, now)
    assert store.online("contact_card", ["annelise"]) == [None]
