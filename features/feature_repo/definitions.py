"""What Feast knows: entities, views over the feature tables, and one service a task.

Feast imports this file by itself (`feast apply`); features.store calls `repository` with the state folder.
"""

import os
from datetime import timedelta
from pathlib import Path
from typing import Any

from feast import Entity, FeatureService, FeatureView, Field, FileSource, ValueType
from feast.types import Array, Float64, Int64, String

from features.items import ITEM_ROW_COLUMNS
from features.pairs import CATEGORY_ROW_COLUMNS, ITEM_PAIR_COLUMNS
from features.state import LISTS_AS_OF, LISTS_AT, NAME_ARRAYS
from nextbest.columns import ARRAY_COLUMNS, AS_OF, CHANNEL_COLUMNS, COUNTER_COLUMNS, TIME_COLUMNS

FOREVER = timedelta(0)
"""Rows never go stale: they are valued at their moment and decay from there."""

CONTACT = Entity(name="contact", join_keys=["contact_id"], value_type=ValueType.STRING)
ITEM = Entity(name="item", join_keys=["item_id"], value_type=ValueType.STRING)
CATEGORY = Entity(name="category", join_keys=["category"], value_type=ValueType.STRING)
CHANNEL = Entity(name="channel", join_keys=["channel"], value_type=ValueType.STRING)


def repository(tables: Path) -> list[Any]:
    """Return every Feast object over the Parquet files in a folder."""
    floats = dict.fromkeys((*COUNTER_COLUMNS, *TIME_COLUMNS), Float64)
    arrays = {name: Array(String if name in NAME_ARRAYS else Float64) for name in ARRAY_COLUMNS}
    contact = _view(tables, "contact", [CONTACT], {AS_OF: Int64, **floats}, online=True)
    lists = _view(
        tables, "contact_lists", [CONTACT], {LISTS_AS_OF: Int64, LISTS_AT: Float64, **arrays}, online=True
    )
    offline = [
        _view(tables, "contact_item", [CONTACT, ITEM], dict.fromkeys(ITEM_PAIR_COLUMNS, Float64)),
        _view(tables, "contact_category", [CONTACT, CATEGORY], dict.fromkeys(CATEGORY_ROW_COLUMNS, Float64)),
        _view(tables, "contact_channel", [CONTACT, CHANNEL], dict.fromkeys(CHANNEL_COLUMNS[1:], Float64)),
        _view(tables, "item", [ITEM], dict.fromkeys(ITEM_ROW_COLUMNS, Float64)),
    ]
    tasks = [
        FeatureService(name=task, features=[contact])
        for task in ("next_purchase", "churn", "value", "best_channel")
    ]
    card = FeatureService(name="contact_card", features=[contact, lists])
    return [CONTACT, ITEM, CATEGORY, CHANNEL, contact, lists, *offline, *tasks, card]


def _view(tables: Path, name: str, entities: list[Any], fields: dict[str, Any], online: bool = False) -> Any:
    source = FileSource(name=name, path=str(tables / f"{name}.parquet"), timestamp_field="timestamp")
    schema = [Field(name=key, dtype=String) for key in (entity.join_key for entity in entities)]
    schema += [Field(name=field, dtype=dtype) for field, dtype in fields.items()]
    return FeatureView(name=name, entities=entities, ttl=FOREVER, schema=schema, source=source, online=online)


for _object in repository(Path(os.environ.get("NEXTBEST_HOME", ".nextbest")).resolve() / "features"):
    globals()[f"{type(_object).__name__}_{_object.name}"] = _object
