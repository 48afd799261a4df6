"""The joins behind the decision report, in DuckDB: answers, what was seen and clicked of them, order lines.

A slot is an item at a position of an answer; an answer that chooses a channel has one. A touch is a view or a
click of a slot. An order line is credited to the latest click before it, within the window, on that item by
the same person; a line no click can claim may be assisted by the latest view in the same way. Each line
counts once. A message's touch names no item: whatever is ordered may follow it.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import duckdb

from nextbest.settings import Settings
from training._happened import Reading, Span, reading

VIEW_EVENTS = ("recommendation_viewed", "message_sent")
CLICK_EVENTS = ("recommendation_clicked", "message_clicked")
MESSAGES = ("message_sent", "message_clicked")
ORDERS = ("order_completed",)

_ANSWERS = """
CREATE TABLE answers AS
SELECT
    row_number() OVER () AS answer, decision_id, timestamp AS moment,
    coalesce(placement, kind) AS placement, coalesce(fallback, '') AS fallback,
    coalesce(model_version, '') AS model_version, coalesce(source, 'none') AS source,
    kind = 'best_channel' AS of_message,
    coalesce(json_extract_string(properties, '$.explore') = 'true', false) AS explore,
    list_filter(from_json(shown, '[["VARCHAR"]]'), lambda entry: entry[1] IS NOT NULL) AS shown
FROM {decisions}
"""
_COUNTS = """
CREATE TABLE counts AS
SELECT
    placement, fallback, model_version, source, explore, count(*) AS n,
    list_transform(shown, lambda entry: coalesce(entry[3], source)) AS sources
FROM answers WHERE moment < $until OR $until IS NULL
GROUP BY ALL
"""
_COLUMNS = """
    item_id, quantity, price,
    coalesce(properties->>'recommendation_id', properties->>'decision_id') AS decision_id,
    try_cast(properties->>'position' AS INTEGER) AS position,
    list_filter(
        list_transform(
            try_cast(json_extract(properties, '$.products') AS JSON[]),
            lambda product: coalesce(product->>'product_id', product->>'item_id')
        ),
        lambda product: product IS NOT NULL
    ) AS products
"""
_TOUCHES = """
CREATE TABLE touches AS
SELECT
    event_id, event IN (SELECT unnest($clicks)) AS click, moment, person, decision_id, position,
    unnest(
        if(event IN (SELECT unnest($messages)), [NULL], if(len(products) > 0, products, [item_id]))
    ) AS item_id,
    event IN (SELECT unnest($messages)) AS of_message
FROM happened
WHERE event IN (SELECT unnest($clicks || $views))
    AND (decision_id IS NOT NULL OR event NOT IN (SELECT unnest($messages)))
"""
_SLOTS = """
CREATE TABLE slots AS
SELECT
    answer, decision_id, position, entry[1] AS item_id, coalesce(entry[3], source) AS source,
    placement, fallback, model_version, of_message, moment
FROM (
    SELECT * EXCLUDE shown, unnest(shown) AS entry, generate_subscripts(shown, 1) AS position
    FROM answers SEMI JOIN touches USING (decision_id)
)
"""
_MATCHED = """
CREATE TABLE matched AS
SELECT answer, s.position, click, t.moment, person, s.item_id, event_id
FROM touches AS t JOIN slots AS s USING (decision_id, item_id, of_message)
UNION ALL
SELECT answer, s.position, click, t.moment, person, if(of_message, NULL, s.item_id), event_id
FROM touches AS t JOIN slots AS s USING (decision_id, of_message)
WHERE t.item_id IS NULL
    AND (of_message OR t.position = s.position OR (NOT click AND t.position IS NULL))
"""
_LINES = """
CREATE TABLE lines AS
SELECT
    event_id, item_id, person, moment, coalesce(price, 0) * coalesce(quantity, 1) AS amount
FROM happened
WHERE event IN (SELECT unnest($orders)) AND person IN (SELECT person FROM matched)
"""
_CREDITED = """
WITH touched AS (
    SELECT person, item_id, moment, max((answer, position)) AS slot
    FROM matched WHERE click = $click GROUP BY ALL
),
of_item AS (
    SELECT l.event_id, t.moment, t.slot
    FROM lines AS l ASOF JOIN (FROM touched WHERE item_id IS NOT NULL) AS t
    ON l.person = t.person AND l.item_id = t.item_id AND l.moment >= t.moment
),
of_anything AS (
    SELECT l.event_id, t.moment, t.slot
    FROM lines AS l ASOF JOIN (FROM touched WHERE item_id IS NULL) AS t
    ON l.person = t.person AND l.moment >= t.moment
)
SELECT c.event_id, arg_max(c.slot, c.moment)[1] AS answer, arg_max(c.slot, c.moment)[2] AS position
FROM (FROM of_item UNION ALL FROM of_anything) AS c JOIN lines AS l USING (event_id)
WHERE l.moment <= c.moment + $days * INTERVAL 1 DAY AND {free}
GROUP BY c.event_id
"""
_RESULTS = """
CREATE TABLE results AS
SELECT
    s.placement, s.source, s.fallback, s.model_version, s.position, m.*,
    coalesce(c.amount, 0) AS revenue, c.answer IS NOT NULL AS converted,
    coalesce(a.amount, 0) AS assisted_revenue, a.answer IS NOT NULL AS assisted
FROM (
    SELECT
        answer, position, bool_or(click) AS clicked, bool_or(NOT click) AS view_reported,
        arg_max(person, (click, moment)) AS person,
        max(moment) FILTER (click) + $days * INTERVAL 1 DAY > $now AS open
    FROM matched GROUP BY ALL
) AS m
JOIN slots AS s USING (answer, position)
LEFT JOIN (
    SELECT answer, position, sum(amount) AS amount FROM credited JOIN lines USING (event_id) GROUP BY ALL
) AS c USING (answer, position)
LEFT JOIN (
    SELECT answer, position, sum(amount) AS amount FROM helped JOIN lines USING (event_id) GROUP BY ALL
) AS a USING (answer, position)
WHERE s.moment < $until OR $until IS NULL
"""


@contextmanager
def joined(settings: Settings, span: Span) -> Iterator[duckdb.DuckDBPyConnection]:
    """Yield a connection with two tables that do not grow with the log's answers.

    `counts`: answers by placement, fallback, model_version, source and explore, with each one's `sources` by
    position. `results`: a row for each slot touched. Works on disk, in bounded memory.
    """
    with reading(settings, span.since) as read:
        _join(read, span)
        yield read.connection


def _join(read: Reading, span: Span) -> None:
    run = read.run
    run(_ANSWERS.format(decisions=read.decisions))
    (first,) = read.connection.execute("SELECT min(moment) FROM answers").fetchone() or (None,)
    run(_COUNTS, until=span.until)
    read.happened([*VIEW_EVENTS, *CLICK_EVENTS, *ORDERS], _COLUMNS, first or span.now, span.now)
    run(_TOUCHES, clicks=list(CLICK_EVENTS), views=list(VIEW_EVENTS), messages=list(MESSAGES))
    run(_SLOTS)
    run(_MATCHED)
    run(_LINES, orders=list(ORDERS))
    run(f"CREATE TABLE credited AS {_CREDITED.format(free='true')}", click=True, days=span.days)
    free = "c.event_id NOT IN (SELECT event_id FROM credited)"
    run(f"CREATE TABLE helped AS {_CREDITED.format(free=free)}", click=False, days=span.days)
    run(_RESULTS, days=span.days, now=span.now, until=span.until)
