"""The RFM segment of contacts when a campaign began."""

import pandas as pd

from models.rfm import Rfm
from nextbest.columns import CONTACT_ID, TIMESTAMP
from nextbest.errors import NotReady
from nextbest.settings import Settings
from training._snapshots import contacts_seen, frames
from training.tracking import Registry

UNKNOWN = "unknown"
NO_FEATURES = "no segments: no feature table; nextbest features build"
NO_MODEL = "no segments: no RFM champion; nextbest train rfm"


def segments(settings: Settings, asked: pd.DataFrame) -> tuple["pd.Series[str]", str | None]:
    """Return the segment of each row (person, timestamp) as known then, and why there is none where so.

    The classes are those of the RFM champion, the features point in time. "unknown": visitors, and contacts
    of whom nothing was known by then.
    """
    nothing = pd.Series(UNKNOWN, index=asked.index, dtype=object)
    try:
        seen = contacts_seen(settings)
    except NotReady:
        return nothing, NO_FEATURES
    registry = Registry(settings)
    found = registry.champion("rfm")
    model = registry.load("rfm", found[0]) if found else None
    if not isinstance(model, Rfm):
        return nothing, NO_MODEL
    first = asked["person"].map(seen.set_index(CONTACT_ID)["first"])
    rows = asked[first <= asked[TIMESTAMP]]
    if len(rows):
        spine = pd.DataFrame({CONTACT_ID: rows["person"].to_numpy(), TIMESTAMP: rows[TIMESTAMP].array})
        nothing.loc[rows.index] = model.score(frames(settings, "churn", spine))["segment"].to_numpy()
    return nothing, None
