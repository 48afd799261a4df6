"""The categories a contact buys again, from the tables and what happened since."""

from datetime import timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest

from features.state import ContactState
from models.replenishment import Replenishment
from serving.next_orders import replenishments

DAY = 86_400.0
FAST, SLOW = "home/soap", "home/paper"


@pytest.fixture(scope="module")
def model() -> Replenishment:
    """Soap every ten days, paper every thirty, on trips every other day."""
    random = np.random.default_rng(1)
    rows = []
    for contact in range(80):
        due = dict.fromkeys((FAST, SLOW), 0.0)
        for day in range(contact % 2, 240, 2):
            for name, usual in ((FAST, 10), (SLOW, 30)):
                if day >= due[name]:
                    rows.append((f"x{contact:02d}", name, 20_000 + day))
                    due[name] = day + usual + random.integers(-3, 4)
            rows.append((f"x{contact:02d}", "food/any", 20_000 + day))
    frame = pd.DataFrame(rows, columns=["contact_id", "category", "day"])
    frame = frame.sort_values(["contact_id", "category", "day"], ignore_index=True)
    frame = frame.astype({"contact_id": "category", "category": "category"})
    return Replenishment.learn(frame, 20_240 * DAY)


def store(shop: Any, bought: dict[tuple[str, str], list[float]]) -> None:
    """Write the pair table of purchases so many days ago."""
    rows = [(contact, name, ago) for (contact, name), days in bought.items() for ago in days]
    frame = pd.DataFrame(rows, columns=["contact_id", "category", "ago"]).sort_values("contact_id")
    stamps = pd.Timestamp(shop.now) - pd.to_timedelta(frame.pop("ago"), unit="D")
    frame["timestamp"] = stamps.astype("datetime64[us, UTC]")
    shop.settings.tables.mkdir(parents=True, exist_ok=True)
    frame.to_parquet(shop.settings.tables / "contact_category.parquet", index=False)


def view(shop: Any, contact_id: str, **last_days_ago: float) -> Any:
    names = {"fast": FAST, "slow": SLOW}
    now = shop.now.timestamp()
    row = {
        "contact_id": contact_id, "last_seen": now, "lists_at": now,
        "category_names": [names[key] for key in last_days_ago], "category_90d": [1.0] * len(last_days_ago),
        "category_last": [now - days * DAY for days in last_days_ago.values()],
    }  # fmt: skip
    return ContactState.from_row(row).at(now)


def ask(shop: Any, *views: Any) -> Any:
    parts = shop.parts()
    return replenishments(parts, views, shop.now, parts.deadline())


BOUGHT = {
    ("a", FAST): [31.0, 21.0, 11.0, 1.0], ("a", SLOW): [85.0, 55.0, 25.0], ("a", "food/any"): [3.0, 1.0],
    ("b", FAST): [8.0],
}  # fmt: skip


def test_the_likeliest_first_with_dates_around_the_usual(shop: Any, model: Any) -> None:
    store(shop, BOUGHT)
    shop.champions.models["replenishment"] = model
    (found,) = ask(shop, view(shop, "a", fast=1.0, slow=25.0))
    assert [each.category for each in found] == [FAST, SLOW]
    soap, paper = found
    assert (soap.purchases, paper.purchases) == (4, 3)
    assert soap.usual_days == pytest.approx(10, abs=1.5)
    assert paper.usual_days == pytest.approx(30, abs=3)
    today = shop.now.date()
    assert timedelta(6) <= soap.due - today <= timedelta(12)
    assert timedelta(2) <= paper.due - today <= timedelta(9)
    for each in found:
        assert each.high is not None
        assert today <= each.low <= each.due <= each.high
        assert 0.7 < each.probability_30d <= 1


def test_what_was_bought_since_moves_the_date(shop: Any, model: Any) -> None:
    store(shop, BOUGHT)
    shop.champions.models["replenishment"] = model
    before, after = (
        {each.category: each for each in ask(shop, view(shop, "a", slow=days))[0]} for days in (25.0, 0.0)
    )
    assert after[SLOW].purchases == before[SLOW].purchases + 1
    assert after[SLOW].due > before[SLOW].due + timedelta(15)
    assert after[FAST] == before[FAST]


def test_one_purchase_tells_no_habit_and_strangers_have_none(shop: Any, model: Any) -> None:
    store(shop, BOUGHT)
    shop.champions.models["replenishment"] = model
    nobody = ContactState.empty(None).at(shop.now.timestamp())
    found = ask(shop, view(shop, "b", fast=8.0), view(shop, "nobody"), nobody, view(shop, "a"))
    assert [len(each) for each in found] == [0, 0, 0, 2]


def test_what_was_given_up_is_not_shown(shop: Any, model: Any) -> None:
    store(shop, {("a", FAST): [990.0, 980.0, 970.0], ("a", SLOW): [31.0, 1.0]})
    shop.champions.models["replenishment"] = model
    (found,) = ask(shop, view(shop, "a"))
    assert SLOW in [each.category for each in found]
    assert all(each.due - shop.now.date() <= timedelta(365) for each in found)


def test_without_model_or_tables_there_is_nothing(shop: Any, model: Any) -> None:
    assert ask(shop, view(shop, "a")) == [[]]
    shop.champions.models["replenishment"] = model
    assert ask(shop, view(shop, "a")) == [[]]
    store(shop, BOUGHT)
    shop.champions.models["replenishment"] = object()
    assert ask(shop, view(shop, "a"), view(shop, "b")) == [[], []]
