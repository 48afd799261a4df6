"""What is said of contacts, merged as it comes: the word said last stands, whenever it arrives."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import Connection, bindparam, insert, select, update

from features.events._log_rows import pieces
from features.events._log_tables import CONTACTS
from nextbest.columns import CONTACT_COLUMNS, CONTACT_ID, TIMESTAMP

_SAID_AT, _TRAITS = "said_at", "traits"
_NAMES = tuple(name for name in CONTACT_COLUMNS if name not in (CONTACT_ID, _TRAITS))


def merge_contacts(connection: Connection, rows: Iterable[Mapping[str, Any]]) -> None:
    """Add or update contacts: CONTACT_COLUMNS and `timestamp` (microseconds; None: said now)."""
    rows = list(rows)
    before: dict[str, dict[str, Any]] = {}
    for piece in pieces(sorted({str(row[CONTACT_ID]) for row in rows})):
        found = connection.execute(select(CONTACTS).where(CONTACTS.c.contact_id.in_(piece))).mappings()
        before |= {row[CONTACT_ID]: dict(row) for row in found}
    after: dict[str, dict[str, Any]] = {}
    for row in rows:
        contact = str(row[CONTACT_ID])
        after[contact] = _merged(after.get(contact) or before.get(contact) or _new(contact), row)
    added = [row for contact, row in after.items() if contact not in before]
    changed = [row | {"known": contact} for contact, row in after.items() if contact in before]
    if added:
        connection.execute(insert(CONTACTS), added)
    if changed:
        connection.execute(update(CONTACTS).where(CONTACTS.c.contact_id == bindparam("known")), changed)


def _new(contact: str) -> dict[str, Any]:
    return dict.fromkeys((*CONTACT_COLUMNS, _SAID_AT)) | {CONTACT_ID: contact}


def _merged(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """Lay a row over what is known: a null says nothing, traits merge key by key."""
    said = json.loads(old[_SAID_AT] or "{}")
    traits = json.loads(old[_TRAITS] or "{}")
    at = new.get(TIMESTAMP)
    row = dict(old)
    for name in _NAMES:
        if new.get(name) is not None and _later(said, name, at):
            row[name] = new[name]
    for name, value in json.loads(new.get(_TRAITS) or "{}").items():
        if _later(said, f"trait:{name}", at):
            traits[name] = value
    return row | {
        _SAID_AT: json.dumps(said) if said else None,
        _TRAITS: json.dumps(traits) if traits else old[_TRAITS],
    }


def _later(said: dict[str, int], name: str, at: int | None) -> bool:
    """Tell whether a word of `at` stands, and remember it; one without a time always does."""
    if at is None:
        return True
    if at < said.get(name, at):
        return False
    said[name] = at
    return True
