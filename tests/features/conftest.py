from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import ibis
import pandas as pd
import pyarrow as pa
import pytest

from features._known import category_paths, known, link_rows, merge_rows
from features.channels import channel_rows
from features.contacts import contact_rows
from features.events._identity import Graph, Link
from features.events.lake import Lake
from features.lists import lists_at
from features.pairs import category_rows, item_rows
from features.points import Rules
from features.state import LISTS_AT, ContactState
from features.steps import step_rows
from nextbest.columns import EVENT_COLUMNS, ITEM_COLUMNS
from nextbest.settings import Settings

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
ITEMS = {
    "milk": "food/dairy/fresh", "butter": "food/dairy/fats", "bread": "food/bakery/loaves",
    "soap": "home/bath", "bag": None,
}  # fmt: skip
TEXT = {name: pa.string() for name in EVENT_COLUMNS}
TYPES = TEXT | {
    "timestamp": pa.timestamp("us", "UTC"), "received_at": pa.timestamp("us", "UTC"),
    "quantity": pa.float64(), "price": pa.float64(),
}  # fmt: skip
SCHEMA = pa.schema(TYPES.items())

Event = dict[str, Any]


@pytest.fixture(scope="session")
def now() -> datetime:
    return NOW


@pytest.fixture(scope="session")
def event() -> Callable[..., Event]:
    """Make a canonical event some days before NOW."""
    numbers = count()

    def make(kind: str, days_ago: float = 0.0, **values: Any) -> Event:
        moment = NOW - timedelta(days=days_ago)
        row = dict.fromkeys(EVENT_COLUMNS) | {"event_id": f"e{next(numbers)}", "event": kind}
        return row | {"timestamp": moment, "received_at": NOW} | values

    return make


@pytest.fixture(scope="session")
def items() -> pd.DataFrame:
    rows = pd.DataFrame({"item_id": list(ITEMS), "category": list(ITEMS.values())})
    return rows.reindex(columns=list(ITEM_COLUMNS))


@pytest.fixture(scope="session")
def rules() -> Rules:
    return Rules.load()


@pytest.fixture(scope="session")
def ready(items: pd.DataFrame) -> Iterator[Callable[..., tuple[Any, Any]]]:
    """Return (backend, events ready for counting) of a list of events."""
    backend = ibis.duckdb.connect()
    backend.raw_sql("SET threads = 1")

    def make(
        events: Sequence[Event], linked: Sequence[tuple[str, str]] = (), links: Sequence[Link] = ()
    ) -> tuple[Any, Any]:
        graph = Graph([*links, *(Link(*pair, 0, False, n) for n, pair in enumerate(linked))])
        table = ibis.memtable(pa.Table.from_pylist(list(events), schema=SCHEMA))
        prepared = known(
            table,
            ibis.memtable(link_rows(graph)),
            ibis.memtable(merge_rows(graph)),
            ibis.memtable(category_paths(items)),
        )
        return backend, ibis.memtable(backend.to_pyarrow(prepared))

    yield make
    backend.disconnect()


@pytest.fixture(scope="session")
def states(ready: Callable[..., Any], rules: Rules) -> Callable[..., dict[str, ContactState]]:
    """Return the state of every contact, from the batch tables, as at `at`."""

    def make(events: Sequence[Event], at: datetime = NOW, **options: Any) -> dict[str, ContactState]:
        backend, prepared = ready(events, **options)
        reference = NOW.timestamp() - 19 * 365.25 * 86_400
        rows = backend.to_pyarrow(contact_rows(prepared, rules, 0, reference)).to_pylist()
        latest = {row["contact_id"]: row for row in sorted(rows, key=lambda row: row["timestamp"])}
        tables = {
            "contact_item": item_rows(prepared, reference),
            "contact_category": category_rows(prepared, reference),
            "contact_channel": channel_rows(prepared, reference),
            "contact_step": step_rows(prepared),
        }
        arrays = lists_at(backend, tables, list(latest), at)
        return {
            contact: ContactState.from_row(latest[contact] | lists | {LISTS_AT: at.timestamp()})
            for contact, lists in zip(latest, arrays, strict=True)
        }

    return make


@pytest.fixture(scope="session")
def put(items: pd.DataFrame) -> Callable[[Settings, Sequence[Event]], None]:
    """Put events and the items into the lake of a state folder."""

    def into(settings: Settings, events: Sequence[Event]) -> None:
        lake = Lake(settings.lake)
        lake.write([pa.Table.from_pylist(list(events), schema=SCHEMA).to_pandas()])
        lake.write_items(items)

    return into
