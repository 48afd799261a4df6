"""Steps: what contacts do, or are sent, between purchases, each kept once a moment."""

from datetime import datetime
from typing import Any

import ibis

from nextbest.columns import CONTACT_ID, PURCHASES, STEPS, TIMESTAMP


def step_rows(events: Any) -> Any:
    """Return (contact_id, timestamp, step_names, step_categories, step_times) of every step.

    The category is "" where the event has no item, or the item none; times are epoch seconds.
    """
    taken = events.filter(events.contact_id.notnull() & events.event.notin(PURCHASES))
    return taken.select(
        CONTACT_ID,
        TIMESTAMP,
        step_names=taken.event,
        step_categories=taken.category.fill_null(""),
        step_times=taken.seconds,
    ).distinct()


def latest_steps(steps: Any, asked: Any, at: datetime) -> Any:
    """Return each contact's last STEPS steps up to `at`, with its number in `asked`; rank 0 is the newest."""
    past = steps.filter(steps.timestamp <= ibis.literal(at)).inner_join(asked, CONTACT_ID)
    newest = [past.timestamp.desc(), past.step_names, past.step_categories]
    ranked = past.mutate(rank=ibis.row_number().over(ibis.window(group_by="contact", order_by=newest)))
    return ranked.filter(ranked["rank"] < STEPS).drop(CONTACT_ID, TIMESTAMP)
