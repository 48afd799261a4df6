"""How often a contact buys in a category: the days on which it did, and the gaps between them.

Two purchases on one day are one: what is asked is when somebody comes back for more. Read from
contact_category.parquet, which is sorted by contact, so that a few contacts are a few row groups.
"""

from collections.abc import Sequence
from datetime import datetime

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from features.decay import DAY
from features.tables import require
from nextbest.columns import CONTACT_ID, TIMESTAMP
from nextbest.settings import Settings

CATEGORY, DAY_NUMBER, TIME = "category", "day", "time"
CADENCE_COLUMNS = (CONTACT_ID, CATEGORY, "purchases", "first", "last", "log_gaps", "gap_days")


def bought_days(
    settings: Settings, until: datetime, contact_ids: Sequence[str] | None = None
) -> pd.DataFrame:
    """Return a row for each day a contact bought in a category, up to and with `until`.

    contact_id and category (categories), day (days since 1970, UTC), time (epoch seconds, the day's last
    purchase); sorted by contact, category and day. contact_ids None: everybody. Raises NotReady before the
    first build.
    """
    held = _read(settings, until, contact_ids)
    times = held[TIMESTAMP].cast(pa.int64()).to_numpy() / 1e6
    frame = pd.DataFrame(
        {
            CONTACT_ID: _names(held[CONTACT_ID]),
            CATEGORY: _names(held[CATEGORY]),
            DAY_NUMBER: np.floor(times / DAY).astype(np.int64),
            TIME: times,
        }
    )
    order = np.lexsort((frame[TIME], frame[CATEGORY].cat.codes, frame[CONTACT_ID].cat.codes))
    frame = frame.iloc[order]
    keys = [CONTACT_ID, CATEGORY, DAY_NUMBER]
    return frame[~frame.duplicated(keys, keep="last")].reset_index(drop=True)


def cadences(days: pd.DataFrame) -> pd.DataFrame:
    """Return one row a (contact, category) of `bought_days`, in its order: CADENCE_COLUMNS.

    purchases: days bought on; first, last: epoch seconds; log_gaps: the sum of ln(days) over the gaps between
    them; gap_days: their mean, NaN below two purchases.
    """
    starts = pair_starts(days)
    gaps = gaps_of(days)
    stops = np.r_[starts[1:], len(days)]
    count, time, day = stops - starts, days[TIME].to_numpy(), days[DAY_NUMBER].to_numpy()
    logs = np.log(gaps, out=np.zeros(len(days)), where=~np.isnan(gaps))
    span = (day[stops - 1] - day[starts]).astype(np.float64) if len(days) else np.empty(0)
    return pd.DataFrame(
        {
            CONTACT_ID: days[CONTACT_ID].to_numpy()[starts],
            CATEGORY: days[CATEGORY].to_numpy()[starts],
            "purchases": count.astype(np.float64),
            "first": time[starts],
            "last": time[stops - 1] if len(days) else time,
            "log_gaps": np.add.reduceat(logs, starts) if len(days) else np.empty(0),
            "gap_days": np.divide(span, count - 1, out=np.full(len(starts), np.nan), where=count > 1),
        }
    )


def pair_starts(days: pd.DataFrame) -> npt.NDArray[np.int64]:
    """Return the row at which each (contact, category) of `bought_days` begins."""
    if not len(days):
        return np.empty(0, dtype=np.int64)
    contact, category = (days[name].cat.codes.to_numpy() for name in (CONTACT_ID, CATEGORY))
    changed = (contact[1:] != contact[:-1]) | (category[1:] != category[:-1])
    return np.flatnonzero(np.r_[True, changed])


def gaps_of(days: pd.DataFrame) -> npt.NDArray[np.float64]:
    """Return the days since the pair's purchase before, for each row; NaN at its first."""
    gaps = np.diff(days[DAY_NUMBER].to_numpy(dtype=np.float64), prepend=np.nan)
    gaps[pair_starts(days)] = np.nan
    return gaps


def _read(settings: Settings, until: datetime, contact_ids: Sequence[str] | None) -> pa.Table:
    wanted = pc.field(TIMESTAMP) <= pa.scalar(until, pa.timestamp("us", "UTC"))
    if contact_ids is not None:
        wanted = wanted & pc.field(CONTACT_ID).isin(pa.array(contact_ids, pa.string()))
    path = require(settings, "contact_category")
    return pq.read_table(path, columns=[CONTACT_ID, CATEGORY, TIMESTAMP], filters=wanted)


def _names(column: pa.ChunkedArray) -> pd.Categorical:
    """Return texts as categories in the order of their text."""
    values = column.dictionary_encode().to_pandas().astype("category")
    return values.cat.reorder_categories(sorted(values.cat.categories)).array


def moved_on(pairs: pd.DataFrame, news: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of `cadences` with what was bought since they were stored.

    news: contact_id, category, last (epoch seconds, as a ContactView has it). A later day is a purchase more;
    a pair that is not stored stays away: one purchase tells no cadence.
    """
    keys = [CONTACT_ID, CATEGORY]
    held = pairs.assign(**{name: pairs[name].astype(object) for name in keys})
    newest = held[keys].merge(news[[*keys, "last"]].drop_duplicates(keys), on=keys, how="left")["last"]
    last = held["last"].to_numpy(np.float64)
    later = np.fmax(newest.to_numpy(np.float64), last)
    gap = np.floor(later / DAY) - np.floor(last / DAY)
    more = (gap > 0).astype(np.float64)
    purchases = held["purchases"].to_numpy(np.float64) + more
    span = np.floor(later / DAY) - np.floor(held["first"].to_numpy(np.float64) / DAY)
    return held.assign(
        purchases=purchases,
        last=later,
        log_gaps=held["log_gaps"].to_numpy(np.float64) + np.log(np.where(gap > 0, gap, 1.0)),
        gap_days=np.divide(span, purchases - 1, out=np.full(len(held), np.nan), where=purchases > 1),
    )
