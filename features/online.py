"""Putting rows online: of the contacts for whom something changed, because each costs over a millisecond.

A row that was not written anew keeps its older position in the event log, which is as good: had anything
happened since, the row would have changed.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import ibis
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from features.events._files import written_aside
from features.events._identity import Graph
from features.points import Rules
from features.store import ONLINE_VIEWS, REPOSITORY, Store
from features.tables import connected, table_path
from nextbest.columns import CONTACT_ID
from nextbest.progress import Progress, silent
from nextbest.settings import Settings

FINGERPRINT = "fingerprint"
BASIS = b"basis"
"""Key, in the file's metadata, of what all rows rest on besides their events."""
PROBES = 20
"""Rows looked up to see that the store still holds what was put there."""
CHUNK = 5_000
"""Contacts at a time."""


@dataclass(frozen=True)
class Stored:
    """How many contacts' rows were written, left as they were, and removed."""

    written: int
    unchanged: int
    removed: int


def fingerprints(events: Any, people: Any) -> Any:
    """Return contact_id and a number that differs when other events, categories or ids are counted.

    people: `identity_rows`.
    """
    owned = events.filter(events.contact_id.notnull())
    text = owned.seconds.cast("string") + owned.amount.cast("string")
    for name in ("event_id", "event", "item_id", "path", "channel", "url", "campaign_id", "message_id"):
        text = text + "\x1f" + owned[name].fill_null("")
    one = text.hash().cast("int64")
    counted = owned.mutate(one=one).group_by(CONTACT_ID).aggregate(counted=lambda rows: rows.one.bit_xor())
    both = counted.left_join(people, CONTACT_ID)
    return both.select(CONTACT_ID, fingerprint=both.counted ^ both.identity.fill_null(0))


def identity_rows(graph: Graph) -> pa.Table:
    """Return contact_id and a number that differs when other ids are one person with it."""
    people = [graph.person(contact) for contact in graph.contacts()]
    told = [f"{sorted(person.members)}{sorted(person.visitors.items())}" for person in people]
    numbers = [int.from_bytes(sha256(text.encode()).digest()[:8], "big", signed=True) for text in told]
    ids = pa.array([person.contact_id for person in people], pa.string())
    return pa.table({CONTACT_ID: ids, "identity": pa.array(numbers, pa.int64())})


def basis(rules: Rules, log_id: str) -> str:
    """Return what all rows rest on: rules, columns, the store, and the log their positions belong to."""
    store = (REPOSITORY / "feature_store.yaml").read_text(encoding="utf-8")
    parts = [rules.model_dump_json(), json.dumps(ONLINE_VIEWS), store, log_id]
    return sha256("\x1f".join(parts).encode()).hexdigest()


def materialize(settings: Settings, store: Store, rests_on: str, progress: Progress = silent) -> Stored:
    """Put the latest rows online and remove the contacts that are no more."""
    now_there = pq.read_table(table_path(settings, "fingerprints"))
    was_there = _online(settings, store, rests_on)
    joined = now_there.join(was_there, CONTACT_ID, right_suffix="_old", join_type="full outer")
    same = pc.fill_null(pc.equal(joined[FINGERPRINT], joined[f"{FINGERPRINT}_old"]), False)
    gone = joined.filter(pc.is_null(joined[FINGERPRINT]))[CONTACT_ID].to_pylist()
    changed = joined.filter(pc.and_(pc.invert(same), pc.is_valid(joined[FINGERPRINT])))
    ids = sorted(changed[CONTACT_ID].to_pylist())
    for start in range(0, len(ids), CHUNK):
        _write(settings, store, ids[start : start + CHUNK])
        progress("online", min(start + CHUNK, len(ids)), len(ids))
    store.erase(gone)
    with written_aside(table_path(settings, "online")) as aside:
        pq.write_table(now_there.replace_schema_metadata({BASIS: rests_on}), aside)
    return Stored(len(ids), len(now_there) - len(ids), len(gone))


def _online(settings: Settings, store: Store, rests_on: str) -> pa.Table:
    """Return whose rows were put online, with their fingerprints: null, where they rest on something else."""
    path = table_path(settings, "online")
    if not path.exists():
        return pa.table({CONTACT_ID: pa.array([], pa.string()), FINGERPRINT: pa.array([], pa.int64())})
    table = pq.read_table(path)
    resting = (table.schema.metadata or {}).get(BASIS) == rests_on.encode()
    probe = table[CONTACT_ID].to_pylist()[:: max(len(table) // PROBES, 1)]
    if not resting or None in store.online("contact_card", probe):
        table = table.set_column(1, FINGERPRINT, pa.nulls(len(table), pa.int64()))
    return table.replace_schema_metadata(None)


def _write(settings: Settings, store: Store, ids: Sequence[str]) -> None:
    asked = ibis.memtable(pa.table({CONTACT_ID: pa.array(ids, pa.string())}))
    with connected(settings.tables) as backend:
        for view in ONLINE_VIEWS:
            rows = backend.read_parquet(table_path(settings, view)).semi_join(asked, CONTACT_ID)
            newest = ibis.window(group_by=CONTACT_ID, order_by=rows.timestamp.desc())
            latest = rows.mutate(nth=ibis.row_number().over(newest)).filter(lambda r: r.nth == 0).drop("nth")
            store.write(view, backend.to_pyarrow(latest).to_pandas())
