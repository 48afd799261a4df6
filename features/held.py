"""Everything the stores hold of one person, as plain JSON: for whoever asks what is known of them."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from features.events import _duck
from features.events._identity import Graph, Person, theirs
from features.events._tables import upsert
from features.events._types import SCHEMAS, to_arrow
from features.events.lake import Lake
from features.events.log import EventLog
from features.excluded import Excluded
from features.tables import table_path
from features.tags import tags_of
from nextbest.columns import CONTACT_ID, EVENT_COLUMNS, EVENT_ID, IDENTITY_COLUMNS, TIMESTAMP
from nextbest.settings import Settings


def held(settings: Settings, log: EventLog, contact_id: str) -> dict[str, Any] | None:
    """Return what is held of a person, by any of their ids; None: nothing.

    Keys: contact_id, ids, anonymous_ids, traits (and consents), identities, events, decisions, triggers,
    stored, tags, left_out. Of a device that several used, what is theirs. In memory: one person's history.
    """
    lake = Lake(settings.lake)
    links = log.links_around([contact_id])[1]
    person = Graph(links).person(contact_id)
    members = sorted(person.members)
    found: dict[str, Any] = {
        "traits": _traits(lake, log, members),
        "identities": [_plain(dict(zip(IDENTITY_COLUMNS, link[:4], strict=True))) for link in links
                       if link.contact_id in person.members],
        "events": _events(lake, log, person),
        "decisions": [_plain(row) for row in log.decisions_of(person)],
        "triggers": [_plain(row) for row in log.triggers_of(members)],
        "stored": _stored(settings, person.contact_id),
    }  # fmt: skip
    excluded = Excluded.of(settings)
    left_out = next((why for one in members if (why := excluded.why(one)) is not None), None)
    if not any(found.values()) and left_out is None:
        return None
    tags = tags_of(settings, members)
    visitors = sorted(person.visitors.keys() - person.members)  # an earlier contact id may be either
    told = {"contact_id": person.contact_id, "ids": members, "anonymous_ids": visitors}
    return told | found | {
        "tags": next((tags[one].plain() for one in members if one in tags), None), "left_out": left_out,
    }  # fmt: skip


def _traits(lake: Lake, log: EventLog, members: Sequence[str]) -> list[dict[str, Any]]:
    """Return what is recorded of each id, what the log says laid over what the lake does."""
    path = lake.folder / "contacts.parquet"
    asked = [(CONTACT_ID, "in", list(members))]
    stored = pq.read_table(path, filters=asked) if path.exists() else SCHEMAS["contacts"].empty_table()
    stored = pa.table({name: _column(stored, name) for name in SCHEMAS["contacts"].names})
    said = to_arrow(log.contacts(members), "contacts")
    rows = upsert(stored.cast(SCHEMAS["contacts"]), said, [CONTACT_ID]).to_pylist()
    return [{name: _of(value) for name, value in row.items() if value is not None} for row in rows]


def _column(table: pa.Table, name: str) -> pa.ChunkedArray:
    """Return a column, null where a file of an earlier version lacks it."""
    kind = SCHEMAS["contacts"].field(name).type
    return table[name] if name in table.column_names else pa.chunked_array([pa.nulls(len(table), kind)])


def _events(lake: Lake, log: EventLog, person: Person) -> list[dict[str, Any]]:
    """Return every event of the person once, oldest first, as it was stored; what is null is left out."""
    found = {event[EVENT_ID]: event for event in _in_lake(lake, person) if theirs(event, person.visitors)}
    found |= {event[EVENT_ID]: event for event in log.of_person(person)}
    ordered = sorted(found.values(), key=lambda event: (event[TIMESTAMP], event[EVENT_ID]))
    return [
        {name: _of(event[name]) for name in EVENT_COLUMNS if event.get(name) is not None} for event in ordered
    ]


def _in_lake(lake: Lake, person: Person) -> list[dict[str, Any]]:
    if not (files := lake.files()):
        return []
    query = f"""{_duck.select(", ".join(EVENT_COLUMNS), files)}
        WHERE contact_id IN (SELECT unnest($members))
        OR (contact_id IS NULL AND anonymous_id IN (SELECT unnest($visitors)))"""
    values = {"members": sorted(person.members), "visitors": sorted(person.visitors)}
    with TemporaryDirectory() as spill, _duck.connect(Path(spill)) as connection:
        rows: list[dict[str, Any]] = connection.sql(query, params=values).to_arrow_table().to_pylist()
        return rows


def _stored(settings: Settings, contact_id: str) -> dict[str, Any]:
    """Return the row of arrays of the last build: the other tables hold the same for every event."""
    path = table_path(settings, "contact_lists")
    if not path.exists():
        return {}
    rows = pq.read_table(path, filters=[(CONTACT_ID, "=", contact_id)]).to_pylist()
    return _plain(rows[0]) if rows else {}


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    return {name: _of(value) for name, value in row.items()}


def _of(value: Any) -> Any:
    """Return a value as JSON has it: times as ISO 8601, no NaN."""
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, list):
        return [_of(one) for one in value]
    return None if isinstance(value, float) and value != value else value
