"""The table importer's SQL: from text cells to canonical lines."""

from collections.abc import Mapping

from features.events import _duck
from features.events.importers._delimited import LINE, RAGGED, Staged

_NOTHING = "('', 'nan', 'none', 'null', 'na', 'n/a', '<na>', 'nat')"
_IDS = ("contact_id", "anonymous_id", "order_id", "item_id", "event_id", "campaign_id", "message_id")
_TEXTS = (*_IDS, "event", "currency", "channel", "url", "title", "category", "brand", "refund")
_SET = "('1', '1.0', 'true', 't', 'yes', 'y', 'x', 'refund', 'refunded', 'return', 'returned')"


def columns_sql(staged: Staged, mapping: Mapping[str, str]) -> dict[str, str]:
    """Return the parts of CREATE_LINES that depend on the mapping."""
    texts = [
        f"{_cell(mapping[key], key)} AS {key}" if key in mapping else f"CAST(NULL AS VARCHAR) AS {key}"
        for key in _TEXTS
    ]
    numbers = [key for key in ("quantity", "price", "amount") if key in mapping]
    joins = [
        f"LEFT JOIN read_{key} ON read_{key}.text = cells.{mapping[key]}" for key in ("timestamp", *numbers)
    ]
    values = [
        f"read_{key}.value AS {key}" if key in numbers else f"CAST(NULL AS DOUBLE) AS {key}"
        for key in ("quantity", "price", "amount")
    ]
    wrong = [
        f"CASE WHEN read_{key}.text IS NOT NULL AND read_{key}.value IS NULL"
        f" THEN '{key} ''' || left(cells.{mapping[key]}, 60) || ''' is not a number' END"
        for key in numbers
    ]
    time = f"left(cells.{mapping['timestamp']}, 60)"
    wrong += [
        f"CASE WHEN read_timestamp.moment IS NULL THEN COALESCE('timestamp ''' || nullif({time}, '')"
        " || ''' is not a time', 'timestamp is missing') END"
    ]
    return {
        "cells": ", ".join(f"c{n}" for n in range(len(staged.columns))),
        "rows": _duck.parquet([staged.path]),
        "texts": ",\n            ".join(texts),
        "values": ", ".join(values),
        "joins": "\n        ".join(joins),
        "reason": f"COALESCE({RAGGED}, nullif(concat_ws('; ', {', '.join(wrong)}), ''))",
        "floats": _floats(staged, mapping),
        "line": LINE,
        "set": _SET,
    }


def _cell(cell: str, key: str) -> str:
    """Return SQL of a cell: trimmed, null where it says nothing, an id of a float column without its ".0"."""
    text = f"trim({cell})"
    present = f"CASE WHEN lower({text}) IN {_NOTHING} THEN NULL ELSE {text} END"
    if key not in _IDS:
        return present
    return f"CASE WHEN floats.{key} THEN regexp_replace({present}, '[.]0+$', '') ELSE {present} END"


def _floats(staged: Staged, mapping: Mapping[str, str]) -> str:
    """Return SQL of one row: which id columns hold nothing but whole floats ("12345.0")."""
    flags = [
        f"COALESCE(bool_and(regexp_full_match(trim({mapping[key]}), '[0-9]+[.]0+'))"
        f" FILTER (lower(trim({mapping[key]})) NOT IN {_NOTHING}), false) AS {key}"
        for key in _IDS
        if key in mapping
    ]
    return _duck.select(", ".join(flags) or "false AS nothing", [staged.path])


