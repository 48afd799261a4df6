"""Profiles: the same of the last build's tables and folded out of the event log, and under known names."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest

from features.build import build
from nextbest.columns import CONTACT_FEATURES, EVENT_COLUMNS, TIME_COLUMNS
from nextbest.errors import NotReady
from nextbest.progress import silent
from serving.engine import Engine
from serving.profile import Profiler, known_of
from serving.profiles import Bulk, profiles
from serving.vocabulary import KNOWN, VALUES

PATIENT = {"budget_ms": 60_000.0, "campaign_budget_ms": 60_000.0}
SOME = 40


def order(world: Any, number: int, contact: str, **values: Any) -> dict[str, Any]:
    moment = world.now - timedelta(hours=number + 1)
    return {
        **dict.fromkeys(EVENT_COLUMNS), "event_id": f"news-{number}", "event": "order_completed",
        "order_id": f"news-{number}", "timestamp": moment, "received_at": moment, "contact_id": contact,
        "item_id": world.items[0], "quantity": 1.0, "price": 3.5, **values,
    }  # fmt: skip


@pytest.fixture
def opened(broken_world: Callable[[], Any]) -> Iterator[tuple[Any, Engine]]:
    """A world of our own, and an engine on it."""
    world = broken_world()
    settings = world.settings.model_copy(update=PATIENT)
    world = type(world)(settings, world.now)
    engine = Engine(settings, lambda: world.now)
    yield world, engine
    engine.close()


def in_bulk(world: Any, ids: list[str] | None) -> pd.DataFrame:
    found = pd.concat(list(profiles(world.settings, world.now, ids, (), silent)), ignore_index=True)
    return found.sort_values("contact_id", ignore_index=True)


def same(mine: pd.DataFrame, theirs: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(mine, theirs[list(mine.columns)], rtol=1e-9, atol=1e-9)


def test_tables_and_log_give_the_same_profile(opened: tuple[Any, Engine]) -> None:
    world, engine = opened
    ids = world.contacts[:SOME]
    news, rest = ids[:5], ids[5:]
    tables = in_bulk(world, ids)
    assert tables["contact_id"].tolist() == ids
    same(tables, engine.profiler.of(ids, world.now))

    stranger, visitor = "a new contact", "one who looks around"
    engine.log.append([order(world, n, contact) for n, contact in enumerate([*news, stranger])])
    engine.log.append([order(world, 50, visitor, event="product_viewed", order_id=None)])
    everyone = [*ids, stranger, visitor, "nobody"]
    folded = in_bulk(world, everyone)
    asked = sorted(everyone)
    same(folded, engine.profiler.of(asked, world.now))
    of = folded.set_index("contact_id")
    before = tables.set_index("contact_id")
    same(before.loc[rest].reset_index(), of.loc[rest].reset_index())
    more = of.loc[news, "features.orders_total"] - before.loc[news, "features.orders_total"]
    assert (more == 1).all()
    assert (of.loc[news, "features.recency_days"] < 1).all()
    np.testing.assert_allclose(of.loc[news, "value.past"] - before.loc[news, "value.past"], 3.5)
    assert of.loc[stranger, "features.orders_total"] == 1
    assert of.loc[visitor, ["churn.source", "value.source", "rfm.segment"]].tolist() == [
        "not_enough_data", "not_enough_data", "no_orders"
    ]  # fmt: skip
    assert of.loc["nobody", ["features.orders_total", "churn.probability"]].isna().all()

    build(world.settings, world.now)
    same(folded[folded["contact_id"].isin(ids)].reset_index(drop=True), in_bulk(world, ids))
    assert {stranger, visitor} <= set(in_bulk(world, None)["contact_id"])


def test_every_name_an_expression_may_use_is_there_and_of_its_kind(world: Any) -> None:
    settings = world.settings.model_copy(update=PATIENT)
    found = pd.concat(list(profiles(settings, world.now, world.contacts[:SOME], (), silent)))
    assert set(KNOWN) <= set(found.columns)
    for name, kind in KNOWN.items():
        assert (found[name].dtype == np.float64) == (kind == "number"), name
    for name, values in VALUES.items():
        assert set(found[name]) <= set(values)
    low, p, high = (found[f"churn.{end}"] for end in ("low", "probability", "high"))
    assert ((low <= p) & (p <= high)).all()
    assert found["churn.percentile"].between(0, 100).all()
    low, day, high = (found[f"next_order.{end}"] for end in ("low_days", "days", "high_days"))
    assert (low.dropna() >= 0).all()
    assert not ((low > day) | (day > high)).any()
    assert (found["value.next_90d"] < found["value.next_365d"]).all()
    np.testing.assert_allclose(found["value.total"], found["value.past"] + found["value.next_365d"])


def test_only_the_groups_asked_for_are_worked_out(world: Any) -> None:
    settings = world.settings.model_copy(update=PATIENT)
    asked = ("churn.band", "features.orders_total")
    (found,) = profiles(settings, world.now, world.contacts[:3], asked, silent)
    assert {"contact_id", *asked} <= set(found.columns)
    assert {name.partition(".")[0] for name in found.columns} == {"contact_id", "churn", "features"}
    assert [name for name in found.columns if name.startswith("features.")] == ["features.orders_total"]


def test_the_same_contact_twice_is_one_row_and_progress_is_told(world: Any) -> None:
    told: list[tuple[str, int, int]] = []
    ids = [world.contacts[2], world.contacts[0], world.contacts[2]]
    settings = world.settings.model_copy(update=PATIENT)
    (found,) = profiles(settings, world.now, ids, ("churn.band",), lambda *step: told.append(step))
    assert found["contact_id"].tolist() == [world.contacts[0], world.contacts[2]]
    assert told[-1][1:] == (2, 2)


def test_news_that_the_online_store_has_no_rows_for_are_not_guessed(
    broken_world: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    world = broken_world()
    bulk = Bulk(world.settings.model_copy(update=PATIENT))
    try:
        bulk._log.append([order(world, 0, world.contacts[0])])
        monkeypatch.setattr(bulk._live, "get", lambda ids, now: [Nothing() for _ in ids])
        with pytest.raises(NotReady, match="features build"):
            list(bulk.rows(world.contacts[:2], world.now))
    finally:
        bulk.close()


class Nothing:
    known = False


def test_of_nobody_everything_is_unknown(shop: Any) -> None:
    found = Profiler(shop.parts()).of(["c1", "nobody"], shop.now)
    assert found["contact_id"].tolist() == ["c1", "nobody"]
    assert found.loc[1, [f"features.{name}" for name in CONTACT_FEATURES]].isna().all()
    assert found.loc[1, [f"times.{name}" for name in TIME_COLUMNS]].isna().all()
    assert found["churn.source"].tolist() == ["recency", "not_enough_data"]
    assert known_of(pd.DataFrame({"last_seen": [1.0, np.nan]})).tolist() == [True, False]
