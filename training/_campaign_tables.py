"""The joins behind the campaign report, in DuckDB: messages and what came of them, orders, decisions."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import duckdb
import pandas as pd

from nextbest.columns import MESSAGE_SENT, ORDER_COMPLETED
from nextbest.settings import Settings
from training._happened import Span, reading

CAME = {
    "delivered": "message_delivered",
    "bounced": "message_bounced",
    "opened": "message_opened",
    "clicked": "message_clicked",
    "unsubscribed": "unsubscribed",
}
"""Column of a message -> the event that makes it true."""

_COLUMNS = """
    order_id, message_id, coalesce(campaign_id, '') AS campaign, coalesce(channel, '') AS channel,
    coalesce(price, 0) * coalesce(quantity, 1) AS amount,
    coalesce(properties->>'simulated' = 'true', false) AS simulated
"""
_MESSAGES = """
CREATE TABLE messages AS
WITH sent AS (
    SELECT
        person, coalesce(message_id, event_id) AS message, min(moment) AS moment,
        arg_min(campaign, moment) AS campaign, arg_min(channel, moment) AS channel,
        bool_or(simulated) AS simulated
    FROM happened WHERE event = '{MESSAGE_SENT}' GROUP BY ALL
),
came AS (
    SELECT person, message_id AS message, {flags} FROM happened WHERE event <> '{MESSAGE_SENT}' GROUP BY ALL
)
SELECT sent.*, {kept} FROM sent LEFT JOIN came USING (person, message)
"""
_ORDERS = f"""
CREATE TABLE orders AS
SELECT person, coalesce(order_id, event_id) AS order_id, min(moment) AS moment, sum(amount) AS amount
FROM happened WHERE event = '{ORDER_COMPLETED}' GROUP BY person, coalesce(order_id, event_id)
"""  # noqa: S608  a name of ours
_AUDIENCE = """
CREATE TABLE audience AS
SELECT
    campaign_id AS campaign, coalesce(merged_id, contact_id) AS person, min(timestamp) AS moment,
    arg_min(json_extract_string(properties, '$.held_out') = 'true', timestamp) AS held_out,
    arg_min(
        coalesce(
            json_extract_string(properties, '$.intended_channel'),
            from_json(shown, '[["VARCHAR"]]')[1][1]
        ),
        timestamp
    ) AS channel
FROM {decisions} LEFT JOIN {merges} ON contact_id = earlier_id
WHERE kind = 'best_channel' AND campaign_id IS NOT NULL AND contact_id IS NOT NULL
    AND json_extract_string(properties, '$.held_out') IS NOT NULL
    AND timestamp <= $now AND (timestamp < $until OR $until IS NULL)
GROUP BY ALL
"""
_OUTCOMES = """
SELECT row, coalesce(sum(amount), 0) AS revenue
FROM asked LEFT JOIN orders
    ON orders.person = asked.person AND orders.moment > asked.moment AND orders.moment <= asked.until
GROUP BY row ORDER BY row
"""


class CampaignTables:
    """What was read, as frames; times are datetime64 in UTC."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, span: Span) -> None:
        self._connection, self._span = connection, span

    def messages(self) -> pd.DataFrame:
        """Return a row for each message sent to a person.

        person, message, moment, campaign and channel ("" where not said), simulated, the flags of CAME, and
        `in_span`, False where it was sent just before the span or after it.
        """
        return self._frame(
            "SELECT *, "
            "(moment >= $since OR $since IS NULL) AND (moment < $until OR $until IS NULL) AS in_span "
            "FROM messages ORDER BY moment, person, message",
            since=self._span.since, until=self._span.until,
        )  # fmt: skip

    def orders(self) -> pd.DataFrame:
        """Return the orders a message of the span may have touched: person, order_id, moment, amount."""
        return self._frame(
            "FROM orders SEMI JOIN messages USING (person) WHERE (moment >= $since OR $since IS NULL) "
            "AND (moment <= $until OR $until IS NULL) ORDER BY moment, person, order_id",
            since=self._span.since,
            until=self._span.until and self._span.until + timedelta(days=self._span.days),
        )

    def audience(self) -> pd.DataFrame:
        """Return each campaign's contacts as first decided: campaign, person, moment, held_out, channel."""
        return self._frame("FROM audience ORDER BY campaign, person")

    def revenue(self, asked: pd.DataFrame) -> "pd.Series[float]":
        """Return what each row's `person` ordered with `moment` < time <= `until`."""
        rows = asked[["person", "moment", "until"]].assign(row=range(len(asked)))
        self._connection.register("asked", rows)
        found = self._connection.execute(_OUTCOMES).df()
        return pd.Series(found["revenue"].to_numpy(dtype=float), index=asked.index)

    def unmatched(self) -> dict[str, int]:
        """Return how many events of each kind of CAME name no message that was read."""
        rows = self._connection.execute(
            "SELECT event, count(*) FROM happened AS h ANTI JOIN messages AS m "
            "ON h.person = m.person AND h.message_id = m.message "
            "WHERE event IN (SELECT unnest($came)) AND (moment >= $since OR $since IS NULL) GROUP BY event",
            {"came": list(CAME.values()), "since": self._span.since},
        ).fetchall()
        counted = {str(event): int(n) for event, n in rows}
        return {name: counted[event] for name, event in CAME.items() if event in counted}

    def _frame(self, query: str, **values: Any) -> pd.DataFrame:
        found = self._connection.execute(query, values or None).df()
        return found.assign(moment=pd.to_datetime(found["moment"], utc=True).astype("datetime64[us, UTC]"))


@contextmanager
def campaign_tables(settings: Settings, span: Span) -> Iterator[CampaignTables]:
    """Yield the tables up to span.now, from span.days before span.since. Works on disk, in bounded memory."""
    with reading(settings, span.since) as read:
        since = span.since - timedelta(days=span.days) if span.since else None
        read.happened([MESSAGE_SENT, *CAME.values(), ORDER_COMPLETED], _COLUMNS, since, span.now)
        read.run(_messages())
        read.run(_ORDERS)
        audience = _AUDIENCE.format(decisions=read.decisions, merges=read.merges)
        read.run(audience, now=span.now, until=span.until)
        yield CampaignTables(read.connection, span)


def _messages() -> str:
    flags = ", ".join(f"bool_or(event = '{event}') AS {name}" for name, event in CAME.items())
    kept = ", ".join(f"coalesce({name}, false) AS {name}" for name in CAME)
    return _MESSAGES.format(MESSAGE_SENT=MESSAGE_SENT, flags=flags, kept=kept)