CREATE_LINES = """
    CREATE TABLE lines AS
    WITH floats AS ({floats} LIMIT 1), found AS (
        SELECT cells.{line}, md5(concat_ws(chr(31), [{cells}])) AS digest,
            {texts},
            {values},
            read_timestamp.moment AS moment,
            {reason} AS reason
        FROM {rows} AS cells CROSS JOIN floats
        {joins}
    ), named AS (
        SELECT * REPLACE (
                COALESCE(trim(lower(regexp_replace(regexp_replace(
                    event, '([a-z])([A-Z])', '\\1_\\2', 'g'), '[^A-Za-z0-9]+', '_', 'g')), '_'),
                    'order_completed') AS event
            )
        FROM found
    ), signed AS (
        SELECT * REPLACE (
                CASE WHEN event = 'order_completed'
                        AND (quantity < 0 OR amount < 0 OR lower(refund) IN {set})
                     THEN 'order_refunded' ELSE event END AS event,
                abs(quantity) AS quantity, abs(amount) AS amount
            ),
            event IN ('order_completed', 'order_refunded') AS is_order
        FROM named
    ), priced AS (
        SELECT * REPLACE (
                CASE WHEN amount IS NOT NULL AND COALESCE(quantity, 0) = 0 THEN 1
                     WHEN is_order THEN COALESCE(quantity, 1) ELSE quantity END AS quantity,
                CASE WHEN amount IS NULL THEN price
                     WHEN COALESCE(quantity, 0) = 0 THEN amount ELSE amount / quantity END AS price
            )
        FROM signed
    )
    SELECT * REPLACE (
            COALESCE(event_id, md5(event || chr(31) || digest)) AS event_id,
            CASE WHEN order_id IS NULL AND is_order THEN contact_id || '@' || strftime(moment, '%Y-%m-%d')
                 ELSE order_id END AS order_id,
            CASE WHEN contact_id IS NULL AND anonymous_id IS NULL THEN 'order:' || order_id
                 ELSE anonymous_id END AS anonymous_id
        )
    FROM priced
    """
"""Text cells -> lines with canonical values and `reason` where a cell could not be read."""

CREATE_ORDERS = """
    CREATE TABLE orders AS
    SELECT event AS of_event, order_id AS of_order,
        COALESCE(contact_id, 'anonymous:' || anonymous_id) AS of_owner, min(moment) AS earliest
    FROM lines WHERE is_order AND order_id IS NOT NULL AND reason IS NULL
    GROUP BY ALL HAVING min(moment) < max(moment)
    """
"""The orders whose lines have several times: the earliest stands."""

STREAM = """
    SELECT line, event_id, event, COALESCE(earliest, moment) + $shift AS timestamp,
        contact_id, anonymous_id, item_id, order_id, quantity, price, currency, channel, campaign_id,
        message_id, url, reason
    FROM lines LEFT JOIN orders ON of_order = order_id AND of_event = event
        AND of_owner = COALESCE(contact_id, 'anonymous:' || anonymous_id)
    ORDER BY line
    """

_MOST_FREQUENT = """
    {name} AS (
        SELECT item_id, {name} FROM (
            SELECT item_id, {name}, count(*) AS n FROM known WHERE {name} IS NOT NULL GROUP BY ALL)
        QUALIFY row_number() OVER (PARTITION BY item_id ORDER BY n DESC, {name}) = 1
    )"""
ITEMS = f"""
    WITH known AS (
        SELECT * FROM lines WHERE item_id IS NOT NULL AND reason IS NULL AND COALESCE(price, 0) >= 0
            AND COALESCE(contact_id, anonymous_id) IS NOT NULL
    ), {",".join(_MOST_FREQUENT.format(name=name) for name in ("title", "category", "brand"))},
    price AS (
        SELECT item_id, arg_max(price, (moment, line)) AS price FROM known
        WHERE price > 0 AND event <> 'order_refunded' GROUP BY ALL
    )
    SELECT item_id, title, category, brand, price
    FROM (SELECT DISTINCT item_id FROM known) AS item
    LEFT JOIN title USING (item_id) LEFT JOIN category USING (item_id) LEFT JOIN brand USING (item_id)
    LEFT JOIN price USING (item_id)
    ORDER BY item_id
    """  # noqa: S608  column names of ours
"""The most frequent title, category and brand of each item, and its latest price."""
