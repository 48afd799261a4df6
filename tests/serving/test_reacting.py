"""What somebody does is in the very next answer: the real event log, fold and ladder on the small shop."""

import itertools
import math
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest

from features.events.log import EventLog
from features.live import LiveContacts
from features.points import Rules
from models.alternatives import alternatives
from models.basket import Basket, BasketConfig, Baskets
from models.catalogue import Catalogue
from nextbest.columns import LOOKS
from serving.recommend import RecommendationLadder
from serving.schemas import RecommendationsRequest

NUMBERS = itertools.count()
WHO = [{"anonymous_id": "v1"}, {"contact_id": "c1"}, {"contact_id": "new"}]
IDS = ["visitor", "regular", "new contact"]


class Stored:
    """The feature store's rows as of a position before everything that happens here."""

    def __init__(self, shop: Any) -> None:
        state = shop.buyer()
        self.row = {"as_of": 0, "last_seen": state.timestamp, "lists_at": state.lists_at} | state.arrays
        self.row |= state.counters | state.times

    def stamp(self) -> object:
        return "built once"

    def online(self, service: str, contact_ids: Sequence[str]) -> list[dict[str, Any] | None]:
        return [self.row if contact == "c1" else None for contact in contact_ids]


@pytest.fixture
def live(shop: Any) -> Any:
    """A shop over a real log, with rules from real counts, and a ranker that never saw a view."""
    log = EventLog(shop.settings.event_log_url)
    paths = dict(zip(shop.frame["item_id"], shop.frame["category"], strict=True))
    shop.log = log
    shop.live = LiveContacts(Stored(shop), log, Rules.load(None), lambda: paths)
    every = [*["i00 i05"] * 9, *["i00 i03"] * 9, *["i01 i11"] * 6, *(f"i{n % 12:02d}" for n in range(90))]
    pairs = [(f"o{n}", item) for n, basket in enumerate(every) for item in basket.split()]
    baskets = Baskets.of([order for order, _ in pairs], [item for _, item in pairs])
    shop.champions.models["basket"] = Basket.learn(baskets, BasketConfig(min_baskets=2, false_discovery=1.0))
    ranker = shop.ranks([f"i{n:02d}" for n in (1, 4, 2, 7, 8, 5, 3, 10, 0, 11, 6, 9)])
    ranker.knows_views = False
    shop.champions.models["next-purchase"] = ranker
    yield shop
    log.close()


def happens(shop: Any, who: dict[str, str], event: str, *items: str, ago: float = 0.0) -> None:
    """Append one event for each item, so many days ago, each after what happened before."""
    order = {"order_id": f"order-{next(NUMBERS)}"} if event == "order_completed" else {}
    for item in items:
        number = next(NUMBERS)
        moment = shop.now - timedelta(days=ago, seconds=60) + timedelta(milliseconds=number)
        row = {"event_id": f"e{number}", "event": event, "timestamp": moment, "received_at": moment}
        shop.log.append([row | {"item_id": item, "price": 1.0, "quantity": 1.0} | order | who])


def ask(shop: Any, who: dict[str, str], placement: str = "home", later: float = 0.0, **asked: Any) -> Any:
    """Ask so many days after now."""
    request = RecommendationsRequest(**{"placement": placement, "k": 6} | who | asked)
    return RecommendationLadder(shop.parts()).answer(request, shop.now + timedelta(days=later))


def shown(shop: Any, who: dict[str, str], placement: str = "home", **asked: Any) -> list[str]:
    return [item.item_id for item in ask(shop, who, placement, **asked).items]


def placements(shop: Any, who: dict[str, str], item: str, later: float = 0.0) -> set[str]:
    """Return where an item is shown."""
    every = {"home": {}, "email": {"no_repeat_days": 0}, "product": {"item_ids": ["i01"]}, "buy_again": {}}
    return {
        name for name, asked in every.items() if item in shown(shop, who, name, k=12, later=later, **asked)
    }


def bread(items: Sequence[str]) -> int:
    """Count the items of one category: every third."""
    return sum(int(item[1:]) % 3 == 1 for item in items)


