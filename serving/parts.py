"""What every ladder stands on, handed from one to the other."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

import numpy as np

from nextbest.settings import Settings
from serving.book import ContactBook
from serving.budget import Budget, Deadline, Skipped
from serving.champions import Loaded
from serving.needs import NeedBook
from serving.past import Past
from serving.people import People
from serving.shelf import Shelf


class ChampionsLike(Protocol):
    """What serving.champions.Champions does for the ladders."""

    def get(self, task: str) -> Loaded | None:
        """Return the task's champion."""

    def why_none(self, task: str) -> str:
        """Return the reason code where there is none."""


@dataclass(frozen=True)
class Parts:
    """Settings, stores and models of the answers."""

    settings: Settings
    people: People
    shelf: Shelf
    champions: ChampionsLike
    budget: Budget
    book: ContactBook
    put_decision: Callable[[Mapping[str, Any]], object]
    random: Callable[[], np.random.Generator] = np.random.default_rng
    """Where chance comes from when channels are explored."""
    shown: Callable[[str, str, datetime, datetime], Collection[str]] = lambda *_: ()
    """Items shown to a contact at a placement from one moment to another."""
    needs: NeedBook | None = None
    """What grows with time; None: no rules."""
    past: Past | None = None
    """What happened; None: nothing of it can be read."""

    def champion(self, task: str) -> Loaded:
        """Return the task's champion. Raises Skipped with the reason where there is none."""
        loaded = self.champions.get(task)
        if loaded is None:
            raise Skipped(self.champions.why_none(task))
        return loaded

    def deadline(self) -> Deadline:
        """Return the budget of a page's request."""
        return Deadline(self.budget, self.settings.budget_ms)

    def patience(self, contacts: int = 1) -> Deadline:
        """Return the budget of a campaign call: settings.campaign_budget_ms for every ten contacts begun."""
        return Deadline(self.budget, self.settings.campaign_budget_ms * (1 + (contacts - 1) // 10))

    def record(self, **row: Any) -> None:
        """Hand a decision to the log."""
        self.put_decision(row)
