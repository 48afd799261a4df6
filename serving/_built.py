"""What answers in bulk ask of the last build: how far it has counted, and whether its rows are online."""

from collections.abc import Sequence

import pyarrow.dataset as ds

from features.errors import StoreUnavailable
from features.live import LiveContacts
from features.state import LISTS_AS_OF, ContactView
from features.tables import require
from nextbest.columns import CONTACT_ID
from nextbest.errors import NotReady
from nextbest.settings import Settings

LIVE_SIZE = 500
"""Contacts with news that are folded together."""
NOT_ONLINE = (
    "some of these contacts did something since the last build, whose rows are not in the online store; "
    "run: nextbest features build"
)


def counted_until(settings: Settings) -> int:
    """Return the position of the log up to which the feature tables have counted events."""
    table = ds.dataset(require(settings, "contact_lists")).head(1, columns=[LISTS_AS_OF])
    return int(table[LISTS_AS_OF][0].as_py()) if len(table) else 0


def live_views(
    settings: Settings, live: LiveContacts, contact_ids: Sequence[str], now: float
) -> list[ContactView]:
    """Return contacts as the log has them; raises NotReady where the store lacks one of the last build."""
    asked = ds.field(CONTACT_ID).isin(list(contact_ids))
    table = ds.dataset(require(settings, "contact_lists")).to_table([CONTACT_ID], filter=asked)
    built = set(table[CONTACT_ID].to_pylist())
    try:
        views = live.get(list(contact_ids), now)
    except StoreUnavailable as error:
        raise NotReady(f"{NOT_ONLINE} ({error})") from error
    if any(not view.known for who, view in zip(contact_ids, views, strict=True) if who in built):
        raise NotReady(NOT_ONLINE)
    return views
