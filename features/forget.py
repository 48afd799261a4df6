"""Forgetting contacts everywhere: event log, lake, rejects, feature tables, online store."""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass

from features.erase import erase
from features.events import rejects
from features.events._identity import Graph
from features.events.lake import Lake
from features.events.log import EventLog
from nextbest.settings import Settings


@dataclass(frozen=True)
class Forgotten:
    """Rows removed, by where they were."""

    log: int
    lake: int
    rejects: int
    features: int

    def __bool__(self) -> bool:
        """Tell whether there was anything."""
        return any((self.log, self.lake, self.rejects, self.features))


def forget(settings: Settings, contact_ids: Sequence[str], log: EventLog | None = None) -> Forgotten:
    """Remove people by any of their ids, the events first, or the next build would bring them back.

    `log`: one already open.
    """
    if log is None:
        with closing(EventLog(settings.event_log_url)) as opened:
            return forget(settings, contact_ids, opened)
    lake = Lake(settings.lake)
    with lake.locked():  # from the first to the last: another erasure, or a build, must not put anything back
        lake.write_identities(log.identities())  # or visits linked a moment ago would stay
        log.write_identities(lake.identities())
        scope = Graph(log.links_around(contact_ids)[1]).scope(contact_ids)
        members = sorted(scope.members)
        return Forgotten(
            lake=lake.erase(members),
            log=log.erase(members),
            rejects=rejects.erase(settings.rejects, members),
            features=erase(settings, members, sorted(scope.visits)),
        )
