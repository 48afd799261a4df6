"""What the reports read, in DuckDB on disk: decisions, and the events of lake and log with whose they are."""

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq

from features._known import link_rows, merge_rows
from features.events import _duck
from features.events._identity import Graph
from features.events._log_tables import DECISION_SCHEMA
from features.events._types import SCHEMAS, to_arrow
from features.events.lake import Lake
from features.events.log import EventLog
from nextbest.settings import Settings

_HAPPENED = """
CREATE TABLE happened AS
SELECT
    event_id, event, timestamp AS moment,
    coalesce(
        merged_id, contact_id, if(timestamp <= coalesce(linked_until, timestamp), linked_id, NULL),
        'visitor ' || anonymous_id
    ) AS person,
    {columns}
FROM (
    WITH lake AS (FROM ({lake}) WHERE {wanted}), log AS (FROM ({log}) WHERE {wanted})
    SELECT * FROM lake UNION ALL SELECT * FROM log ANTI JOIN lake USING (event_id)
)
LEFT JOIN {links} USING (anonymous_id)
LEFT JOIN {merges} ON contact_id = earlier_id
WHERE timestamp <= $now
"""
_WANTED = "event IN (SELECT unnest($events)) AND (timestamp >= $since OR $since IS NULL)"


@dataclass(frozen=True)
class Span:
    """Which answers are looked at (since <= moment < until), until when, and the days a touch counts for."""

    since: datetime | None
    until: datetime | None
    now: datetime
    days: float


@dataclass(frozen=True)
class Reading:
    """A database on disk with the tables made so far; what its queries may read besides."""

    connection: duckdb.DuckDBPyConnection
    lake: Lake
    decisions: str
    """To be put after FROM: the decisions since the span began."""
    links: str
    """Visitors: anonymous_id, linked_id, linked_until."""
    merges: str
    """Contacts with an earlier id: earlier_id, merged_id."""
    tail: Path
    """The events that the lake was not fed yet."""

    def run(self, query: str, **values: Any) -> None:
        """Run a statement with the values it names."""
        self.connection.execute(query, values or None)

    def happened(self, events: Sequence[str], columns: str, since: datetime | None, now: datetime) -> None:
        """Make table `happened` of the named events in since <= moment <= now, each once.

        It has event_id, event, moment, `columns`, and person, who an event belongs to: the contact, another's
        earlier id being that other's, or the visitor, who is the contact once linked.
        """
        files = self.lake.files(since)
        stored = _duck.select("*", files) if files else _duck.nothing(SCHEMAS["events"])
        query = _HAPPENED.format(
            columns=columns, wanted=_WANTED, lake=stored, log=_duck.select("*", [self.tail]),
            links=self.links, merges=self.merges,
        )  # fmt: skip
        self.run(query, events=list(events), since=since, now=now)


@contextmanager
def reading(settings: Settings, since: datetime | None) -> Iterator[Reading]:
    """Yield what there is to read, decisions from `since` on. Works on disk, in bounded memory."""
    lake = Lake(settings.lake)
    with lake.workspace() as folder, _duck.connect(folder, str(folder / "report.duckdb")) as connection:
        decisions, tail, links, merges = (
            folder / f"{name}.parquet" for name in ("decisions", "log", "links", "merges")
        )
        with closing(EventLog(settings.event_log_url)) as log:
            _write_decisions(log, decisions, since)
            _write_tail(log, lake, tail)
            graph = Graph(log.links())
        pq.write_table(link_rows(graph), links)
        pq.write_table(merge_rows(graph), merges)
        yield Reading(
            connection,
            lake,
            _duck.parquet([decisions]),
            _duck.parquet([links]),
            _duck.parquet([merges]),
            tail,
        )


def _write_decisions(log: EventLog, file: Path, since: datetime | None) -> None:
    with pq.ParquetWriter(file, DECISION_SCHEMA) as writer:
        for table in log.decision_tables(since):
            writer.write_table(table)


def _write_tail(log: EventLog, lake: Lake, file: Path) -> None:
    with pq.ParquetWriter(file, SCHEMAS["events"]) as writer:
        for frame in log.read(log.fed(lake)):
            writer.write_table(to_arrow(frame, "events"))
