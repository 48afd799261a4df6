"""The rungs of the ladder of recommendations: who can be asked, with what, and when there is no point."""

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from models.alternatives import VIEWED, alternatives, like_viewed
from models.base import Ranking
from models.catalogue import Catalogue
from models.complements import STRONG_LIFT, Gathers, complements
from models.due import by_dueness, due_items
from models.eligibility import Gate
from models.frequency import Frequency
from models.popularity import Popularity, PopularityConfig, spread_over_categories
from serving import _reasons
from serving._chances import Chances
from serving._interest import (
    bought_before,
    interest,
    of_the_moment,
    together,
    without_looks,
    worth_liking,
)
from serving._kept import Kept
from serving._page import Given, Page
from serving.budget import Deadline, Skipped
from serving.parts import Parts
from serving.people import Person
from serving.schemas import RecommendationsRequest

log = logging.getLogger("nextbest.answers")

MOST = 400
"""Items a rung is asked for at most."""
STEPS = (50, 100, 200, MOST)
"""How many a rung is asked for: few numbers, so that a ranking kept serves requests that differ a little."""
OF_THE_MOMENT = ("home", "email")
"""Placements where what was seen lately joins a ranking that knows nothing of views."""
SIMILAR = 200
"""Items like another that the sequence model is asked for."""

TRENDING = Popularity(PopularityConfig(variant="trending"))
POPULAR = Popularity(PopularityConfig(variant="category"))
SOLD = Popularity(PopularityConfig(variant="overall", statistic="sold_30d"))
FREQUENCY = Frequency()


@dataclass
class Ask:
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


