"""What a canonical row must satisfy. Rows that do not are handed back with the reason, never dropped."""

import json
from collections.abc import Callable
from datetime import datetime, timedelta

import numpy as np
import pandas as pd
import pandera.pandas as pa

from features.events._types import SCHEMAS, coerce
from nextbest.columns import (
    ANONYMOUS_ID,
    CONTACT_ID,
    EVENT,
    EVENT_ID,
    ITEM_ID,
    ORDER_COMPLETED,
    ORDER_ID,
    ORDER_REFUNDED,
    PRICE,
    PROPERTIES,
    QUANTITY,
    RECEIVED_AT,
    TIMESTAMP,
)

OLDEST = timedelta(days=38 * 365.25)
"""Decayed window sums hold doubles in range for so long (docs/decisions.md)."""
NEWEST = timedelta(days=1)
MOST_AMOUNT = 1e9
"""Prices and quantities above are no shop's; one such line would hide all others in a sum."""
REASON = "reason"
KNOWN_EVENTS = frozenset((
    "page_viewed", "product_viewed", "product_clicked", "product_added", "product_removed", "cart_viewed",
    "checkout_started", "order_completed", "order_refunded", "products_searched", "form_submitted",
    "message_sent", "message_delivered", "message_opened", "message_clicked", "message_bounced",
    "unsubscribed", "recommendation_viewed", "recommendation_clicked",
))  # fmt: skip
"""Names of the e-commerce and messaging specs; others are kept and counted."""
EVENT_NAME = r"[a-z][a-z0-9]*(?:_[a-z0-9]+)*"
"""snake_case."""


def validate_events(frame: pd.DataFrame, now: datetime) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Split raw event rows into canonical good ones and rejects (the row as it came, and `reason`).

    Missing optional columns become null, unknown ones move into `properties`, a missing received_at is `now`.
    Both results keep the index of the input, which must be unique.
    """
    typed, reasons = coerce(_fold_unknown(frame), "events")
    typed[RECEIVED_AT] = typed[RECEIVED_AT].fillna(pd.Timestamp(now))
    return _split(frame, typed, reasons, _events_schema(now))


def validate_items(frame: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Split raw items: an item needs an item_id; a price is finite and not negative."""
    typed, reasons = coerce(frame, "items")
    return _split(frame, typed, reasons, _ITEMS)


