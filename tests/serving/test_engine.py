"""The real thing: real stores, real registry, real models; each rung reached by breaking the one above."""

import json
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from models import artifact
from models.eligibility import PLACEMENTS
from models.rules import Rules
from nextbest.columns import EVENT_COLUMNS
from serving.engine import Engine
from serving.schemas import (
    REASON_KEYS,
    BestChannelRequest,
    BoughtTogetherRequest,
    PredictionsRequest,
    Recommendations,
    RecommendationsRequest,
)
from training.tracking import Registry

PATIENT = {"budget_ms": 5000.0, "champions_poll_seconds": 600.0}


@contextmanager
def opened(world: Any, **settings: Any) -> Iterator[Engine]:
    engine = Engine(world.settings.model_copy(update={**PATIENT, **settings}), lambda: world.now)
    try:
        yield engine
    finally:
        engine.close()


@pytest.fixture(scope="module")
def engine(world: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with opened(world.copy(tmp_path_factory.mktemp("engine") / "home")) as engine:
        yield engine


def recommend(engine: Engine, contact_id: str, **asked: Any) -> Recommendations:
    request = RecommendationsRequest(contact_id=contact_id, **asked)
    return engine.answers.recommendations(request, engine.now())


def model_folder(world: Any, name: str) -> Path:
    return Path(Registry(world.settings).show(name)["folder"])


def damage(world: Any, name: str) -> None:
    folder = model_folder(world, name)
    assert folder.is_relative_to(world.settings.home.resolve())
    name = next(iter(json.loads((folder / artifact.MANIFEST).read_text())["files"]))
    (folder / name).write_bytes((folder / name).read_bytes() + b" ")


def test_every_champion_serves(engine: Engine, world: Any) -> None:
    assert engine.missing() == {}
    for contact_id in world.contacts[:5]:
        answer = recommend(engine, contact_id)
        assert len(answer.items) == 10
        assert answer.fallback is None
        assert answer.model_version is not None
        assert answer.identified


def test_the_model_damaged(broken_world: Callable[[], Any]) -> None:
    world = broken_world()
    damage(world, "next-purchase")
    with opened(world) as engine:
        answer = recommend(engine, world.contacts[0])
        assert (answer.source, answer.fallback) == ("basket", "model_failed")
        assert "damaged" in engine.missing()["next-purchase"]


def test_two_models_damaged(broken_world: Callable[[], Any]) -> None:
    world = broken_world()
    damage(world, "next-purchase")
    damage(world, "basket")
    damage(world, "churn")
    with opened(world) as engine:
        assert recommend(engine, world.contacts[0]).source == "frequency"
        asked = BoughtTogetherRequest(item_ids=world.items[:3])
        together = engine.answers.bought_together(asked, engine.now())
        assert (together.rules, together.source, together.fallback) == ([], "none", "model_failed")
        asked_churn = PredictionsRequest(contact_ids=world.contacts[:3], tasks=["churn"])
        for contact in engine.answers.predictions(asked_churn, engine.now()).contacts:
            assert (contact.predictions["churn"].source, contact.predictions["churn"].fallback) == (
                "bgnbd",
                "model_failed",
            )


def test_the_alias_gone(broken_world: Callable[[], Any]) -> None:
    world = broken_world()
    with closing(sqlite3.connect(world.settings.home / "mlflow.db")) as connection:
        connection.execute("DELETE FROM registered_model_aliases WHERE name = 'nextbest-next-purchase'")
        connection.commit()
    with opened(world) as engine:
        assert recommend(engine, world.contacts[0]).fallback == "no_champion"


def test_the_registry_gone_before_the_start(broken_world: Callable[[], Any]) -> None:
    world = broken_world()
    (world.settings.home / "mlflow.db").unlink()
    with opened(world) as engine:
        answer = recommend(engine, world.contacts[0])
        assert (answer.source, answer.fallback) == ("frequency", "registry_unavailable")
        churn = engine.answers.predictions(
            PredictionsRequest(contact_ids=world.contacts[:1], tasks=["churn"]), engine.now()
        ).contacts[0]
        assert churn.predictions["churn"].fallback == "registry_unavailable"
        assert not (world.settings.home / "mlflow.db").exists()


def test_the_registry_gone_while_serving(broken_world: Callable[[], Any]) -> None:
    world = broken_world()
    with opened(world) as engine:
        before = recommend(engine, world.contacts[0])
        (world.settings.home / "mlflow.db").rename(world.settings.home / "elsewhere.db")
        engine.champions.refresh()
        after = recommend(engine, world.contacts[0])
        assert (after.model_version, after.fallback) == (before.model_version, None)
        assert "mlflow.db" in engine.missing()["registry"]
        (world.settings.home / "elsewhere.db").rename(world.settings.home / "mlflow.db")
        engine.champions.refresh()
        assert "registry" not in engine.missing()


def test_the_online_store_gone(broken_world: Callable[[], Any]) -> None:
    world = broken_world()
    for file in world.settings.home.glob("online.db*"):
        file.unlink()
    with opened(world) as engine:
        answer = recommend(engine, world.contacts[0])
        assert len(answer.items) == 10
        assert answer.fallback in ("feature_store_unavailable", "unknown_contact")


def test_the_online_store_damaged_while_serving(
    broken_world: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    # rows that the background has read are still there, in our memory and in SQLite's: ask for one it has not
    monkeypatch.setattr(Engine, "_get_ready", lambda _: None)
    world = broken_world()
    with opened(world) as engine:
        assert recommend(engine, world.contacts[0]).fallback is None
        for file in world.settings.home.glob("online.db*"):
            with file.open("r+b") as damaged:
                damaged.write(os.urandom(file.stat().st_size))
        answer = recommend(engine, world.contacts[1])
        assert len(answer.items) == 10
        assert answer.fallback == "feature_store_unavailable"


def test_everything_gone(tmp_path: Path, world: Any) -> None:
    empty = type(world)(world.settings.model_copy(update={"home": tmp_path / "empty"}), world.now)
    with opened(empty) as engine:
        assert recommend(engine, "anyone").fallback == "no_catalogue"
        assert "nextbest features build" in engine.missing()["catalogue"]
        decision = engine.answers.best_channel(BestChannelRequest(contact_ids=["anyone"]), engine.now())
        assert decision.contacts[0].source == "default"
        assert engine.answers.contact_card("anyone", engine.now()) is None


def test_a_better_champion_takes_over_while_serving_and_a_broken_one_does_not(
    broken_world: Callable[[], Any],
) -> None:
    world = broken_world()
    registry = Registry(world.settings)
    with opened(world) as engine:
        before = recommend(engine, world.contacts[0])
        broken = _version_with(registry, world, Rules())
        registry.promote("next-purchase", broken, "a test", world.now)
        engine.champions.refresh()
        after = recommend(engine, world.contacts[0])
        assert (after.model_version, after.fallback) == (before.model_version, None)
        assert f"/{broken}" in engine.missing()["next-purchase"]
        good = _version_with(registry, world, registry.load("next-purchase", 1))
        registry.promote("next-purchase", good, "a test", world.now)
        engine.champions.refresh()
        assert recommend(engine, world.contacts[0]).model_version == f"nextbest-next-purchase/{good}"
        assert "next-purchase" not in engine.missing()


def _version_with(registry: Registry, world: Any, model: Any) -> str:
    from training._runs import Run

    frame = pd.DataFrame({"a": [1.0]})
    run = Run(
        job="next-purchase", now=world.now, params={}, metrics={"m": 1.0}, tags={}, example=(frame, frame)
    )
    return registry.log(run, model).version


def test_an_event_counts_in_the_very_next_answer(broken_world: Callable[[], Any]) -> None:
    world = broken_world()
    with opened(world) as engine:
        contact_id, item_id = "a newcomer", engine.shelf.catalogue().item_ids[0]
        assert recommend(engine, contact_id).fallback == "unknown_contact"
        engine.log.append([_line(world, n, contact_id, str(item_id)) for n in range(1, 4)])
        answer = recommend(engine, contact_id, placement="buy_again")
        assert [item.item_id for item in answer.items] == [str(item_id)]
        assert answer.identified
        assert answer.as_of.position == 3


def _line(world: Any, n: int, contact_id: str, item_id: str) -> dict[str, Any]:
    return {
        **dict.fromkeys(EVENT_COLUMNS), "event_id": f"e{n}", "event": "order_completed", "order_id": f"o{n}",
        "timestamp": world.now - timedelta(days=40 * n), "received_at": world.now, "contact_id": contact_id,
        "item_id": item_id, "quantity": 1.0, "price": 2.0,
    }  # fmt: skip


def test_bought_together_and_predictions(engine: Engine, world: Any) -> None:
    asked_items = BoughtTogetherRequest(item_ids=_popular(engine), k=5)
    rules = engine.answers.bought_together(asked_items, engine.now())
    assert len(rules.rules) == 5
    assert all(rule.lift > 1 and rule.evidence.baskets >= 2 for rule in rules.rules)
    asked = PredictionsRequest(contact_ids=[*world.contacts[:20], "nobody"])
    found = engine.answers.predictions(asked, engine.now()).contacts
    assert [contact.known for contact in found] == [True] * 20 + [False]
    for contact in found[:20]:
        assert {prediction.fallback for prediction in contact.predictions.values()} == {None}
        churn = contact.predictions["churn"]
        assert 0 <= (churn.probability or 0) <= 1
        assert churn.drivers


def _popular(engine: Engine) -> list[str]:
    given = engine.answers.recommendations(RecommendationsRequest(placement="trending", k=50), engine.now())
    return [item.item_id for item in given.items]


def test_a_policy_learned_from_simulated_messages_is_known_for_one(engine: Engine, world: Any) -> None:
    asked = BestChannelRequest(contact_ids=world.contacts[:1])
    assert engine.champions.get("channel").simulated
    assert engine.answers.best_channel(asked, engine.now()).contacts[0].fallback == "no_message_history"


def test_decisions_reach_the_log(broken_world: Callable[[], Any]) -> None:
    world = broken_world()
    with opened(world) as engine:
        answer = recommend(engine, world.contacts[0], k=2)
        engine.decisions.flush()
        (stored,) = engine.log.decisions()
    assert stored["decision_id"] == answer.recommendation_id
    assert [entry[:2] for entry in stored["shown"]] == [[item.item_id, 1.0] for item in answer.items]


def test_two_emails_in_a_row_show_nothing_twice_and_a_broken_log_is_named(
    broken_world: Callable[[], Any],
) -> None:
    world = broken_world()
    with opened(world) as engine:
        first = recommend(engine, world.contacts[0], placement="email")
        second = recommend(engine, world.contacts[0], placement="email")
        engine.decisions.flush()
        third = recommend(engine, world.contacts[0], placement="email")
        shown = [item.item_id for answer in (first, second, third) for item in answer.items]
        assert len(set(shown)) == len(shown) == 30
        engine.log.shown = lambda *asked: 1 / 0  # type: ignore[assignment, method-assign]
        answer = recommend(engine, world.contacts[0], placement="email")
        assert len(answer.items) == 10
        assert answer.notes == ["decision_log_unavailable"]


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_every_placement_gives_reasons_that_hold_what_they_promise(
    engine: Engine, world: Any, placement: Any
) -> None:
    popular = _popular(engine)
    kinds = set()
    for contact_id in world.contacts[:8]:
        answer = recommend(engine, contact_id, placement=placement, item_ids=popular[:2], explore=True)
        for item in answer.items:
            kinds.add(item.reason.kind)
            assert set(REASON_KEYS[item.reason.kind]) <= set(item.reason.because)
            assert 0 < item.propensity <= 1
            assert item.item_id not in popular[:2]
    assert kinds


def test_a_contact_is_erased_everywhere(broken_world: Callable[[], Any]) -> None:
    world = broken_world()
    contact_id = world.contacts[0]
    with opened(world) as engine:
        recommend(engine, contact_id)
        engine.decisions.flush()
        assert engine.erase(contact_id)
        assert not engine.erase(contact_id)
        assert engine.answers.contact_card(contact_id, engine.now()) is None
        assert engine.log.decisions() == []
    assert contact_id not in world.contacts
    assert contact_id not in pd.read_parquet(world.settings.lake / "events")["contact_id"].to_numpy()
