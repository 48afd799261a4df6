"""The ladder of recommendations: who is asked first for which placement, and who fills up what is missing."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, ClassVar

import numpy as np

from models.alternatives import VIEWED, alternatives, leaves, like_viewed
from models.base import Ranking
from models.catalogue import Catalogue
from models.complements import Gathers, complements
from models.due import by_dueness, due_items
from models.eligibility import Gate, Terms
from models.frequency import Frequency
from models.popularity import Popularity, PopularityConfig, spread_over_categories
from serving import _reasons
from serving._chances import Chances
from serving._explore import Explored, explored, new_items, pool_of
from serving._page import Given, Page, Pick, share_of_a_category
from serving.budget import Deadline, Skipped
from serving.decisions import new_id
from serving.parts import Parts
from serving.people import Person
from serving.schemas import AsOf, Recommendations, RecommendationsRequest, RecommendedItem

log = logging.getLogger("nextbest.answers")

MODEL_FAILED = "model_failed"
LOG_UNAVAILABLE = "decision_log_unavailable"
LIMIT_RELAXED = "category_limit_relaxed"
MOST = 400
"""Items a rung is asked for at most."""
SIMILAR = 200
"""Items like another that the sequence model is asked for."""

TRENDING = Popularity(PopularityConfig(variant="trending"))
POPULAR = Popularity(PopularityConfig(variant="category"))
FREQUENCY = Frequency()


@dataclass
class _Ask:
    """One request on its way down the ladder."""

    asked: RecommendationsRequest
    person: Person
    catalogue: Catalogue
    sellable: Catalogue
    deadline: Deadline
    gate: Gate
    page: Page
    alike: frozenset[str] = frozenset()
    """Category paths whose items stand for one of the page or the cart."""
    notes: list[str] = field(default_factory=list)

    def category(self, item_id: str) -> str:
        """Return the category a share is counted by: the first CATEGORY_DEPTH levels."""
        return str(self.catalogue.categories[self.catalogue.index[item_id]])


class RecommendationLadder:
    """Climbs down from the learned ranking to what sells, until k items may be shown."""

    LADDERS: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "home": ("ranked", "basket", "personal", "viewed", "trending", "popular"),
        "email": ("ranked", "basket", "personal", "viewed", "trending", "popular"),
        "product": ("complements", "alternatives", "ranked", "personal", "trending", "popular"),
        "cart": ("complements", "ranked", "personal", "trending", "popular"),
        "buy_again": ("due_ranked", "due_personal"),
        "trending": ("rising", "popular"),
    }
    """Placement -> rungs, best first. The reason to fall back is why the first of them gave nothing."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._chances = Chances(parts)
        self._rungs: dict[str, Callable[[_Ask], Given]] = {
            "ranked": self._ranked,
            "basket": self._basket,
            "complements": self._complements,
            "alternatives": self._alternatives,
            "personal": self._personal,
            "viewed": self._viewed,
            "due_ranked": lambda ask: self._due(ask, self._ranked),
            "due_personal": lambda ask: self._due(ask, self._personal),
            "rising": self._rising,
            "trending": lambda ask: self._popularity(TRENDING, ask, ()),
            "popular": lambda ask: self._popularity(POPULAR, ask, ask.asked.item_ids),
        }

    def answer(self, asked: RecommendationsRequest, now: datetime) -> Recommendations:
        """Return at most k items; never raises for what the platforms do.

        Raises Refused for a horizon that the answering model does not know.
        """
        deadline = self._parts.deadline()
        person = self._parts.people.one(asked.contact_id, asked.anonymous_id, now, deadline)
        catalogue = self._parts.shelf.catalogue()
        if catalogue is None:
            return self._result(asked, person, new_id(), ("none", None, "no_catalogue"), now, [], [])
        ask = self._ask(asked, person, catalogue, deadline, now)
        given = self._climb(ask)
        if not ask.page.full and ask.page.relax():
            ask.notes.append(LIMIT_RELAXED)
        decision_id, picks = new_id(), ask.page.picked
        drawn = self._explored(ask, decision_id) if asked.explore else None
        if drawn is not None:
            picks = drawn.picks
        items = self._items(ask, picks, None if drawn is None else drawn.propensities)
        facts = {} if drawn is None else {"explored": drawn.facts}
        return self._result(asked, person, decision_id, given, now, items, ask.notes, facts)

    def _ask(
        self,
        asked: RecommendationsRequest,
        person: Person,
        catalogue: Catalogue,
        deadline: Deadline,
        now: datetime,
    ) -> _Ask:
        notes: list[str] = []
        days, shown = 0, tuple[str, ...]()
        if asked.placement == "email":
            settings = self._parts.settings
            days = settings.email_no_repeat_days if asked.no_repeat_days is None else asked.no_repeat_days
            shown = self._mailed(asked, deadline, days, now, notes)
        alike = leaves(catalogue, asked.item_ids) if asked.placement in ("cart", "product") else frozenset()
        terms = Terms(
            exclude=(*asked.exclude_ids, *shown), cart=asked.item_ids, placement=asked.placement,
            category=asked.category, not_of=alike if asked.placement == "cart" else (), resting_days=days,
        )  # fmt: skip
        return _Ask(
            asked, person, catalogue, self._parts.shelf.sellable(asked.category), deadline,
            Gate(person.view, catalogue, terms), Page(asked.k, share_of_a_category(asked)), alike, notes,
        )  # fmt: skip

    def _mailed(
        self, asked: RecommendationsRequest, deadline: Deadline, days: int, now: datetime, notes: list[str]
    ) -> tuple[str, ...]:
        """Return what emails showed lately; nothing, and a note, where the log does not answer."""
        contact_id = asked.contact_id
        if contact_id is None or not days:
            return ()
        since = now - timedelta(days=days)
        try:
            found = deadline.run("shown", lambda: self._parts.shown(contact_id, "email", since, now))
            return tuple(found)
        except Exception as error:
            log.warning("what emails showed before cannot be read: %s", error)
            notes.append(LOG_UNAVAILABLE)
            return ()

    def _climb(self, ask: _Ask) -> tuple[str, str | None, str | None]:
        """Fill the page; return source, version and the reason to fall back."""
        rungs = self._ladder(ask.asked)
        reason: str | None = None
        answered: tuple[str, str | None] | None = None
        for rung in rungs:
            if ask.page.full and rung != "alternatives":
                break
            try:
                given = self._rungs[rung](ask)
            except Skipped as skipped:
                reason = reason or (skipped.reason if rung == rungs[0] else None)
                continue
            except Exception:
                log.exception("rung %s failed", rung)
                reason = reason or (MODEL_FAILED if rung == rungs[0] else None)
                continue
            if self._pick(ask, given, first=answered is None) and answered is None:
                answered = given.ranking.source, given.version
            elif rung == rungs[0] and answered is None:
                reason = "nothing_eligible"
            if rung == "alternatives":
                ask.page.mix()
        if ask.page.later and not ask.page.full and rungs[-1] == "popular":
            self._pick(ask, self._spread(ask), first=False)
        if answered is None:
            return "none", None, reason or "nothing_eligible"
        return *answered, reason

    def _ladder(self, asked: RecommendationsRequest) -> tuple[str, ...]:
        if asked.placement not in ("product", "cart"):
            return self.LADDERS[asked.placement]
        if asked.show != "both":
            return (asked.show,)
        if not asked.item_ids:  # an empty cart, or a page that does not say what it shows
            return self.LADDERS["home"]
        return self.LADDERS[asked.placement]

    def _ranked(self, ask: _Ask) -> Given:
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
        return Given(ranking, loaded.version)

    def _basket(self, ask: _Ask) -> Given:
        """What goes with the items named, else with what was seen and bought last."""
        view, context = ask.person.view, ask.asked.item_ids
        if not (context or ask.person.has_history):
            raise Skipped("no_evidence")
        loaded = self._parts.champion("basket")
        ranking: Ranking = ask.deadline.run(
            loaded.version, lambda: loaded.model.recommend(view, ask.catalogue, _plenty(ask), context)
        )
        if not len(ranking):
            raise Skipped("no_evidence")
        if view.viewed_items and not context:
            reasons = [_reasons.from_views(reason, view) for reason in ranking.reasons]
            ranking = replace(ranking, reasons=reasons)
        return Given(ranking, loaded.version)

    def _complements(self, ask: _Ask) -> Given:
        """What goes with the page's product or with the whole cart."""
        context = ask.asked.item_ids
        if not context:
            raise Skipped("no_evidence")
        loaded, most = self._parts.champion("basket"), _plenty(ask)

        def gathered() -> Ranking:
            if isinstance(loaded.model, Gathers):
                return complements(loaded.model, ask.catalogue, context, most, ask.alike)
            ranking: Ranking = loaded.model.recommend(ask.person.view, ask.catalogue, most, context)
            return ranking

        ranking = ask.deadline.run(loaded.version, gathered)
        if not len(ranking):
            raise Skipped("no_evidence")
        return Given(ranking, loaded.version, "complement")

    def _alternatives(self, ask: _Ask) -> Given:
        """What could be bought instead of the page's product: the first item that is known."""
        item = next((item for item in ask.asked.item_ids if item in ask.catalogue.index), None)
        if item is None:
            raise Skipped("no_evidence")
        found = alternatives(ask.catalogue, item, _plenty(ask), self._cosines(ask, item))
        return Given(found, role="alternative")

    def _cosines(self, ask: _Ask, item: str) -> Mapping[str, float]:
        """Return how alike items are by the sequence model; nothing where there is none that can say."""
        loaded = self._parts.champions.get("next-purchase")
        similar = getattr(getattr(loaded and loaded.model, "sequence", None), "similar", None)
        if similar is None:
            return {}
        try:
            return dict(ask.deadline.run("similar", lambda: similar([item], SIMILAR)))
        except Skipped:
            return {}
        except Exception:
            log.exception("the sequence model could not say what is similar")
            return {}

    def _personal(self, ask: _Ask) -> Given:
        own = sum(item in ask.catalogue.index for item in ask.person.view.repeat_items)
        if not own:
            raise Skipped(ask.person.trouble or "no_history")
        return Given(FREQUENCY.recommend(ask.person.view, ask.catalogue, min(own, _plenty(ask))))

    def _viewed(self, ask: _Ask) -> Given:
        """Likes of what was seen last."""
        view = ask.person.view
        if not view.viewed_items:
            raise Skipped("no_evidence")
        likes = {item: self._cosines(ask, item) for item in view.viewed_items[:VIEWED]}
        return Given(like_viewed(view, ask.catalogue, _plenty(ask), likes))

    def _due(self, ask: _Ask, ranked: Callable[[_Ask], Given]) -> Given:
        """What is due of a rung's ranking, the most due and most probable first."""
        view = ask.person.view
        if not view.repeat_items:
            reason = "no_history" if ask.person.known else "unknown_contact"
            raise Skipped(ask.person.trouble or reason)
        due = due_items(view, ask.catalogue)
        if not due:
            raise Skipped("nothing_due")
        given = ranked(ask)
        chances = self._chances.of_ranking(given.ranking, view)
        return Given(by_dueness(given.ranking, due, chances), given.version)

    def _rising(self, ask: _Ask) -> Given:
        """What sells better than it used to; the placement trending shows nothing that falls for rising."""
        given = self._popularity(TRENDING, ask, ())
        rising = np.flatnonzero(given.ranking.scores > 1.0).tolist()
        if not rising:
            raise Skipped("nothing_trending")
        return Given(given.ranking.take(rising))

    def _popularity(self, model: Popularity, ask: _Ask, context: Sequence[str]) -> Given:
        return Given(model.recommend(ask.person.view, ask.sellable, _plenty(ask), context))

    def _spread(self, ask: _Ask) -> Given:
        """The best of the categories that have room left: before any limit is passed."""
        page = ask.page
        full = {name for name, count in page.per_category.items() if name and count >= page.most}
        names = [name for name in ask.sellable.rows_in_category if name not in full]
        return Given(spread_over_categories(ask.sellable, names, page.most + page.k, "sold_90d"))

    def _pick(self, ask: _Ask, given: Given, first: bool) -> bool:
        """Add what may be shown, looking no further than there is need; tell whether that was anything."""
        ranking, page, k = given.ranking, ask.page, ask.asked.k
        room = k if given.role and ask.asked.placement == "product" else k - len(page.picked)
        shift: float | None = None
        added, step = 0, 2 * k + 10
        for start in range(0, len(ranking), step):
            ids = ranking.item_ids[start : start + step]
            for place in ask.gate.keep(ids, ruled_out=given.role is None):
                if ids[place] in page.taken:
                    continue
                score = float(ranking.scores[start + place])
                shift = max(score - page.least, 0.0) if shift is None else shift
                pick = Pick(ids[place], score - shift, given, start + place, not (first or given.role))
                added += page.offer(pick, ask.category(ids[place]))
                if added == room:
                    return True
        return added > 0

    def _explored(self, ask: _Ask, decision_id: str) -> Explored:
        """Let chance give places to new items, where the placement shows more than one kind of thing."""
        settings, page = self._parts.settings, ask.page
        pool: list[str] = []
        if ask.asked.show == "both":
            new = new_items(ask.sellable, settings.new_item_days)
            new = [new[place] for place in ask.gate.keep(new)]
            pool = pool_of(page, page.picked, new, ask.category)
        return explored(page.picked, pool, settings.explore_share, decision_id, ask.catalogue)

    def _items(
        self, ask: _Ask, picks: Sequence[Pick], propensities: Sequence[float] | None
    ) -> list[RecommendedItem]:
        """Return the items, scores never rising: what was held back for its category comes later."""
        view, title = ask.person.view, self._parts.shelf.title
        chances = self._chances.of(picks, view, ask.asked.horizon_days)
        viewed = _reasons.viewed_paths(view, ask.catalogue) if view.viewed_items else {}
        scores = np.minimum.accumulate([pick.score for pick in picks])
        return [
            RecommendedItem(
                item_id=pick.item_id,
                title=title(pick.item_id),
                score=float(score),
                probability=chance,
                reason=_reasons.answered(
                    pick.reason, pick.item_id, ask.catalogue, viewed,
                    pick.given.ranking.source if pick.filled else None,
                ),
                role=pick.given.role,
                propensity=1.0 if propensities is None else propensities[place],
            )
            for place, (pick, score, chance) in enumerate(zip(picks, scores, chances, strict=True))
        ]  # fmt: skip

    def _result(
        self,
        asked: RecommendationsRequest,
        person: Person,
        decision_id: str,
        given: tuple[str, str | None, str | None],
        now: datetime,
        items: list[RecommendedItem],
        notes: list[str],
        facts: Mapping[str, Any] | None = None,
    ) -> Recommendations:
        source, version, fallback = given
        self._parts.record(
            decision_id=decision_id, timestamp=now, kind="recommendations",
            contact_id=asked.contact_id, anonymous_id=asked.anonymous_id, placement=asked.placement,
            campaign_id=None, shown=[[item.item_id, item.propensity] for item in items],
            source=source, model_version=version, fallback=fallback, **(facts or {}),
        )  # fmt: skip
        return Recommendations(
            recommendation_id=decision_id,
            items=items,
            source=source,
            model_version=version,
            fallback=fallback,
            as_of=AsOf(moment=now, position=person.position),
            identified=person.identified,
            horizon_days=asked.horizon_days or self._parts.settings.purchase_horizon_days,
            notes=notes,
        )


def _plenty(ask: _Ask) -> int:
    """Return how many to ask a rung for, so that enough are left when some may not be shown."""
    asked = ask.asked
    if asked.placement == "buy_again":
        return MOST
    times = 8 if asked.category else 3
    return min(MOST, times * asked.k + 20 + len(asked.exclude_ids) + len(asked.item_ids))
