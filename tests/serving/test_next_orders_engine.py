"""Next orders and grown needs on the real stores: a real engine, its log, its champions."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import yaml

from nextbest.columns import EVENT_COLUMNS
from serving.engine import Engine
from serving.next_orders import replenishments
from serving.schemas import RecommendationsRequest

BABY_FOOD = {
    "name": "baby_food", "category": "*BABY FOODS*", "size": "(BEGINNER|JUNIOR)",
    "ladder": ["BEGINNER", "JUNIOR"], "after": "P120D", "early": "P20D", "late": "P20D",
}  # fmt: skip


def line(world: Any, event: str, item_id: str, days_ago: float) -> dict[str, Any]:
    return {
        **dict.fromkeys(EVENT_COLUMNS), "event_id": f"{event}-{days_ago}", "event": event,
        "order_id": f"o{days_ago}", "timestamp": world.now - timedelta(days=days_ago),
        "received_at": world.now, "contact_id": "a parent", "item_id": item_id, "quantity": 1.0, "price": 2.0,
    }  # fmt: skip


def test_an_order_of_months_ago_is_grown_out_of_until_it_is_sent_back(
    broken_world: Callable[[], Any], tmp_path: Path
) -> None:
    world, rules = broken_world(), tmp_path / "needs.yaml"
    rules.write_text(yaml.safe_dump({"needs": [BABY_FOOD]}))
    settings = world.settings.model_copy(update={"needs": rules, "budget_ms": 5000.0})
    engine = Engine(settings, lambda: world.now)
    try:
        shelf = engine.shelf.catalogue()
        assert shelf is not None
        first = next(
            str(item) for item, title in zip(shelf.item_ids, shelf.titles, strict=True)
            if title and "BABY FOOD - BEGINNER" in title
        )  # fmt: skip
        engine.log.append([line(world, "order_completed", first, 120.0)])
        (need,) = _grown(engine)
        assert "JUNIOR" in (need.title or "")
        assert need.reason.because["item_id"] == first
        assert need.reason.because["bought_days_ago"] == 120.0
        engine.log.append([line(world, "order_refunded", first, 119.0)])
        assert _grown(engine) == []
    finally:
        engine.close()


def _grown(engine: Engine) -> list[Any]:
    asked = RecommendationsRequest(contact_id="a parent", k=5)
    items = engine.answers.recommendations(asked, engine.now()).items
    return [item for item in items if item.reason.kind == "grown_out_of"]


def test_the_champion_tells_real_contacts_when_they_buy_again(world: Any, tmp_path: Path) -> None:
    world = world.copy(tmp_path / "home")
    engine = Engine(world.settings, lambda: world.now)
    try:
        parts = engine.answers._parts
        people = parts.people.many(world.contacts[:50], world.now, parts.patience(50))
        found = replenishments(parts, [person.view for person in people], world.now, parts.patience(50))
    finally:
        engine.close()
    assert len(found) == 50
    assert sum(bool(each) for each in found) > 25
    today = world.now.date()
    for each in found:
        chances = [one.probability_30d for one in each]
        assert chances == sorted(chances, reverse=True)
        assert all(today <= one.low <= one.due for one in each)
