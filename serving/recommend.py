"""The ladder of recommendations: who is asked first for which placement, and who fills up what is missing."""

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, ClassVar

import numpy as np

from models.base import Ranking, Reason
from models.catalogue import Catalogue
from models.eligibility import eligible
from models.frequency import Frequency
from models.popularity import Popularity, PopularityConfig
from serving.budget import Deadline, Skipped
from serving.decisions import new_id
from serving.parts import Parts
from serving.people import Person
from serving.schemas import AsOf, ItemReason, Recommendations, RecommendationsRequest, RecommendedItem

log = logging.getLogger("nextbest.answers")

MODEL_FAILED = "model_failed"
MOST = 400
"""Items a rung is asked for at most."""

TRENDING = Popularity(PopularityConfig(variant="trending"))
POPULAR = Popularity(PopularityConfig(variant="category"))
FREQUENCY = Frequency()


@dataclass(frozen=True, slots=True)
class _Pick:
    """An item to show, before it becomes part of an answer."""

    item_id: str
    score: float
    probability: float
    reason: ItemReason


@dataclass
class _Ask:
    """One request on its way down the ladder."""

    asked: RecommendationsRequest
    person: Person
    catalogue: Catalogue
    sellable: Catalogue
    deadline: Deadline
    most: int
    picked: list[_Pick] = field(default_factory=list)
    later: list[_Pick] = field(default_factory=list)
    """Eligible, but of a category that has had its share."""
    taken: set[str] = field(default_factory=set)
    per_category: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class _Given:
    """What a rung gives: a ranking, and the registered version behind it."""

    ranking: Ranking
    version: str | None = None


class RecommendationLadder:
    """Climbs down from the learned ranking to what sells, until k items may be shown."""

    LADDERS: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "home": ("ranked", "basket", "personal", "trending", "popular"),
        "email": ("ranked", "basket", "personal", "trending", "popular"),
        "product": ("basket", "similar", "ranked", "personal", "trending", "popular"),
        "cart": ("basket", "ranked", "personal", "trending", "popular"),
        "buy_again": ("ranked", "personal"),
        "trending": ("trending", "popular"),
    }
    """Placement -> rungs, best first. The reason to fall back is why the first of them gave nothing."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._rungs: dict[str, Callable[[_Ask], _Given]] = {
            "ranked": self._ranked,
            "basket": self._basket,
            "similar": self._similar,
            "personal": self._personal,
            "trending": lambda ask: self._popularity(TRENDING, ask, ()),
            "popular": lambda ask: self._popularity(POPULAR, ask, ask.asked.item_ids),
        }

    def answer(self, asked: RecommendationsRequest, now: datetime) -> Recommendations:
        """Return at most k items; never raises for what the platforms do."""
        deadline = self._parts.deadline()
        person = self._parts.people.one(asked.contact_id, asked.anonymous_id, now, deadline)
        catalogue = self._parts.shelf.catalogue()
        if catalogue is None:
            return self._result(asked, person, [], ("none", None, "no_catalogue"), now)
        ask = _Ask(
            asked, person, catalogue, self._parts.shelf.sellable(asked.category), deadline,
            most=_share_of_a_category(asked),
        )  # fmt: skip
        return self._result(asked, person, ask.picked, self._climb(ask), now)

    def _climb(self, ask: _Ask) -> tuple[str, str | None, str | None]:
        """Fill ask.picked; return source, version and the reason to fall back."""
        rungs = self.LADDERS[ask.asked.placement]
        reason: str | None = None
        answered: tuple[str, str | None] | None = None
        for rung in rungs:
            try:
                given = self._rungs[rung](ask)
            except Skipped as skipped:
                reason = reason or (skipped.reason if rung == rungs[0] else None)
                continue
            except Exception:
                log.exception("rung %s failed", rung)
                reason = reason or (MODEL_FAILED if rung == rungs[0] else None)
                continue
            if self._pick(ask, given.ranking, first=answered is None) and answered is None:
                answered = given.ranking.source, given.version
            elif rung == rungs[0] and answered is None:
                reason = "nothing_eligible"
            if len(ask.picked) == ask.asked.k:
                break
        if answered is None:
            return "none", None, reason or "nothing_eligible"
        return *answered, reason

    def _ranked(self, ask: _Ask) -> _Given:
        person, context = ask.person, ask.asked.item_ids
        if person.trouble:
            raise Skipped(person.trouble)
        if not (person.has_history or context):
            raise Skipped("no_history" if person.known else "unknown_contact")
        loaded = self._parts.champion("next-purchase")
        ranking = ask.deadline.run(
            loaded.version,
            lambda: loaded.model.recommend(person.view, ask.catalogue, _plenty(ask), context),
        )
        return _Given(ranking, loaded.version)

    def _basket(self, ask: _Ask) -> _Given:
        if not (ask.asked.item_ids or ask.person.has_history):
            raise Skipped("no_evidence")
        loaded = self._parts.champion("basket")
        ranking = ask.deadline.run(
            loaded.version,
            lambda: loaded.model.recommend(ask.person.view, ask.catalogue, _plenty(ask), ask.asked.item_ids),
        )
        if not len(ranking):
            raise Skipped("no_evidence")
        return _Given(ranking, loaded.version)

    def _similar(self, ask: _Ask) -> _Given:
        if not ask.asked.item_ids:
            raise Skipped("no_evidence")
        given = self._popularity(POPULAR, ask, ask.asked.item_ids)
        kinds = [place for place, reason in enumerate(given.ranking.reasons) if reason.kind == "popular_in"]
        return _Given(given.ranking.take(kinds))

    def _personal(self, ask: _Ask) -> _Given:
        own = sum(item in ask.catalogue.index for item in ask.person.view.repeat_items)
        if not own:
            raise Skipped(ask.person.trouble or "no_history")
        return _Given(FREQUENCY.recommend(ask.person.view, ask.catalogue, min(own, _plenty(ask))))

    def _popularity(self, model: Popularity, ask: _Ask, context: Sequence[str]) -> _Given:
        return _Given(model.recommend(ask.person.view, ask.sellable, _plenty(ask), context))

    def _pick(self, ask: _Ask, ranking: Ranking, first: bool) -> bool:
        """Add what may be shown; tell whether that was anything."""
        asked, before = ask.asked, len(ask.picked)
        keep = self._eligible(ask, ranking)
        probabilities = self._probabilities(ask, ranking, keep)
        ceiling = ask.picked[-1].score if ask.picked else math.inf
        shift = max(float(ranking.scores[keep[0]]) - ceiling, 0.0) if keep else 0.0
        for place, probability in zip(keep, probabilities, strict=True):
            item = ranking.item_ids[place]
            reason = _reason(ranking.reasons[place], None if first else ranking.source)
            ask.taken.add(item)
            self._place(ask, _Pick(item, float(ranking.scores[place]) - shift, probability, reason))
            if len(ask.picked) == asked.k:
                break
        self._fill_from_later(ask)
        return len(ask.picked) > before

    @staticmethod
    def _eligible(ask: _Ask, ranking: Ranking) -> list[int]:
        """Return the places of new items that may be shown; looks no further than there is need."""
        asked, keep = ask.asked, list[int]()
        step = 2 * asked.k + 10
        for start in range(0, len(ranking), step):
            ids = ranking.item_ids[start : start + step]
            may = eligible(
                ids, ask.person.view, ask.catalogue, exclude=asked.exclude_ids, cart=asked.item_ids,
                placement=asked.placement, category=asked.category,
            )  # fmt: skip
            keep += [start + place for place in may if ids[place] not in ask.taken]
            if len(keep) >= 2 * asked.k:
                break
        return keep

    @staticmethod
    def _place(ask: _Ask, item: _Pick) -> None:
        category = str(ask.catalogue.categories[ask.catalogue.index[item.item_id]])
        count = ask.per_category.get(category, 0)
        if category and count >= ask.most:
            ask.later.append(item)
            return
        ask.per_category[category] = count + 1
        ask.picked.append(item)

    @staticmethod
    def _fill_from_later(ask: _Ask) -> None:
        """Put a rung's own surplus before what lower rungs would give."""
        missing = ask.asked.k - len(ask.picked)
        ask.picked.extend(ask.later[:missing])
        ask.later.clear()

    def _probabilities(self, ask: _Ask, ranking: Ranking, keep: Sequence[int]) -> list[float]:
        """Return P(bought within the horizon): the model's, or the shelf's estimate."""
        if ranking.probabilities is not None:
            given = np.clip(np.nan_to_num(ranking.probabilities[keep]), 0.0, 1.0)
            return [float(value) for value in given]
        items = [ranking.item_ids[place] for place in keep]
        lifts = [max(float(ranking.reasons[place].because.get("lift", 1.0)), 1.0) for place in keep]
        days = self._parts.settings.purchase_horizon_days
        return self._parts.shelf.estimates(items, ask.person.view, days, lifts)

    def _result(
        self,
        asked: RecommendationsRequest,
        person: Person,
        picked: Sequence[_Pick],
        given: tuple[str, str | None, str | None],
        now: datetime,
    ) -> Recommendations:
        source, version, fallback = given
        items = _falling(picked, self._parts.shelf.title)
        result = Recommendations(
            recommendation_id=new_id(),
            items=items,
            source=source,
            model_version=version,
            fallback=fallback,
            as_of=AsOf(moment=now, position=person.position),
            identified=person.identified,
        )
        self._parts.record(
            decision_id=result.recommendation_id, timestamp=now, kind="recommendations",
            contact_id=asked.contact_id, anonymous_id=asked.anonymous_id, placement=asked.placement,
            campaign_id=None, shown=[[item.item_id, 1.0] for item in items],
            source=source, model_version=version, fallback=fallback,
        )  # fmt: skip
        return result