@pytest.mark.parametrize("who", WHO, ids=IDS)
def test_what_was_looked_at_brings_its_category(live: Any, who: dict[str, str]) -> None:
    seen = ["i01", "i04", "i07"]
    unseen = shown(live, who, k=4, exclude_ids=seen)
    happens(live, who, "product_viewed", *seen)
    answer = ask(live, who, k=4, exclude_ids=seen)
    after = [item.item_id for item in answer.items]
    assert bread(after) > bread(unseen)
    reacting = [item for item in answer.items if item.reason.kind == "because_you_viewed"]
    assert {item.reason.because["item_id"] for item in reacting} <= set(seen)
    assert len(reacting) >= 2
    if "anonymous_id" in who:
        assert (answer.source, answer.fallback, answer.identified) == ("basket", "no_history", False)
    del live.champions.models["basket"]
    assert bread(shown(live, who, k=4, exclude_ids=seen)) > bread(unseen), "likes alone say so too"


def test_a_ranker_that_learned_from_views_is_left_alone(live: Any) -> None:
    happens(live, WHO[1], "product_viewed", "i00")
    assert "because_you_viewed" in {item.reason.kind for item in ask(live, WHO[1]).items}
    live.champions.models["next-purchase"].knows_views = True
    assert shown(live, WHO[1], k=3) == ["i01", "i04", "i02"], "as it ranks"


def test_looks_leave_a_ranking_that_does_not_go_by_them_as_it_is(live: Any) -> None:
    asked: list[Any] = []
    ranker = live.champions.models["next-purchase"]
    recommend = ranker.recommend

    def counting(view: Any, *rest: Any) -> Any:
        asked.append(view)
        return recommend(view, *rest)

    ranker.recommend = counting
    ladder, request = RecommendationLadder(live.parts()), RecommendationsRequest(contact_id="c1", k=6)
    happens(live, WHO[1], "product_viewed", "i01")
    ladder.answer(request, live.now)
    for event in LOOKS:
        happens(live, WHO[1], event, "i00")
        ladder.answer(request, live.now)
    assert [(view.viewed_items, set(view.step_names) & {*LOOKS}) for view in asked] == [([], set())]
    for event in ("product_added", "order_completed", "message_sent"):
        before = len(asked)
        happens(live, WHO[1], event, "i03")
        ladder.answer(request, live.now)
        assert len(asked) == before + 1, event
    ranker.knows_views = True
    happens(live, WHO[1], "product_viewed", "i00")
    ladder.answer(request, live.now)
    assert asked[-1].viewed_items[0] == "i00"


