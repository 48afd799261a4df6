"""Steps and purchases out of the lake, as models.paths learns from them."""

from datetime import datetime

import pandas as pd

from features._known import category_paths
from features.events.lake import Lake
from features.excluded import Excluded
from models._walks import CATEGORY, COLUMNS, TIME
from nextbest.columns import (
    ANONYMOUS_ID,
    CONTACT_ID,
    EVENT,
    ITEM_ID,
    ORDER_COMPLETED,
    ORDER_ID,
    ORDER_REFUNDED,
    PURCHASES,
    TIMESTAMP,
)
from nextbest.errors import NotReady
from nextbest.settings import Settings
from training._purchases import _who


def walked(settings: Settings, until: datetime) -> pd.DataFrame:
    """Return models._walks.COLUMNS of every step and line bought by `until`, who and categories as known now.

    Raises NotReady where nothing was bought, or nothing else ever happened.
    """
    lake = Lake(settings.lake)
    events = lake.events(until)
    kinds = {"orders": events[EVENT] == ORDER_COMPLETED, "steps": events[EVENT].notin(PURCHASES)}
    for what, wanted in kinds.items():
        if not events.filter(wanted).limit(1).count().execute():
            raise NotReady(
                f"there are no {what}; paths are steps (views, searches, carts, messages) between orders: "
                "run `nextbest ingest` with both, then `nextbest features build`"
            )
    columns = [CONTACT_ID, ANONYMOUS_ID, EVENT, ITEM_ID, ORDER_ID, TIMESTAMP]
    rows = events.filter(events[EVENT] != ORDER_REFUNDED).select(*columns)
    frame = rows.to_pyarrow().to_pandas(strings_to_categorical=True)
    frame[CONTACT_ID] = _who(frame, lake)
    frame = Excluded.of(settings).without(frame)
    stamps = pd.to_datetime(frame[TIMESTAMP], utc=True).astype("datetime64[us, UTC]")
    frame[TIME] = stamps.astype("int64") / 1e6
    paths = category_paths(lake.items()).select(["item_id", "category"]).to_pandas()
    known = paths.set_index("item_id")["category"]
    frame[CATEGORY] = frame[ITEM_ID].map(known)
    return frame[list(COLUMNS)]
