"""Contacts with orders at past moments, and what they then did within a horizon."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow.parquet as pq

from features.events.lake import Lake
from features.excluded import Excluded
from features.outcomes import Outcomes
from features.snapshots import contact_frame
from features.tables import require
from nextbest.columns import CONTACT_FEATURES, CONTACT_ID, TIMESTAMP
from nextbest.errors import NotReady
from nextbest.settings import Settings
from training._nobody import rows_of_nobody
from training.base import Context
from training.split import TemporalSplit

Floats = npt.NDArray[np.float64]
CHUNK = 20_000
"""Rows asked of the feature store at once: as quick as all together (98,000 rows), at half the memory."""
MOST_ROWS = 200_000
"""Rows of all moments together; more contacts than that are sampled."""


@dataclass(frozen=True)
class Snapshots:
    """Rows of (contact, moment) with at least one order by then; arrays are parallel to the frame."""

    frame: pd.DataFrame
    """contact_id, timestamp, CONTACT_FEATURES; rows by moment, then contact_id; index 0 … n-1."""
    orders: Floats
    """Orders within the horizon after the moment."""
    spend: Floats
    """What they and any refunds came to."""
    waits: Floats
    """Days from the moment to the next order; infinite where none came while the data last."""

    def __len__(self) -> int:
        return len(self.frame)

    @property
    def left(self) -> Floats:
        """1 where no order came within the horizon."""
        return (self.orders <= 0).astype(np.float64)

    def left_within(self, days: Floats) -> Floats:
        """Return 1 where no order came within the days, one a row."""
        return (self.waits > days).astype(np.float64)

    @classmethod
    def together(cls, parts: "Sequence[Snapshots]") -> "Snapshots":
        """Return the rows of several one after another."""
        frame = pd.concat([part.frame for part in parts], ignore_index=True)
        arrays = ([part.orders for part in parts], [part.spend for part in parts], [p.waits for p in parts])
        return cls(frame, *(np.concatenate(one) for one in arrays))

    def at(self, moments: Sequence[datetime]) -> "Snapshots":
        """Return the rows of the given moments."""
        wanted = pd.DatetimeIndex([pd.Timestamp(moment) for moment in moments])
        return self.take(self.frame[TIMESTAMP].isin(wanted).to_numpy())

    def take(self, rows: npt.NDArray[np.bool_]) -> "Snapshots":
        """Return some of the rows."""
        frame = self.frame[rows].reset_index(drop=True)
        return Snapshots(frame, self.orders[rows], self.spend[rows], self.waits[rows])

    def seen(self, until: datetime) -> Floats:
        """Return the days from each moment to `until`."""
        passed = pd.Timestamp(until) - self.frame[TIMESTAMP]
        return passed.dt.total_seconds().to_numpy(np.float64) / 86_400.0

    def features(self, rows: int) -> pd.DataFrame:
        """Return rows of CONTACT_FEATURES as float64 that are nobody's: what a pyfunc is given."""
        return rows_of_nobody(self.frame, CONTACT_FEATURES, rows)


def split_of(context: Context, horizon_days: int, before: int = 2) -> TemporalSplit:
    """Return the split of the lake's span into windows of the horizon, or holdout_days if longer."""
    days = max(horizon_days, context.settings.holdout_days)
    return TemporalSplit.of(Lake(context.settings.lake).span(), context, days, before)


def snapshots(context: Context, service: str, moments: Sequence[datetime], horizon_days: float) -> Snapshots:
    """Read contacts with orders at each moment and what they did in the days after, point in time.

    Raises NotReady where there is none at any moment.
    """
    now = frames(context.settings, service, _spine(context, moments))
    held = now[(now["orders_total"] > 0).to_numpy()].reset_index(drop=True)
    if held.empty:
        raise NotReady("nobody had ordered by the moments to learn from; nextbest ingest orders first")
    held = held[[CONTACT_ID, TIMESTAMP, *CONTACT_FEATURES]]
    outcomes = Outcomes.read(context.settings)
    asked = (held[CONTACT_ID].tolist(), held[TIMESTAMP])
    orders, spend = outcomes.within(*asked, horizon_days)
    return Snapshots(held, orders, spend, outcomes.waits(*asked))


def frames(settings: Settings, service: str, spine: pd.DataFrame) -> pd.DataFrame:
    """Return features.snapshots.contact_frame of a long spine, CHUNK rows at a time: index 0 … n-1."""
    parts = [spine.iloc[start : start + CHUNK] for start in range(0, max(len(spine), 1), CHUNK)]
    return pd.concat([contact_frame(settings, service, part) for part in parts], ignore_index=True)


def _spine(context: Context, moments: Sequence[datetime]) -> pd.DataFrame:
    seen = contacts_seen(context.settings)
    most = max(MOST_ROWS // max(len(moments), 1), 1)
    if len(seen) > most:
        seen = seen.sample(most, random_state=context.seed).sort_values(CONTACT_ID)
    stamps = [pd.Timestamp(moment).tz_convert("UTC").as_unit("us") for moment in moments]
    parts = [
        pd.DataFrame({CONTACT_ID: seen.loc[seen["first"] <= at, CONTACT_ID], TIMESTAMP: at}) for at in stamps
    ]
    return pd.concat(parts, ignore_index=True)


def contacts_seen(settings: Settings) -> pd.DataFrame:
    """Return contact_id and when each was `first` seen, sorted, without those whom training leaves out.

    Raises NotReady before a build.
    """
    return Excluded.of(settings).without(_all_seen(settings)).reset_index(drop=True)


def left_out(settings: Settings) -> int:
    """Return how many contacts of the last build training leaves out (features.excluded)."""
    excluded = Excluded.of(settings)
    return int(excluded.mask(_all_seen(settings)[CONTACT_ID]).sum()) if excluded else 0


def _all_seen(settings: Settings) -> pd.DataFrame:
    table = pq.read_table(require(settings, "contact"), columns=[CONTACT_ID, TIMESTAMP])
    first = table.group_by(CONTACT_ID).aggregate([(TIMESTAMP, "min")]).to_pandas()
    named = first.rename(columns={f"{TIMESTAMP}_min": "first"})
    return named.sort_values(CONTACT_ID, ignore_index=True)
