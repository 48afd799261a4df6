"""What contacts grow into, among their recommendations and as columns for triggers."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from features.events.lake import Lake
from models.catalogue import Catalogue
from models.needs import GrownNeeds, NeedRule, NeedRules
from nextbest.columns import EVENT_COLUMNS, ITEM_COLUMNS, ITEM_STATISTICS
from nextbest.settings import Settings
from serving.needs import NeedBook, OpenNeed, needs_frame, rates
from serving.recommend import RecommendationLadder
from serving.schemas import Recommendations, RecommendationsRequest

DAY = 86_400.0
RULE: Mapping[str, Any] = {
    "name": "clothes", "category": "clothes/kids*", "size": r"Age (\d+)", "until": 14, "after": "P365D",
    "every": "P365D", "early": "P30D", "late": "P60D",
}  # fmt: skip
KINDS = ("sweater", "trousers")
NOTHING = pd.DataFrame({"contact_id": [], "item_id": [], "time": []})


def clothes(**change: Mapping[str, Any]) -> pd.DataFrame:
    """Sweaters and trousers for ages 5 to 9, each bought once by whoever buys it."""
    rows = [
        {
            "item_id": f"{kind}{age}", "title": f"{kind} Age {age}", "category": f"clothes/kids/{kind}",
            "price": 20.0, **dict.fromkeys(ITEM_STATISTICS, 0.0), "sold_90d": 10.0 + (kind == "trousers"),
            "buyers": 40.0, **change.get(f"{kind}{age}", {}),
        }
        for kind in KINDS
        for age in range(5, 10)
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=[*ITEM_COLUMNS, *ITEM_STATISTICS])


Ask = Callable[..., Recommendations]


@pytest.fixture
def ask(shop: Any) -> Ask:
    """Recommend to c1, who bought what is given so many days ago."""
    others = shop.frame

    def recommend(
        bought: Mapping[str, float],
        items: pd.DataFrame | None = None,
        refunds: pd.DataFrame = NOTHING,
        live: Mapping[str, float] | None = None,
        rows: pd.DataFrame = NOTHING,
        **asked: Any,
    ) -> Recommendations:
        shop.frame = pd.concat([others, clothes() if items is None else items], ignore_index=True)
        shop.live.states["c1"] = shop.buyer(bought=bought)
        book = NeedBook(
            NeedRules(needs=(NeedRule.model_validate(RULE),)),
            lambda *_: (rows, refunds),
            lambda _: live or {},
        )
        parts = shop.parts()
        book.refresh(parts.shelf.catalogue(), shop.now)
        parts = type(parts)(**{**vars(parts), "needs": book})
        return RecommendationLadder(parts).answer(RecommendationsRequest(contact_id="c1", **asked), shop.now)

    return recommend


def grown(answer: Recommendations) -> dict[str, Mapping[str, Any]]:
    return {item.item_id: item.reason.because for item in answer.items if item.reason.kind == "grown_out_of"}


def test_a_size_up_in_a_year_with_its_reason(ask: Ask, shop: Any) -> None:
    answer = ask({"sweater6": 365.0}, k=10)
    found = grown(answer)
    assert list(found) == ["sweater7", "trousers7"], "the same kind first, though trousers sell more"
    assert dict(found["sweater7"]) == {
        "item_id": "sweater6", "title": "sweater Age 6", "bought_days_ago": 365.0, "rule": "clothes",
        "size": "7", "filled_by": "needs",
    }  # fmt: skip
    assert [item.item_id for item in answer.items][1:3] == ["sweater7", "trousers7"]
    assert "sweater6" not in {item.item_id for item in answer.items}, "bought once, not offered again"
    assert len(answer.items) == 10
    assert (np.diff([item.score for item in answer.items]) <= 0).all()
    assert answer.source != "needs"
    sources = {item: source for item, _, source in shop.decisions[-1]["shown"]}
    assert sources["sweater7"] == "needs"


@pytest.mark.parametrize("days", [300.0, 334.0, 426.0, 600.0])
def test_not_before_its_window_and_not_after_it(ask: Ask, days: float) -> None:
    assert grown(ask({"sweater6": days})) == {}


def test_only_on_pages_about_nothing_in_particular_and_within_their_share(ask: Ask) -> None:
    assert grown(ask({"sweater6": 365.0}, placement="product", item_ids=["i01"])) == {}
    assert len(grown(ask({"sweater6": 365.0}, placement="email", k=4))) == 1
    assert list(grown(ask({"sweater6": 365.0}, k=1))) == []


def test_what_may_not_be_shown_is_not(ask: Ask) -> None:
    stock = clothes(sweater7={"in_stock": False}, trousers7={"hidden": True})
    assert grown(ask({"sweater6": 365.0}, stock)) == {}
    assert list(grown(ask({"sweater6": 365.0}, exclude_ids=["sweater7"]))) == ["trousers7"]


def test_what_was_sent_back_grows_into_nothing(ask: Ask, shop: Any) -> None:
    now = shop.now.timestamp()
    back = pd.DataFrame({"contact_id": ["c1"], "item_id": ["sweater6"], "time": [now - 350 * DAY]})
    assert grown(ask({"sweater6": 365.0}, refunds=back)) == {}
    assert grown(ask({"sweater6": 365.0}, live={"sweater6": now - DAY})) == {}
    earlier = back.assign(time=now - 400 * DAY)
    assert grown(ask({"sweater6": 365.0}, refunds=earlier)), "sent back, then bought again"
    assert next(iter(grown(ask({"sweater6": 365.0, "trousers6": 360.0}, refunds=back)))) == "trousers7"


def test_a_log_that_does_not_answer_costs_no_recommendation(ask: Ask, shop: Any) -> None:
    class Down(dict[str, float]):
        def get(self, *_: Any) -> Any:
            raise OSError("the log is down")

    answer = ask({"sweater6": 365.0}, live=Down({"x": 1.0}))
    assert answer.items
    assert grown(answer) == {}


def test_without_anything_else_needs_answer_alone(ask: Ask, shop: Any) -> None:
    answer = ask({"sweater6": 365.0}, clothes().iloc[[1, 2]], category="clothes", k=3)
    assert [item.item_id for item in answer.items] == ["sweater7"]


def history(contacts: int, share: float) -> pd.DataFrame:
    """Contacts who bought age 6 two years ago; a share of them age 7 a year later."""
    now = datetime(2026, 3, 1, tzinfo=UTC).timestamp()
    rows = [(f"x{n}", "sweater6", now - 730 * DAY) for n in range(contacts)]
    rows += [(f"x{n}", "trousers7", now - 370 * DAY) for n in range(round(contacts * share))]
    return pd.DataFrame(rows, columns=["contact_id", "item_id", "time"])


def test_probability_is_learned_where_windows_tell(ask: Ask, shop: Any) -> None:
    told = {item.item_id: item.probability for item in ask({"sweater6": 365.0}, rows=history(40, 0.5)).items}
    few = {item.item_id: item.probability for item in ask({"sweater6": 365.0}, rows=history(20, 0.5)).items}
    # 30 of 90 days lie ahead, 30 have passed: .5 * (1/3) / (1 - .5 / 3), shared by 11 and 12 sales
    assert told["sweater7"] == pytest.approx(0.2 * 11 / 23)
    assert told["sweater7"] + told["trousers7"] == pytest.approx(0.2)
    assert few["sweater7"] < 0.01, "as likely as it sells"
    week = ask({"sweater6": 365.0}, rows=history(40, 0.5), horizon_days=7)
    assert {i.item_id: i.probability for i in week.items}["sweater7"] < told["sweater7"] / 3


def test_a_rate_counts_windows_that_closed() -> None:
    shelf = Catalogue.from_frame(clothes(), 0.0)
    book = GrownNeeds([NeedRule.model_validate(RULE)], shelf)
    now = datetime(2026, 3, 1, tzinfo=UTC).timestamp()
    assert rates(book, history(40, 0.5), now) == {"clothes": 0.5}
    assert rates(book, history(40, 0.5), now - 320 * DAY) == {}
    assert rates(book, NOTHING, now) == {}


def test_chances_fall_as_the_window_passes() -> None:
    need = OpenNeed("r", "7", "a", 0.0, 0.0, 90 * DAY, ["b"], np.ones(1), 0.5)
    chances = [float(need.chances(day * DAY, 30)[0]) for day in (0, 30, 60, 75, 90)]
    assert chances[0] == pytest.approx(0.5 / 3)
    assert chances[2] == pytest.approx(0.25, abs=0.01)
    assert chances[3] > chances[4] == 0.0


@pytest.fixture
def stored(tmp_path: Path) -> Settings:
    """A lake and a pair table of three contacts, and the rule in a file."""
    rules = tmp_path / "needs.yaml"
    rules.write_text(yaml.safe_dump({"needs": [dict(RULE)]}))
    settings = Settings(home=tmp_path, needs=rules)
    now = pd.Timestamp("2026-03-01", tz="UTC")
    rows = [("a", "sweater6", 365), ("b", "sweater6", 300), ("c", "sweater6", 365), ("d", "i00", 365)]
    frame = pd.DataFrame(rows, columns=["contact_id", "item_id", "days"])
    frame["timestamp"] = (now - pd.to_timedelta(frame["days"], unit="D")).astype("datetime64[us, UTC]")
    frame["repeat_last"] = frame["timestamp"].astype("int64") / 1e6
    looked = frame.assign(timestamp=frame["timestamp"] + timedelta(days=200))  # looked at again: no purchase
    settings.tables.mkdir(parents=True)
    pd.concat([frame, looked]).drop(columns="days").to_parquet(settings.tables / "contact_item.parquet")
    back = dict.fromkeys(EVENT_COLUMNS) | {
        "event_id": "r", "event": "order_refunded", "contact_id": "c", "item_id": "sweater6",
        "timestamp": now - timedelta(days=1), "received_at": now,
    }  # fmt: skip
    lake = pd.DataFrame([back], columns=list(EVENT_COLUMNS))
    for name in ("timestamp", "received_at"):
        lake[name] = lake[name].astype("datetime64[us, UTC]")
    Lake(settings.lake).write([lake.astype({"quantity": float, "price": float})])
    return settings


def test_columns_for_triggers(stored: Settings) -> None:
    now = pd.Timestamp("2026-03-01", tz="UTC").to_pydatetime()
    shelf = Catalogue.from_frame(clothes(), now.timestamp())
    found = needs_frame(stored, ["d", "c", "b", "a"], now, shelf)
    assert found["needs.due"].to_dict() == {"d": 0.0, "c": 0.0, "b": 0.0, "a": 1.0}
    assert found["needs.next_days"].fillna(-1).to_dict() == {"d": -1, "c": -1, "b": 35.0, "a": 0.0}
    later = needs_frame(stored, ["b"], now + timedelta(days=35), shelf)
    assert later["needs.due"].tolist() == [1.0]
    none = needs_frame(stored.model_copy(update={"needs": None}), ["a"], now, shelf)
    assert none["needs.due"].tolist() == [0.0]


def test_the_book_reads_the_state_folder(stored: Settings, shop: Any) -> None:
    book = NeedBook.of(stored)
    now = pd.Timestamp("2026-03-01", tz="UTC").to_pydatetime()
    shelf = Catalogue.from_frame(clothes(), now.timestamp())
    assert book.open(shop.buyer(bought={"sweater6": 365.0}).at(now.timestamp())) == []
    book.refresh(shelf, now)
    view = shop.buyer(bought={"sweater6": 365.0}).at(now.timestamp())
    assert [need.size for need in book.open(view)] == ["7"]
    assert book.open(shop.buyer("c", {"sweater6": 365.0}).at(now.timestamp())) == [], "sent back"
