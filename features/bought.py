"""Every purchase and refund of some items: for what looks further back than a contact's lists reach."""

from collections.abc import Sequence
from datetime import datetime

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from features.events.lake import Lake
from features.tables import require
from nextbest.columns import CONTACT_ID, EVENT, ITEM_ID, ORDER_REFUNDED, TIMESTAMP
from nextbest.settings import Settings

TIME = "time"
COLUMNS = (CONTACT_ID, ITEM_ID, TIME)


def bought(
    settings: Settings, item_ids: Sequence[str], until: datetime, contact_ids: Sequence[str] | None = None
) -> pd.DataFrame:
    """Return a row for each moment a contact bought one of the items by `until`: COLUMNS, sorted by them.

    time: epoch seconds. contact_ids None: everybody. Raises NotReady before the first build.
    """
    wanted = pc.field(TIMESTAMP) <= pa.scalar(until, pa.timestamp("us", "UTC"))
    wanted = wanted & pc.field(ITEM_ID).isin(pa.array(item_ids, pa.string()))
    if contact_ids is not None:
        wanted = wanted & pc.field(CONTACT_ID).isin(pa.array(contact_ids, pa.string()))
    columns = [CONTACT_ID, ITEM_ID, TIMESTAMP, "repeat_last"]
    held = pq.read_table(require(settings, "contact_item"), columns=columns, filters=wanted)
    times = held[TIMESTAMP].cast(pa.int64()).to_numpy() / 1e6
    last = held["repeat_last"].to_numpy()
    frame = held.select([CONTACT_ID, ITEM_ID]).to_pandas().assign(**{TIME: times})
    # a row at which nothing was bought repeats an earlier purchase, or has none
    frame = frame[np.abs(last - times) < 1e-3]
    return frame.sort_values(list(COLUMNS), ignore_index=True)


def refunded(settings: Settings, item_ids: Sequence[str], until: datetime) -> pd.DataFrame:
    """Return the last refund of each contact and item of those by `until`: COLUMNS."""
    lake = Lake(settings.lake)
    events = lake.events(until)
    held = events.filter((events[EVENT] == ORDER_REFUNDED) & events[ITEM_ID].isin(list(item_ids)))
    frame: pd.DataFrame = held.select(CONTACT_ID, ITEM_ID, TIMESTAMP).execute().dropna()
    stamps = pd.to_datetime(frame[TIMESTAMP], utc=True).astype("datetime64[us, UTC]")
    merged = lake.people().merged()
    frame = frame.assign(
        **{
            CONTACT_ID: frame[CONTACT_ID].astype(object).map(lambda each: merged.get(each, each)),
            TIME: stamps.astype("int64") / 1e6,
        }
    )
    latest: pd.DataFrame = frame.groupby([CONTACT_ID, ITEM_ID], as_index=False).agg({TIME: "max"})
    return latest
