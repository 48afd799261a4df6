"""Contacts as they are this moment, or as empty as they must be where nothing can be read."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from features.state import ContactState, ContactView
from nextbest.errors import NextbestError
from serving.budget import Deadline, Skipped

log = logging.getLogger("nextbest.answers")

UNAVAILABLE = "feature_store_unavailable"


class Live(Protocol):
    """What features.live.LiveContacts does."""

    def get(self, contact_ids: Sequence[str], now: float, stored: bool = True) -> list[ContactView]:
        """Return one view a contact, in order; raises StoreUnavailable or NotReady unless stored=False."""

    def visitors(self, anonymous_ids: Sequence[str], now: float) -> list[ContactView]:
        """Return one view a visitor nobody knows."""


@dataclass(frozen=True)
class Person:
    """A contact's view; `trouble` is the reason code where it could not be read and is therefore empty."""

    view: ContactView
    trouble: str | None = None

    @property
    def known(self) -> bool:
        """Whether anything is known of the contact or visitor."""
        return self.view.known or bool(self.view.features)

    @property
    def identified(self) -> bool:
        """Whether this is a contact, and one something is known of."""
        return self.view.contact_id is not None and self.known

    @property
    def has_history(self) -> bool:
        """Whether a recommender has something to go by."""
        view = self.view
        return bool(view.repeat_items or view.recent_items or view.viewed_items)

    @property
    def position(self) -> int:
        """The event log's position the view has seen."""
        return self.view.as_of


class People:
    """Looks contacts up within a request's budget; never raises for what the stores do."""

    def __init__(self, live: Live | None) -> None:
        self._live = live

    def one(
        self, contact_id: str | None, anonymous_id: str | None, now: datetime, deadline: Deadline
    ) -> Person:
        """Return a contact, a visitor by anonymous id, or nobody."""
        if contact_id is not None:
            return self.many([contact_id], now, deadline)[0]
        if anonymous_id is None:
            return _nobody([None], now.timestamp(), None)[0]
        return self._visitor(anonymous_id, now.timestamp(), deadline)

    def many(self, contact_ids: Sequence[str], now: datetime, deadline: Deadline) -> list[Person]:
        """Return one person a contact, in order; of the event log alone where the store fails."""
        live, moment = self._live, now.timestamp()
        if live is None:
            return _nobody(contact_ids, moment, UNAVAILABLE)
        try:
            return [
                Person(view)
                for view in deadline.run("features", lambda: live.get(contact_ids, moment), rests=False)
            ]
        except Skipped as skipped:
            return _nobody(contact_ids, moment, skipped.reason)
        except NextbestError as error:
            log.warning("the feature store does not answer: %s", error)
        except Exception:
            log.exception("contacts cannot be read")
        return self._unstored(contact_ids, moment, deadline)

    def _unstored(self, contact_ids: Sequence[str], moment: float, deadline: Deadline) -> list[Person]:
        live = self._live
        assert live is not None  # noqa: S101 - the caller has it
        try:
            views = deadline.run("log", lambda: live.get(contact_ids, moment, stored=False), rests=False)
            return [Person(view, UNAVAILABLE) for view in views]
        except Exception as error:
            log.warning("the event log does not answer either: %s", error)
            return _nobody(contact_ids, moment, UNAVAILABLE)

    def _visitor(self, anonymous_id: str, moment: float, deadline: Deadline) -> Person:
        live = self._live
        if live is None:
            return _nobody([None], moment, UNAVAILABLE)[0]
        try:
            return Person(deadline.run("log", lambda: live.visitors([anonymous_id], moment), rests=False)[0])
        except Skipped as skipped:
            return _nobody([None], moment, skipped.reason)[0]
        except Exception as error:
            log.warning("a visitor cannot be read: %s", error)
            return _nobody([None], moment, UNAVAILABLE)[0]


def _nobody(contact_ids: Sequence[str | None], moment: float, trouble: str | None) -> list[Person]:
    return [Person(ContactState.empty(contact_id).at(moment), trouble) for contact_id in contact_ids]
