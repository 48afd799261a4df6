"""Hours of the week in contacts' own time, for many contacts at once."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from models.base import Floats
from models.permission import zone_of

HOUR = 3_600.0
Hours = npt.NDArray[np.int64]
Zones = Sequence[str | None] | npt.NDArray[np.object_]


def week_hours(seconds: Floats, zones: Zones) -> Hours:
    """Return the local hour of the week of moments (epoch seconds), 0 is Monday, midnight to one.

    A zone a moment; an unknown one counts as UTC, as in models.permission.
    """
    out = np.empty(len(seconds), dtype=np.int64)
    codes, names = pd.factorize(np.array([zone or "UTC" for zone in zones], dtype=object))
    for code, name in enumerate(names):
        rows = codes == code
        out[rows] = _local(seconds[rows], str(name))
    return out


def slots(start: float, zones: Zones, count: int) -> Hours:
    """Return the local hours of the week of the next hours, shape (contacts, count); see slot_moments."""
    codes, names = pd.factorize(np.array([zone or "UTC" for zone in zones], dtype=object))
    moments = slot_moments(start, count)
    table = np.stack([_local(moments, str(name)) for name in names]) if len(names) else np.empty((0, count))
    return table.astype(np.int64)[codes]


def slot_moments(start: float, count: int) -> Floats:
    """Return the moments messages may go out at: now, and each full hour (UTC) after it; epoch seconds."""
    first = np.floor(start / HOUR) * HOUR
    return np.concatenate([[start], first + HOUR * np.arange(1, count)])


def seen_hours(times: Floats, owner: Hours, contacts: int, zones: Zones) -> npt.NDArray[np.float32]:
    """Return how often each contact was there at each hour of the week, shape (contacts, 168).

    times: epoch seconds of things contacts did; owner: whose each was; zones: one a contact.
    """
    of_time = np.array(zones, dtype=object)[owner] if len(owner) else np.empty(0, dtype=object)
    out = np.zeros((contacts, 168), dtype=np.float32)
    np.add.at(out, (owner, week_hours(times, of_time)), 1.0)
    return out


def _local(seconds: Floats, zone: str) -> Hours:
    micros = np.round(np.asarray(seconds) * 1e6).astype(np.int64)
    local = pd.to_datetime(micros, unit="us", utc=True).tz_convert(zone_of(zone)[0])
    return np.asarray(local.dayofweek * 24 + local.hour, dtype=np.int64)
