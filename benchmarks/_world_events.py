"""The simulated past as canonical frames: message events, orders, contacts. Every row says "simulated"."""

import numpy as np
import numpy.typing as npt
import pandas as pd

from benchmarks._world_history import contact_ids
from benchmarks._world_log import Log, Orders
from benchmarks._world_people import People
from benchmarks._world_settings import DAY, START, WEEK, Channel

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
COLUMNS = (
    "event_id", "event", "timestamp", "received_at", "contact_id", "anonymous_id", "item_id", "order_id",
    "quantity", "price", "currency", "channel", "campaign_id", "message_id", "url", "properties",
)  # fmt: skip
ALL_CHANNELS = ("email", "sms", "web_push", "mobile_push", "ads", "phone", "post")
"""As contact records name them; a channel the world does not have is neither consented to nor reached."""
SIMULATED = '{"simulated": true}'


def message_events(log: Log, channels: tuple[Channel, ...], until: float = np.inf) -> pd.DataFrame:
    """Return message events before `until` (epoch seconds) in order of time.

    message_sent carries {"propensity", "hour_propensity"}, both of the usual policy; decisions to send
    nothing leave no event.
    """
    rows = np.flatnonzero(log.sent)
    sent = log.take(rows)
    opens = np.array([c.opens for c in channels])[sent.channel]
    times = {
        "message_sent": sent.time,
        "message_bounced": np.where(sent.bounced, sent.time + 1, np.nan),
        "message_delivered": np.where(sent.bounced, np.nan, sent.time + 1),
        "message_opened": np.where(opens, sent.answered_at, np.nan),
        "message_clicked": sent.clicked_at,
        "unsubscribed": sent.left_at,
    }
    message = pd.DataFrame(
        {
            "message_id": [f"simulated-{row}" for row in rows.tolist()],
            "contact_id": contact_ids(sent.contact),
            "channel": np.array([c.name for c in channels], dtype=object)[sent.channel],
            "campaign_id": [
                f"simulated-{week}" for week in ((sent.time - START) // WEEK).astype(int).tolist()
            ],
            "properties": SIMULATED,
        }
    )
    parts = []
    for event, at in times.items():
        happened = np.flatnonzero(at < until)
        part = message.iloc[happened].assign(event=event, timestamp=at[happened])
        if event == "message_sent":
            part["properties"] = _propensities(sent.take(happened))
        parts.append(part)
    frame = pd.concat(parts, ignore_index=True)
    frame["event_id"] = frame["message_id"] + "-" + frame["event"]
    return _canonical(frame)


def order_events(orders: Orders, until: float = np.inf) -> pd.DataFrame:
    """Return orders before `until` as order_completed events of one line; none names its message."""
    rows = np.flatnonzero(orders.time < until)
    ids = [f"simulated-order-{row}" for row in rows.tolist()]
    frame = pd.DataFrame(
        {
            "event_id": ids,
            "event": "order_completed",
            "timestamp": orders.time[rows],
            "contact_id": contact_ids(orders.contact[rows]),
            "item_id": "simulated-item",
            "order_id": ids,
            "quantity": 1.0,
            "price": orders.value[rows].round(2),
            "currency": "EUR",
            "properties": SIMULATED,
        }
    )
    return _canonical(frame)


def contact_records(
    people: People, channels: tuple[Channel, ...], withdrawn: Floats, at: float
) -> pd.DataFrame:
    """Return a row a contact as recorded at a moment: zone, consent_<channel>, reachable_<channel>."""
    created = START - people.known["tenure_days"].to_numpy() * DAY
    record: dict[str, object] = {
        "contact_id": contact_ids(np.arange(len(created))),
        "created_at": _moments(created),
        "timezone": people.zone,
        "traits": SIMULATED,
    }
    places = {c.name: place for place, c in enumerate(channels)}
    nobody = np.zeros(len(created), dtype=bool)
    consent = people.consent & (at < withdrawn)
    for what, have in (("consent", consent), ("reachable", people.reach)):
        for name in ALL_CHANNELS:
            record[f"{what}_{name}"] = have[:, places[name]] if name in places else nobody
    return pd.DataFrame(record)


def _propensities(sent: Log) -> list[str]:
    pairs = zip(sent.propensity.tolist(), sent.hour_propensity.tolist(), strict=True)
    return [f'{{"simulated": true, "propensity": {p!r}, "hour_propensity": {h!r}}}' for p, h in pairs]


def _canonical(frame: pd.DataFrame) -> pd.DataFrame:
    frame["timestamp"] = _moments(frame["timestamp"].to_numpy(np.float64))
    frame["received_at"] = frame["timestamp"]
    frame = frame.sort_values(["timestamp", "event_id"], ignore_index=True).reindex(columns=list(COLUMNS))
    texts = frame.columns.difference(["timestamp", "received_at", "quantity", "price"])
    frame[texts] = frame[texts].astype(object).where(frame[texts].notna(), None)
    return frame.astype({"quantity": np.float64, "price": np.float64})


def _moments(seconds: Floats) -> pd.Series:
    micros = np.floor(seconds * 1e6).astype(np.int64)
    return pd.Series(pd.to_datetime(micros, unit="us", utc=True)).astype("datetime64[us, UTC]")