def validate_contacts(frame: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Split raw contacts: a contact needs a contact_id; traits are a JSON object."""
    typed, reasons = coerce(frame, "contacts")
    return _split(frame, typed, reasons, _CONTACTS)


def validate_identities(frame: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Split raw identity links: both ids are needed."""
    typed, reasons = coerce(frame, "identities")
    return _split(frame, typed, reasons, _IDENTITIES)


def _split(
    raw: pd.DataFrame, typed: pd.DataFrame, reasons: pd.Series, schema: pa.DataFrameSchema
) -> tuple[pd.DataFrame, pd.DataFrame]:
    reasons = _add_failures(typed, reasons, schema)
    bad = reasons != ""
    if not bad.any():
        return typed, raw.iloc[:0].assign(**{REASON: pd.Series(dtype=object)})
    return typed[~bad], raw[bad].assign(**{REASON: reasons[bad]})


def _add_failures(typed: pd.DataFrame, reasons: pd.Series, schema: pa.DataFrameSchema) -> pd.Series:
    """Run the schema's checks one by one and note who fails, in rows that could be read.

    Not schema.validate: its failure report took 51 s for 250 thousand bad rows, the checks alone take 0.3 s.
    """
    readable = reasons == ""
    checks = [(typed[name], check) for name, column in schema.columns.items() for check in column.checks]
    for subject, check in [*checks, *((typed, check) for check in schema.checks)]:
        passed = check(subject).check_output
        if not passed.all():
            failed = ~passed.reindex(typed.index, fill_value=True).astype(bool) & readable
            said = reasons[failed]
            reasons[failed] = said.where(said == "", said + "; ") + str(check.error)
    return reasons


def _fold_unknown(frame: pd.DataFrame) -> pd.DataFrame:
    """Move columns that are not canonical into properties; a property already there wins."""
    unknown = [name for name in frame.columns if name not in SCHEMAS["events"].names]
    if not unknown or frame.empty:
        return frame
    text = frame[unknown].to_json(orient="records", lines=True, date_format="iso").splitlines()
    extra = pd.Series(text, index=frame.index, dtype=object)
    known = frame.get(PROPERTIES)
    if known is not None:
        merged = [_merged(e, k) for e, k in zip(extra, known, strict=True)]
        extra = pd.Series(merged, index=frame.index, dtype=object)
    return frame.drop(columns=unknown).assign(**{PROPERTIES: extra})


def _merged(extra: str, known: object) -> object:
    if isinstance(known, str) and known:
        try:
            known = json.loads(known)
        except ValueError:
            return known
    return json.dumps(json.loads(extra) | known) if isinstance(known, dict) else extra


def _present(column: str) -> pa.Check:
    return pa.Check(lambda s: s.notna(), error=f"{column} is missing", ignore_na=False)


def _is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False


def _objects(texts: pd.Series) -> pd.Series:
    """Parse each distinct text once: importers repeat themselves."""
    verdicts = {text: _is_object(text) for text in texts.unique()}
    return texts.map(verdicts).astype(bool)


def _amount(column: str) -> pa.Column:
    check = pa.Check(
        lambda s: np.isfinite(s) & (s >= 0) & (s <= MOST_AMOUNT),
        error=f"{column} is negative, not finite or above {MOST_AMOUNT:,.0f}",
    )
    return pa.Column(float, check, nullable=True, required=False)


def _json(column: str) -> pa.Column:
    return pa.Column(None, pa.Check(_objects, error=f"{column} is not a JSON object"), nullable=True)


def _rows(rule: Callable[[pd.DataFrame], pd.Series], error: str) -> pa.Check:
    return pa.Check(rule, error=error, ignore_na=False)


def _events_schema(now: datetime) -> pa.DataFrameSchema:
    present = pd.Timestamp(now)
    in_range = pa.Check(
        lambda s: s.between(present - OLDEST, present + NEWEST),
        error=f"timestamp is outside {present - OLDEST:%Y-%m-%d} to {present + NEWEST:%Y-%m-%d}",
    )
    name = pa.Check(lambda s: s.str.fullmatch(EVENT_NAME), error="event is not a snake_case name")
    return pa.DataFrameSchema(
        {
            EVENT_ID: pa.Column(None, _present(EVENT_ID), nullable=True),
            EVENT: pa.Column(None, [_present(EVENT), name], nullable=True),
            TIMESTAMP: pa.Column(None, [_present(TIMESTAMP), in_range], nullable=True),
            QUANTITY: _amount(QUANTITY),
            PRICE: _amount(PRICE),
            PROPERTIES: _json(PROPERTIES),
        },
        checks=[
            _rows(
                lambda f: f[CONTACT_ID].notna() | f[ANONYMOUS_ID].notna(),
                "neither contact_id nor anonymous_id",
            ),
            _rows(lambda f: ~_is_order(f) | f[ORDER_ID].notna(), "an order line without order_id"),
            _rows(lambda f: ~_is_order(f) | f[ITEM_ID].notna(), "an order line without item_id"),
        ],
    )


def _is_order(frame: pd.DataFrame) -> pd.Series:
    return frame[EVENT].isin((ORDER_COMPLETED, ORDER_REFUNDED))


def _needs(*columns: str, **others: pa.Column) -> pa.DataFrameSchema:
    needed = {name: pa.Column(None, _present(name), nullable=True) for name in columns}
    return pa.DataFrameSchema({**needed, **others})


_ITEMS = _needs("item_id", price=_amount("price"))
_CONTACTS = _needs(CONTACT_ID, traits=_json("traits"))
_IDENTITIES = _needs(ANONYMOUS_ID, CONTACT_ID)
