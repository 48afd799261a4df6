"""Rankings of a moment ago: given again only to somebody who did nothing since, from the same catalogue."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from models.catalogue import Catalogue
from serving.recommend import RecommendationLadder
from serving.schemas import RecommendationsRequest

NOW = datetime(2026, 3, 1, tzinfo=UTC)


def test_a_ranking_is_given_again_until_something_is_known_or_time_is_up(shop: Any) -> None:
    asked: list[int] = []
    shop.champions.models["next-purchase"] = shop.ranks(["i08", "i01"], before=lambda: asked.append(1))
    parts = shop.parts()
    ladder, seconds = RecommendationLadder(parts), shop.settings.ranking_seconds

    def ask(after: float = 0.0, **more: Any) -> list[str]:
        request = RecommendationsRequest(contact_id="c1", k=1, **more)
        return [item.item_id for item in ladder.answer(request, NOW + timedelta(seconds=after)).items]

    assert ask() == ask() == ask(seconds - 1) == ["i08"]
    assert len(asked) == 1
    assert ask(exclude_ids=["i08"]) == ["i01"]  # what may be shown is looked at anew
    assert len(asked) == 1
    ask(seconds + 1)
    assert len(asked) == 2
    ask(item_ids=["i02"], placement="cart")
    assert len(asked) == 3
    shop.live.states["c1"] = replace(shop.live.states["c1"], as_of=6)  # an event makes another state
    ask(seconds + 1)
    assert len(asked) == 4
    parts.shelf._seen = object()
    parts.shelf.refresh(NOW)
    assert isinstance(parts.shelf.catalogue(), Catalogue)
    ask(seconds + 1)
    assert len(asked) == 5


def test_a_ranking_made_ahead_is_there_when_it_is_asked_for_and_decides_nothing(shop: Any) -> None:
    asked: list[int] = []
    shop.champions.models["next-purchase"] = shop.ranks(["i08"], before=lambda: asked.append(1))
    ladder = RecommendationLadder(shop.parts())
    for contact in ("c1", "nobody"):
        ladder.rank_ahead(contact, NOW)
    assert (len(asked), shop.decisions) == (1, [])
    assert ladder.answer(RecommendationsRequest(contact_id="c1", k=1), NOW).source == "ranked"
    assert len(asked) == 1
