"""The contact book where contacts have become one person."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from features.events._identity import Person
from nextbest.columns import CONTACT_COLUMNS
from serving.book import ContactBook

from .conftest import NOW


def book(*contacts: dict[str, Any], said: Sequence[dict[str, Any]] = ()) -> ContactBook:
    frame = pd.DataFrame(list(contacts)).reindex(columns=list(CONTACT_COLUMNS))
    nothing = pd.DataFrame(columns=["contact_id", "channel", "timestamp", "event"])
    one = ("a", "b")
    made = ContactBook(
        lambda: frame, lambda: nothing, lambda ids: pd.DataFrame(),
        lambda ids, _: [word for word in said if word["contact_id"] in ids],
        people=lambda ids: [
            Person("b", frozenset("ab")) if contact in one else Person(contact, frozenset([contact]))
            for contact in ids
        ],
    )  # fmt: skip
    made.refresh()
    return made


def test_a_refusal_under_any_id_of_a_person_stands() -> None:
    held = book(
        {"contact_id": "a", "consent_email": False, "consent_sms": True, "timezone": "Europe/Paris"},
        {"contact_id": "b", "consent_email": True, "reachable_sms": False},
        {"contact_id": "c", "consent_email": True},
    )
    for record in held.of(["a", "b"]):
        assert (record.consent["email"], record.consent["sms"], record.consent["post"]) == (False, True, None)
        assert (record.reachable["sms"], record.timezone) == (False, "Europe/Paris")
    assert held.of(["c"])[0].consent["email"] is True


def test_an_unsubscription_under_an_earlier_id_counts() -> None:
    word = {"contact_id": "a", "channel": "email", "event": "unsubscribed", "timestamp": NOW}
    held = book({"contact_id": "b", "consent_email": True}, said=[word])
    assert held.of(["b"])[0].consent["email"] is False


def test_that_consents_are_kept_is_known_before_any_contact_with_one_is_looked_up() -> None:
    told: list[bool] = []
    frame = pd.DataFrame(columns=list(CONTACT_COLUMNS))
    words = pd.DataFrame(columns=["contact_id", "channel", "timestamp", "event"])
    held = ContactBook(
        lambda: frame, lambda: words, lambda ids: pd.DataFrame(), lambda *_: [], log_keeps=lambda: bool(told)
    )
    held.refresh()
    held.of(["anyone"])
    assert not held.keeps_consents
    told.append(True)  # another worker has taken in somebody's consent
    held.of(["anyone"])
    assert held.keeps_consents


def test_what_a_visitor_said_before_the_login_counts() -> None:
    frame = pd.DataFrame([{"contact_id": "a", "consent_email": True}]).reindex(columns=list(CONTACT_COLUMNS))
    words = pd.DataFrame(
        [
            {
                "contact_id": None,
                "anonymous_id": "v",
                "channel": "email",
                "timestamp": NOW,
                "event": "unsubscribed",
            }
        ]
    )
    linked: dict[str, list[str]] = {}
    held = ContactBook(
        lambda: frame, lambda: words, lambda ids: pd.DataFrame(), lambda *_: [],
        people=lambda ids: [
            Person(contact, frozenset([contact]), dict.fromkeys(linked.get(contact, []))) for contact in ids
        ],
    )  # fmt: skip
    held.refresh()
    assert held.of(["a"])[0].consent["email"] is True
    linked["a"] = ["v"]
    assert held.of(["a"])[0].consent["email"] is False
    assert held.visitors_who_spoke == {"v"}
