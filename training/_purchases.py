"""Lines bought, as the recommenders learn from them and are measured on them."""

from datetime import datetime

import numpy as np
import pandas as pd

from features.events.lake import Lake
from features.excluded import Excluded
from nextbest.columns import ANONYMOUS_ID, CONTACT_ID, EVENT, ITEM_ID, ORDER_COMPLETED, ORDER_ID, TIMESTAMP
from nextbest.errors import NotReady
from nextbest.settings import Settings

TIME = "time"


def purchases(settings: Settings, until: datetime) -> pd.DataFrame:
    """Return the lines bought by `until`: contact_id, order_id, item_id (categories), time (epoch seconds).

    Whom training leaves out (features.excluded) bought nothing here.

    Who is not identified counts under the anonymous id, or under the contact it is known to belong to. Sorted
    by contact, time, order and item. Raises NotReady where nothing was bought.
    """
    lake = Lake(settings.lake)
    events = lake.events(until)
    bought = events.filter((events[EVENT] == ORDER_COMPLETED) & events[ITEM_ID].notnull())
    columns = [CONTACT_ID, ANONYMOUS_ID, ORDER_ID, ITEM_ID, TIMESTAMP]
    lines = bought.select(*columns).to_pyarrow().to_pandas(strings_to_categorical=True)
    lines[CONTACT_ID] = _who(lines, lake)
    lines = Excluded.of(settings).without(lines)
    if lines.empty:
        raise NotReady("there are no orders; run `nextbest ingest` and `nextbest features build` first")
    stamps = pd.to_datetime(lines[TIMESTAMP], utc=True).astype("datetime64[us, UTC]")
    lines[TIME] = stamps.astype("int64") / 1e6
    lines = lines[[CONTACT_ID, ORDER_ID, ITEM_ID, TIME]].dropna()
    for name in (CONTACT_ID, ORDER_ID, ITEM_ID):
        lines[name] = _sorted_categories(lines[name])
    return lines.sort_values([CONTACT_ID, TIME, ORDER_ID, ITEM_ID], ignore_index=True)


def _who(lines: pd.DataFrame, lake: Lake) -> pd.Series:
    """Return whose a line is: the contact's, by the links; an anonymous id stands for itself otherwise."""
    contact = lines[CONTACT_ID].astype(object)
    people = lake.people()
    if merged := people.merged():
        contact = contact.map(lambda each: merged.get(each, each))
    if contact.notna().all():
        return contact
    anonymous, owners = lines[ANONYMOUS_ID].astype(object), people.owners()
    owner = anonymous.map({visitor: owned for visitor, (owned, _) in owners.items()})
    until = anonymous.map({visitor: until for visitor, (_, until) in owners.items() if until is not None})
    stamps = pd.to_datetime(lines[TIMESTAMP], utc=True).astype("datetime64[us, UTC]").astype("int64")
    theirs = owner.notna() & ~(stamps > until.astype("float64"))
    return contact.where(contact.notna(), owner.where(theirs, anonymous))


def _sorted_categories(values: pd.Series) -> pd.Series:
    values = values.astype("category").cat.remove_unused_categories()
    return values.cat.reorder_categories(sorted(values.cat.categories))


def first_orders(lines: pd.DataFrame, after: datetime, until: datetime) -> dict[str, frozenset[str]]:
    """Return contact -> items of the first order with after < time <= until."""
    later = between(lines, after, until)
    first = later.groupby(CONTACT_ID, observed=True)[ORDER_ID].transform("first")
    return _sets(later[later[ORDER_ID].astype(object) == first.astype(object)])


def bought_between(lines: pd.DataFrame, after: datetime, until: datetime) -> dict[str, frozenset[str]]:
    """Return contact -> items bought with after < time <= until."""
    return _sets(between(lines, after, until))


def bought_by(lines: pd.DataFrame, until: datetime) -> pd.DataFrame:
    """Return the lines with time <= until."""
    return lines[lines[TIME] <= until.timestamp()]


def between(lines: pd.DataFrame, after: datetime, until: datetime) -> pd.DataFrame:
    """Return the lines with after < time <= until."""
    return lines[(lines[TIME] > after.timestamp()) & (lines[TIME] <= until.timestamp())]


def _sets(lines: pd.DataFrame) -> dict[str, frozenset[str]]:
    items = lines[ITEM_ID].astype(object).to_numpy()
    contacts = lines[CONTACT_ID].astype(object).to_numpy()
    if not len(lines):
        return {}
    starts = np.flatnonzero(np.r_[True, contacts[1:] != contacts[:-1]])
    stops = np.r_[starts[1:], len(contacts)]
    return {
        str(contacts[start]): frozenset(items[start:stop]) for start, stop in zip(starts, stops, strict=True)
    }