def test_a_view_of_nothing_known_costs_no_ranking(live: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    del live.champions.models["basket"]
    happens(live, WHO[1], "product_viewed", "unheard of")
    assert (ask(live, WHO[1]).source, ask(live, WHO[1]).fallback) == ("ranked", None)
    monkeypatch.setattr("serving._rungs.like_viewed", lambda *_: 1 / 0)
    happens(live, WHO[1], "product_viewed", "i00")
    assert (ask(live, WHO[1]).source, ask(live, WHO[1]).fallback) == ("ranked", None)


def test_each_item_is_written_down_with_who_gave_it(live: Any) -> None:
    happens(live, WHO[1], "product_viewed", "i00")
    ask(live, WHO[1])
    sources = {item: source for item, _, source in live.decisions[-1]["shown"]}
    assert sources["i01"] == "ranked"
    assert {"basket", "viewed"} <= set(sources.values())


def test_views_of_before_the_last_order_and_of_long_ago_say_nothing(live: Any) -> None:
    before = shown(live, WHO[1])
    happens(live, WHO[1], "product_viewed", "i00", ago=8.0)
    assert shown(live, WHO[1]) == before
    happens(live, WHO[1], "product_viewed", "i00")
    assert shown(live, WHO[1]) != before
    happens(live, WHO[1], "order_completed", "i06")
    assert "because_you_viewed" not in {item.reason.kind for item in ask(live, WHO[1]).items}


@pytest.mark.parametrize("who", WHO, ids=IDS)
@pytest.mark.parametrize("told", [True, False], ids=["told", "known from events"])
def test_a_cart_shows_what_goes_with_it_and_nothing_in_its_place(
    live: Any, who: dict[str, str], told: bool
) -> None:
    happens(live, who, "product_added", "i00")
    asked = {"item_ids": ["i00"]} if told else {}
    answer = ask(live, who, "cart", k=12, **asked)
    items = [item.item_id for item in answer.items]
    assert (items[0], answer.items[0].role, answer.source) == ("i05", "complement", "basket")
    catalogue = Catalogue.from_frame(live.frame, live.now.timestamp())
    assert not {"i00", *alternatives(catalogue, "i00", 12).item_ids[:3]} & set(items), "i03 is one by rule"


def test_the_cart_is_what_was_put_in_and_not_taken_out_since_the_last_order(live: Any) -> None:
    def cart() -> list[str]:
        (view,) = live.live.visitors(["v1"], live.now.timestamp())
        return view.cart

    who = WHO[0]
    happens(live, who, "product_added", "i09", ago=31)
    assert cart() == [], "left a month ago"
    happens(live, who, "product_added", "i01", "i00", "i02")
    happens(live, who, "product_removed", "i00")
    assert cart() == ["i01", "i02"]
    happens(live, who, "product_added", "i00")
    assert cart() == ["i01", "i02", "i00"]
    happens(live, who, "order_completed", "i00")
    assert cart() == []
    happens(live, who, "product_added", "i05")
    assert cart() == ["i05"]


@pytest.mark.parametrize("who", WHO, ids=IDS)
def test_what_is_in_the_cart_is_nowhere_else_until_it_is_taken_out(live: Any, who: dict[str, str]) -> None:
    assert placements(live, who, "i11") == {"home", "email", "product"}
    happens(live, who, "product_added", "i11")
    assert placements(live, who, "i11") == set()
    assert "i11" not in shown(live, who, "cart", k=12)
    happens(live, who, "product_removed", "i11")
    assert placements(live, who, "i11") == {"home", "email", "product"}


@pytest.mark.parametrize("who", WHO, ids=IDS)
@pytest.mark.parametrize("again", [True, False], ids=["by nature again", "once"])
def test_what_was_bought_is_gone_until_it_is_due(live: Any, who: dict[str, str], again: bool) -> None:
    flags = [again if item == "i11" else None for item in live.frame["item_id"]]
    live.frame = live.frame.assign(repeatable=flags)
    happens(live, who, "order_completed", "i11")
    assert placements(live, who, "i11") == set()
    assert placements(live, who, "i11", later=4.0) == set()
    due = {"home", "email", "product", "buy_again"} if again else set()
    assert placements(live, who, "i11", later=9.0) == due, "ten days are usual"
    assert placements(live, who, "i11", later=400.0) == due


def test_whoever_says_who_they_are_is_known_by_what_they_did(live: Any) -> None:
    happens(live, WHO[0], "product_viewed", "i01", "i04")
    happens(live, WHO[0], "product_added", "i11")
    before = ask(live, WHO[2])
    assert (before.fallback, before.identified) == ("unknown_contact", False)
    live.log.write_identities([{"anonymous_id": "v1", "contact_id": "new", "timestamp": live.now}])
    after = ask(live, WHO[2])
    assert after.identified
    assert {"i01", "i04"} & {item.reason.because.get("item_id") for item in after.items}
    assert ask(live, WHO[2], "cart").items
    assert "i11" not in shown(live, {"contact_id": "new"}, k=12)


def test_an_estimate_is_the_rules_share_and_not_its_lift(live: Any) -> None:
    happens(live, WHO[0], "product_added", "i00")
    first = ask(live, WHO[0], "cart", k=1).items[0]
    rate = (100 - 5) * math.log(2) / 90 / 500
    sure = first.reason.because["confidence"]
    assert first.probability == pytest.approx(1 - (1 - sure) * math.exp(-rate * 30))
