"""Arrow schemas of the canonical tables, and the one way raw pandas values become canonical ones."""

import json
from typing import Any

import pandas as pd
import pyarrow as pa

from nextbest.columns import ALIAS, CONTACT_COLUMNS, EVENT_COLUMNS, IDENTITY_COLUMNS, ITEM_COLUMNS

TEXT = pd.StringDtype("pyarrow")
TIME = "datetime64[us, UTC]"
_DTYPES: dict[str, Any] = {"string": TEXT, "double": "float64", "bool": object}
"""Arrow type -> pandas type; what is not here is a time."""

_ARROW_TIME = pa.timestamp("us", tz="UTC")
_TYPES = {
    **dict.fromkeys(("timestamp", "received_at", "created_at"), _ARROW_TIME),
    **dict.fromkeys(("quantity", "price"), pa.float64()),
    **dict.fromkeys(("in_stock", "hidden", "repeatable", ALIAS), pa.bool_()),
    **{name: pa.bool_() for name in CONTACT_COLUMNS if name.startswith(("consent_", "reachable_"))},
}


def _schema(columns: tuple[str, ...]) -> pa.Schema:
    return pa.schema([(name, _TYPES.get(name, pa.string())) for name in columns])


SCHEMAS: dict[str, pa.Schema] = {
    "events": _schema(EVENT_COLUMNS),
    "items": _schema(ITEM_COLUMNS),
    "contacts": _schema(CONTACT_COLUMNS),
    "identities": _schema(IDENTITY_COLUMNS),
}
"""Table -> its canonical columns and types."""


def to_arrow(frame: pd.DataFrame, table: str) -> pa.Table:
    """Return the canonical columns of a validated frame as Arrow."""
    schema = SCHEMAS[table]
    return pa.Table.from_pandas(frame[schema.names], schema=schema, preserve_index=False)


def to_frame(table: pa.Table) -> pd.DataFrame:
    """Return Arrow as pandas with Arrow-backed strings: quick to make, quick to check, small."""
    return table.to_pandas(types_mapper={pa.string(): TEXT, pa.large_string(): TEXT}.get)


def coerce(frame: pd.DataFrame, table: str) -> tuple[pd.DataFrame, pd.Series]:
    """Bring raw columns to canonical types and order; what cannot be read becomes null with a reason.

    Missing columns are null. Returns the frame and, by the same index, the reasons ("" where there is none).
    """
    columns: dict[str, pd.Series] = {}
    reasons = pd.Series("", index=frame.index, dtype=object)
    for field in SCHEMAS[table]:
        if field.name not in frame or (raw := frame[field.name]).isna().all():
            columns[field.name] = pd.Series(None, index=frame.index, dtype=_DTYPES.get(str(field.type), TIME))
            continue
        columns[field.name] = value = _as_type(raw, field.type)
        if field.type != pa.string():
            lost = value.isna() & raw.notna() & (raw != "")
            if lost.any():
                said = _unreadable(field, raw[lost])
                reasons[lost] = reasons[lost].where(reasons[lost] == "", reasons[lost] + "; ") + said
    return pd.DataFrame(columns, index=frame.index), reasons


def _unreadable(field: pa.Field, values: pd.Series) -> pd.Series:
    what = {"double": "a number", "bool": "true or false"}.get(str(field.type), "an ISO 8601 time")
    return field.name + " '" + values.astype(str).str.slice(0, 60) + f"' is not {what}"


def _as_type(raw: pd.Series, kind: pa.DataType) -> pd.Series:
    if kind == pa.string():
        return _as_text(raw)
    if kind == pa.float64():
        return pd.to_numeric(_blank_to_null(raw), errors="coerce").astype("float64")
    if kind == pa.bool_():
        return _as_flag(raw)
    return _as_time(raw)


def _blank_to_null(raw: pd.Series) -> pd.Series:
    return raw.replace("", None) if raw.dtype == object or isinstance(raw.dtype, pd.StringDtype) else raw


def _as_text(raw: pd.Series) -> pd.Series:
    """Ids that came as floats because of gaps ("12345.0") become what they were; empty text is null."""
    if pd.api.types.is_float_dtype(raw.dtype):
        whole = raw.where(raw.isna() | (raw % 1 != 0))
        text = raw.astype("Int64").astype(TEXT) if whole.isna().all() else raw.astype(TEXT)
    elif raw.dtype == object:
        text = raw.map(_text).astype(TEXT)
    else:
        text = raw.astype(TEXT)
    return text.mask(text == "", pd.NA) if (text == "").any() else text


def _text(value: Any) -> str | None:
    if isinstance(value, str):
        return value
    if isinstance(value, dict | list):
        return json.dumps(value, separators=(",", ":"), default=str)
    if value is None or pd.isna(value):
        return None
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


_FLAGS = {"true": True, "false": False, "1": True, "0": False, "yes": True, "no": False}


def _as_flag(raw: pd.Series) -> pd.Series:
    if pd.api.types.is_bool_dtype(raw.dtype) and not raw.isna().any():
        return raw.astype(object)
    return raw.map(lambda v: None if pd.isna(v) else _FLAGS.get(str(v).lower().removesuffix(".0"))).astype(
        object
    )


def _as_time(raw: pd.Series) -> pd.Series:
    """Text is ISO 8601; a time without a zone is UTC; bare numbers are not times."""
    if pd.api.types.is_datetime64_any_dtype(raw.dtype):
        zoned = raw.dt.tz_localize("UTC") if raw.dt.tz is None else raw.dt.tz_convert("UTC")
    elif pd.api.types.is_numeric_dtype(raw.dtype):
        zoned = pd.Series(pd.NaT, index=raw.index, dtype=TIME)
    else:
        zoned = pd.to_datetime(raw.astype(object), utc=True, errors="coerce", format="ISO8601")
    return zoned.astype(TIME)