class Rungs:
    """Every rung by its name. A rung raises Skipped where it has no answer."""

    def __init__(self, parts: Parts, chances: Chances) -> None:
        self._parts, self._chances = parts, chances
        self._kept = Kept(parts.settings.ranking_seconds)
        self._by_name: dict[str, Callable[[Ask], Given]] = {
            "ranked": self._ranked,
            "basket": self._basket,
            "complements": self._complements,
            "alternatives": self._alternatives,
            "personal": self._personal,
            "viewed": self._viewed,
            "due_ranked": lambda ask: self._due(ask, self._ranked),
            "due_personal": lambda ask: self._due(ask, self._personal),
            "trending": self._trending,
            "sold": lambda ask: self._popularity(SOLD, ask, ()),
            "popular": lambda ask: self._popularity(POPULAR, ask, ask.asked.item_ids),
        }

    def ask(self, name: str, ask: Ask) -> Given:
        """Return what the rung of that name gives. Raises Skipped, or whatever its model raises."""
        return self._by_name[name](ask)

    def _ranked(self, ask: Ask) -> Given:
        person, context = ask.person, ask.asked.item_ids
        if person.trouble:
            raise Skipped(person.trouble)
        if not (person.has_history or context):
            raise Skipped("no_history" if person.known else "unknown_contact")
        loaded = self._parts.champion("next-purchase")
        blind = not getattr(loaded.model, "knows_views", True)
        if blind and not bought_before(person.view):
            raise Skipped("no_history")
        plenty = _plenty(ask)

        def rank() -> Ranking:
            view = without_looks(person.view) if blind else person.view
            ranking: Ranking = ask.deadline.run(
                loaded.version, lambda: loaded.model.recommend(view, ask.catalogue, plenty, context)
            )
            return ranking

        ranking = self._kept.of(person.view, ask.catalogue, (loaded.version, plenty, *context), rank, blind)
        moment = self._moment(ask) if blind and not context else None
        if moment is None:
            return Given(ranking, loaded.version)
        ranking, sources = together(ranking, moment.ranking, moment.sources, plenty)
        return Given(ranking, loaded.version, sources=sources)

    def _moment(self, ask: Ask) -> Given | None:
        """Return what speaks of the moment where that may join a ranking; None for nothing, or a failure."""
        if ask.asked.placement not in OF_THE_MOMENT:
            return None
        try:
            return self._viewed(ask)
        except Skipped:
            return None
        except Exception:
            log.exception("what was seen could not join the ranking")
            return None

    def _basket(self, ask: Ask) -> Given:
        """What goes with the items named, else with what was seen and bought last."""
        view, context = ask.person.view, ask.asked.item_ids
        if not (context or bought_before(view)):
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

    def _complements(self, ask: Ask) -> Given:
        """What goes with the page's product or with the whole cart."""
        context = ask.asked.item_ids
        if not context:
            raise Skipped("no_evidence")
        loaded, most = self._parts.champion("basket"), _plenty(ask)
        strong = math.inf if ask.asked.placement == "cart" else STRONG_LIFT

        def gathered() -> Ranking:
            if isinstance(loaded.model, Gathers):
                return complements(loaded.model, ask.catalogue, context, most, ask.alike, strong)
            ranking: Ranking = loaded.model.recommend(ask.person.view, ask.catalogue, most, context)
            return ranking

        ranking = ask.deadline.run(loaded.version, gathered)
        if not len(ranking):
            raise Skipped("no_evidence")
        return Given(ranking, loaded.version, "complement")

    def _alternatives(self, ask: Ask) -> Given:
        """What could be bought instead of the page's product: the first item that is known."""
        item = next((item for item in ask.asked.item_ids if item in ask.catalogue.index), None)
        if item is None:
            raise Skipped("no_evidence")
        found = alternatives(ask.catalogue, item, _plenty(ask), self._cosines(ask, item))
        return Given(found, role="alternative")

    def _cosines(self, ask: Ask, item: str) -> Mapping[str, float]:
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

    def _personal(self, ask: Ask) -> Given:
        own = len(ask.catalogue.index.keys() & ask.person.view.repeat_items)
        if not own:
            raise Skipped(ask.person.trouble or "no_history")
        return Given(FREQUENCY.recommend(ask.person.view, ask.catalogue, min(own, _plenty(ask))))

    def _viewed(self, ask: Ask) -> Given:
        """What goes with what was seen last and lies in the cart, and likes of what was seen."""
        view, now = ask.person.view, interest(ask.person.view)
        if not now:
            raise Skipped("no_evidence")
        seen = worth_liking(now, view, ask.catalogue)
        cosines = {item: self._cosines(ask, item) for item in seen.viewed_items[:VIEWED]}
        likes = like_viewed(seen, ask.catalogue, _plenty(ask), cosines)
        rules, version = self._rules(ask, now.items)
        ranking, sources = of_the_moment(rules, likes, view, _plenty(ask))
        if not len(ranking):
            raise Skipped("no_evidence")
        return Given(ranking, version, sources=sources)

    def _rules(self, ask: Ask, items: Sequence[str]) -> tuple[Ranking | None, str | None]:
        """Return what goes with items, and the version that says so; None where no model can say."""
        try:
            loaded = self._parts.champion("basket")
            ranking: Ranking = ask.deadline.run(
                loaded.version,
                lambda: loaded.model.recommend(ask.person.view, ask.catalogue, _plenty(ask), items),
            )
        except Skipped:
            return None, None
        except Exception:
            log.exception("the basket model could not say what goes with what was seen")
            return None, None
        return ranking, loaded.version

    def _due(self, ask: Ask, ranked: Callable[[Ask], Given]) -> Given:
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

    def _trending(self, ask: Ask) -> Given:
        """What sells better than it used to; nothing that falls is shown for rising."""
        given = self._popularity(TRENDING, ask, ())
        rising = np.flatnonzero(given.ranking.scores > 1.0).tolist()
        if not rising:
            raise Skipped("nothing_trending")
        return Given(given.ranking.take(rising))

    def _popularity(self, model: Popularity, ask: Ask, context: Sequence[str]) -> Given:
        return Given(model.recommend(ask.person.view, ask.sellable, _plenty(ask), context))

    def spread(self, ask: Ask) -> Given:
        """The best of the categories that have room left: before any limit is passed."""
        page = ask.page
        full = {name for name, count in page.per_category.items() if name and count >= page.most}
        names = [name for name in ask.sellable.rows_in_category if name not in full]
        return Given(spread_over_categories(ask.sellable, names, page.most + page.k, "sold_90d"))


def _plenty(ask: Ask) -> int:
    """Return how many to ask a rung for, so that enough are left when some may not be shown."""
    asked = ask.asked
    if asked.placement == "buy_again":
        return MOST
    times = 8 if asked.category else 3
    wanted = times * asked.k + 20 + len(asked.exclude_ids) + len(asked.item_ids)
    return next((most for most in STEPS if most >= wanted), MOST)
