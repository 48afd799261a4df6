"""The list of a recommendation as it fills up: no repeats, and no category takes more than its share."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest

from models.base import Ranking, Reason
from serving.schemas import RecommendationsRequest, Role


@dataclass(frozen=True)
class Given:
    """What a rung gives: a ranking, the registered version behind it, and what its items are to the page."""

    ranking: Ranking
    version: str | None = None
    role: Role | None = None
    sources: Sequence[str] = ()
    """Who gave each item, where that is not the ranking's source for all."""


@dataclass(frozen=True, slots=True)
class Pick:
    """An item to show, before it becomes part of an answer; `place` is its place in the given ranking."""

    item_id: str
    score: float
    given: Given
    place: int
    filled: bool = False
    """Whether another rung than the one that answered gave it."""

    @property
    def reason(self) -> Reason:
        """Why the rung gave it."""
        return self.given.ranking.reasons[self.place]

    @property
    def source(self) -> str:
        """Who gave it."""
        return self.given.sources[self.place] if self.given.sources else self.given.ranking.source


@dataclass
class Page:
    """At most k picks. What is beyond its category's share is held back, and shown only if room is left."""

    k: int
    most: int
    """Items of a category at most; those without one are not limited."""
    picked: list[Pick] = field(default_factory=list)
    later: list[Pick] = field(default_factory=list)
    taken: set[str] = field(default_factory=set)
    per_category: dict[str, int] = field(default_factory=dict)

    @property
    def full(self) -> bool:
        """Whether nothing more is needed."""
        return len(self.picked) >= self.k

    @property
    def least(self) -> float:
        """Score of the last pick, which the next may not exceed."""
        return self.picked[-1].score if self.picked else math.inf

    def offer(self, pick: Pick, category: str) -> bool:
        """Take an item that is new; tell whether it found a place at once."""
        self.taken.add(pick.item_id)
        count = self.per_category.get(category, 0)
        if category and count >= self.most:
            self.later.append(pick)
            return False
        self.per_category[category] = count + 1
        self.picked.append(pick)
        return True

    def mix(self) -> None:
        """Put complements and alternatives in turn, complements first, and keep k of them."""
        roles: list[Role] = ["complement", "alternative"]
        kinds = [[pick for pick in self.picked if pick.given.role == role] for role in roles]
        self.picked = list(_in_turn(kinds))[: self.k]

    def relax(self) -> bool:
        """Fill what room is left with what was held back; tell whether anything was."""
        more = self.later[: self.k - len(self.picked)]
        self.picked.extend(more)
        return bool(more)


def share_of_a_category(asked: RecommendationsRequest) -> int:
    """Return how many items of a category may stand together.

    By default a third of the page, three at least, where the page is about nothing in particular; no limit
    where it is about a category, an item or what was bought.
    """
    if asked.max_per_category is not None:
        return asked.max_per_category
    if asked.category is not None or asked.placement not in ("home", "email", "trending"):
        return asked.k
    return max(3, -(-asked.k // 3))


def _in_turn(kinds: Sequence[Sequence[Pick]]) -> Iterator[Pick]:
    for round_ in zip_longest(*kinds):
        yield from (pick for pick in round_ if pick is not None)