def _plenty(ask: _Ask) -> int:
    """Return how many to ask a rung for, so that enough are left when some may not be shown."""
    asked = ask.asked
    times = 8 if asked.category or asked.placement == "buy_again" else 3
    return min(MOST, times * asked.k + 20 + len(asked.exclude_ids) + len(asked.item_ids))


def _share_of_a_category(asked: RecommendationsRequest) -> int:
    """Return how many items of a category may stand together; no limit where the page is about one thing."""
    if asked.category is not None or asked.placement not in ("home", "email", "trending"):
        return asked.k
    return max(3, -(-asked.k // 3))


def _falling(picked: Sequence[_Pick], title: Callable[[str], str | None]) -> list[RecommendedItem]:
    """Return the items with scores that never rise: what was held back for its category comes later."""
    items, least = [], math.inf
    for pick in picked:
        least = min(least, pick.score)
        items.append(
            RecommendedItem(
                item_id=pick.item_id,
                title=title(pick.item_id),
                score=least,
                probability=pick.probability,
                reason=_named(pick.reason, title),
            )
        )
    return items


def _named(reason: ItemReason, title: Callable[[str], str | None]) -> ItemReason:
    """Return the reason with the title of the item it rests on, so that a page can say it."""
    item_id = reason.because.get("item_id")
    if not isinstance(item_id, str):
        return reason
    return ItemReason(kind=reason.kind, because={**reason.because, "title": title(item_id)})


def _reason(reason: Reason, filled_by: str | None) -> ItemReason:
    because: dict[str, Any] = dict(reason.because)
    if filled_by is not None:
        because["filled_by"] = filled_by
    return ItemReason(kind=reason.kind, because=because)
