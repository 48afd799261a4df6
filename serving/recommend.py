"""The ladder of recommendations: who is asked first for which placement, and who fills up what is missing."""

import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any, ClassVar

import numpy as np

from models.alternatives import leaves
from models.catalogue import Catalogue
from models.eligibility import Gate, Terms
from serving import _reasons
from serving._chances import Chances
from serving._explore import Explored, explored, new_items, pool_of
from serving._kept import habits_of
from serving._needed import with_needs
from serving._page import Given, Page, Pick, share_of_a_category
from serving._rungs import POPULAR as POPULAR
from serving._rungs import TRENDING as TRENDING
from serving._rungs import Ask, Rungs
from serving.budget import Deadline, Skipped
from serving.decisions import new_id
from serving.parts import Parts
from serving.people import Person
from serving.schemas import AsOf, Recommendations, RecommendationsRequest, RecommendedItem

log = logging.getLogger("nextbest.answers")

MODEL_FAILED = "model_failed"
LOG_UNAVAILABLE = "decision_log_unavailable"
AHEAD_MS = 1000.0
LIMIT_RELAXED = "category_limit_relaxed"


class RecommendationLadder:
    """Climbs down from the learned ranking to what sells, until k items may be shown."""

    LADDERS: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "home": ("ranked", "basket", "personal", "viewed", "trending", "popular"),
        "email": ("ranked", "basket", "personal", "viewed", "trending", "popular"),
        "product": ("complements", "alternatives", "ranked", "personal", "trending", "popular"),
        "cart": ("complements", "ranked", "personal", "sold", "trending", "popular"),
        "buy_again": ("due_ranked", "due_personal"),
        "trending": ("trending", "popular"),
    }
    """Placement -> rungs, best first. The reason to fall back is why the first of them gave nothing."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._chances = Chances(parts)
        self._rungs = Rungs(parts, self._chances)

    def answer(
        self, asked: RecommendationsRequest, now: datetime, decision_id: str | None = None
    ) -> Recommendations:
        """Return at most k items; never raises for what the platforms do.

        `decision_id` repeats the chance of an answer given before. Raises Refused for a horizon that the
        answering model does not know.
        """
        decision_id = decision_id or new_id()
        deadline = self._parts.deadline()
        person = self._parts.people.one(asked.contact_id, asked.anonymous_id, now, deadline)
        catalogue = self._parts.shelf.catalogue()
        if catalogue is None:
            return self._result(asked, person, decision_id, ("none", None, "no_catalogue"), now, [], [], [])
        if asked.placement == "cart" and not asked.item_ids:
            asked = asked.model_copy(update={"item_ids": person.view.cart})
        ask = self._ask(asked, person, catalogue, deadline, now)
        given = self._climb(ask)
        if not ask.page.full and ask.page.relax():
            ask.notes.append(LIMIT_RELAXED)
        picks = ask.page.picked = with_needs(self._parts, ask)
        if given[0] == "none" and picks:
            given = picks[0].source, None, given[2]
        drawn = self._explored(ask, decision_id) if asked.explore else None
        if drawn is not None:
            picks = drawn.picks
        items = self._items(ask, picks, None if drawn is None else drawn.propensities)
        facts = {} if drawn is None else {"explored": drawn.facts}
        sources = [pick.source for pick in picks]
        return self._result(asked, person, decision_id, given, now, items, sources, ask.notes, facts)

    def rank_ahead(self, contact_id: str, now: datetime) -> None:
        """Let the ranking that a contact's home page needs be kept (Kept), if it is not; decide nothing."""
        catalogue = self._parts.shelf.catalogue()
        deadline = Deadline(self._parts.budget, AHEAD_MS)
        person = self._parts.people.one(contact_id, None, now, deadline)
        if catalogue is not None and person.has_history:
            asked = RecommendationsRequest(contact_id=contact_id)
            with suppress(Skipped):
                self._rungs.ask("ranked", self._ask(asked, person, catalogue, deadline, now))

    def _ask(
        self,
        asked: RecommendationsRequest,
        person: Person,
        catalogue: Catalogue,
        deadline: Deadline,
        now: datetime,
    ) -> Ask:
        notes: list[str] = []
        days, shown = 0, tuple[str, ...]()
        if asked.placement == "email":
            settings = self._parts.settings
            days = settings.email_no_repeat_days if asked.no_repeat_days is None else asked.no_repeat_days
            shown = self._mailed(asked, deadline, days, now, notes)
        own = () if asked.placement == "cart" else person.view.cart
        alike = leaves(catalogue, asked.item_ids) if asked.placement in ("cart", "product") else frozenset()
        terms = Terms(
            exclude=(*asked.exclude_ids, *shown, *own), cart=asked.item_ids, placement=asked.placement,
            category=asked.category, not_of=alike if asked.placement == "cart" else (), resting_days=days,
        )  # fmt: skip
        gate = Gate(person.view, catalogue, terms, habits=habits_of(person.view, catalogue))
        return Ask(
            asked, person, catalogue, self._parts.shelf.sellable(asked.category), deadline, gate,
            Page(asked.k, share_of_a_category(asked)), alike, notes,
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

    def _climb(self, ask: Ask) -> tuple[str, str | None, str | None]:
        """Fill the page; return source, version and the reason to fall back."""
        rungs = self._ladder(ask.asked)
        reason: str | None = None
        answered: tuple[str, str | None] | None = None
        for rung in rungs:
            if ask.page.full and rung != "alternatives":
                break
            try:
                given = self._rungs.ask(rung, ask)
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
            self._pick(ask, self._rungs.spread(ask), first=False)
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

    def _pick(self, ask: Ask, given: Given, first: bool) -> bool:
        """Add what may be shown, looking no further than there is need; tell whether that was anything."""
        ranking, page, k = given.ranking, ask.page, ask.asked.k
        room = k if given.role and ask.asked.placement == "product" else k - len(page.picked)
        shift: float | None = None
        added, step = 0, k + k // 2 + 1
        for start in range(0, len(ranking), step):
            ids = ranking.item_ids[start : start + step]
            for place in ask.gate.keep(ids):
                if ids[place] in page.taken:
                    continue
                score = float(ranking.scores[start + place])
                shift = max(score - page.least, 0.0) if shift is None else shift
                pick = Pick(ids[place], score - shift, given, start + place, not (first or given.role))
                added += page.offer(pick, ask.category(ids[place]))
                if added == room:
                    return True
        return added > 0

    def _explored(self, ask: Ask, decision_id: str) -> Explored:
        """Let chance give places to new items, where the placement shows more than one kind of thing."""
        settings, page = self._parts.settings, ask.page
        pool: list[str] = []
        if ask.asked.show == "both":
            new = new_items(ask.sellable, settings.new_item_days)
            new = [new[place] for place in ask.gate.keep(new)]
            pool = pool_of(page, page.picked, new, ask.category)
        return explored(page.picked, pool, settings.explore_share, decision_id, ask.catalogue)

    def _items(
        self, ask: Ask, picks: Sequence[Pick], propensities: Sequence[float] | None
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
                reason=_reasons.answered(pick.given.ranking, pick.place, ask.catalogue, viewed, pick.filled),
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
        sources: Sequence[str],
        notes: list[str],
        facts: Mapping[str, Any] | None = None,
    ) -> Recommendations:
        source, version, fallback = given
        self._parts.record(
            decision_id=decision_id, timestamp=now, kind="recommendations",
            contact_id=asked.contact_id, anonymous_id=asked.anonymous_id, placement=asked.placement,
            campaign_id=None, source=source, model_version=version, fallback=fallback, explore=asked.explore,
            shown=[[i.item_id, i.propensity, s] for i, s in zip(items, sources, strict=True)],
            **(facts or {}),
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
