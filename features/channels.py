"""Contact × channel: a row for each moment at which a message went out or was answered."""

from typing import Any

import ibis

from features._known import decayed_sum, running
from nextbest.columns import CHANNEL_COLUMNS

KINDS = {"sent": "message_sent", "opened": "message_opened", "clicked": "message_clicked"}
"""Counter -> its event."""
COUNTED = {
    "sent_7d": 7, "sent_90d": 90, "sent_total": None, "opened_90d": 90, "opened_total": None,
    "clicked_90d": 90, "clicked_total": None,
}  # fmt: skip
"""Column -> half-life in days; None: without decay."""


def channel_rows(events: Any, reference: float) -> Any:
    """Return (contact_id, channel, timestamp) rows with CHANNEL_COLUMNS valued at that moment."""
    moments = _moments(events)
    window = running(["contact_id", "channel"])
    columns = {
        f"channel_{name}": (
            moments[name.partition("_")[0]].sum().over(window)
            if half_life is None
            else decayed_sum(moments, name.partition("_")[0], half_life, reference, window)
        )
        for name, half_life in COUNTED.items()
    }
    columns["channel_last_sent"] = moments.sent_at.max().over(window)
    columns["channel_last_response"] = moments.answered_at.max().over(window)
    return moments.mutate(**columns).select("contact_id", "channel", "timestamp", *CHANNEL_COLUMNS[1:])


def _moments(events: Any) -> Any:
    messages = events.filter(
        events.event.isin(tuple(KINDS.values())) & events.contact_id.notnull() & events.channel.notnull()
    )
    sent, never = messages.event == KINDS["sent"], ibis.null("float64")
    return messages.group_by(["contact_id", "channel", "timestamp"]).aggregate(
        seconds=messages.seconds.max(),
        sent_at=sent.ifelse(messages.seconds, never).max(),
        answered_at=(~sent).ifelse(messages.seconds, never).max(),
        **{name: (messages.event == kind).cast("float64").sum() for name, kind in KINDS.items()},
    )
