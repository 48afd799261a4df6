import json
from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest

from features.channels import channel_rows
from features.decay import DAY
from models.candidates import KNOWN
from nextbest.columns import EVENT_COLUMNS
from training._message_log import contact_counters, message_log
from training.simulated_messages import TRAITS, Simulation, simulate_messages

UNTIL = datetime(2026, 3, 1, tzinfo=UTC)
CHANNELS = Simulation().channels


def contacts(count=60):
    random = np.random.default_rng(0)
    frame = pd.DataFrame(random.gamma(2.0, 2.0, (count, len(TRAITS))), columns=list(TRAITS))
    frame.loc[::7, "recency_days"] = np.nan
    return frame.assign(contact_id=[f"c{i}" for i in range(count)])


@pytest.fixture(scope="module")
def events():
    return simulate_messages(contacts(), UNTIL, 7)


def test_every_event_says_that_it_is_simulated(events):
    assert list(events.columns) == list(EVENT_COLUMNS)
    properties = events["properties"].map(json.loads)
    assert all(p["simulated"] is True and 0 < p["propensity"] <= 1 for p in properties)
    assert events["campaign_id"].str.startswith("simulated-").all()
    assert events["message_id"].str.startswith("simulated-").all()
    assert events["event_id"].is_unique
    assert events["timestamp"].is_monotonic_increasing
    assert events["timestamp"].max() < pd.Timestamp(UNTIL)
    assert str(events["timestamp"].dtype) == "datetime64[us, UTC]"


def test_the_same_seed_makes_the_same_log(events):
    pd.testing.assert_frame_equal(simulate_messages(contacts(), UNTIL, 7), events)
    assert not simulate_messages(contacts(), UNTIL, 8).equals(events)


def test_nobody_hears_more_over_a_channel_they_left():
    events = simulate_messages(contacts(), UNTIL, 7, Simulation(unsubscribes=0.3))
    left = events[events["event"] == "unsubscribed"].set_index(["contact_id", "channel"])["timestamp"]
    assert len(left)
    sent = events[events["event"] == "message_sent"].join(left.rename("left"), on=["contact_id", "channel"])
    assert not (sent["timestamp"] > sent["left"]).any()


def test_channels_are_drawn_evenly_and_tastes_differ():
    events = simulate_messages(contacts(400), UNTIL, 7)
    sent = events[events["event"] == "message_sent"]
    assert sent["channel"].value_counts(normalize=True).between(0.23, 0.27).all()
    answered = sent["message_id"].isin(events.loc[events["event"] == "message_opened", "message_id"])
    rates = answered.groupby([sent["contact_id"], sent["channel"]]).mean().unstack()
    assert rates.std().mean() > 0.15


def log(events, most=10_000):
    seen = []

    def features(spine):
        seen.append(spine)
        return spine.assign(orders_total=1.0)

    return message_log(events, CHANNELS, UNTIL.timestamp(), features, most), seen[0]


def test_responses_are_those_of_the_message_in_time():
    at = pd.Timestamp("2026-02-01", tz="UTC")
    rows = [
        ("message_sent", 0.0, "m1"),
        ("message_opened", 6.0, "m1"),
        ("message_sent", 0.1, "m2"),
        ("message_opened", 9.0, "m2"),
        ("message_sent", 0.2, "m3"),
        ("message_clicked", 1.0, "m3"),
        ("message_sent", 26.0, "m4"),
    ]
    events = pd.DataFrame(rows, columns=["event", "days", "message_id"])
    events["timestamp"] = (at + pd.to_timedelta(events.pop("days"), unit="D")).astype("datetime64[us, UTC]")
    events = events.assign(contact_id="c", channel="email", properties=None).sort_values("timestamp")
    found, spine = log(events)
    assert found.log.responses.tolist() == [1.0, 0.0, 1.0]
    assert found.unanswerable == 1
    assert np.isnan(found.log.propensity).all()
    assert spine["timestamp"].iloc[0] == at - pd.Timedelta(microseconds=1)
    third = found.log.states.of("sent_total")[2]
    assert third.tolist() == [2.0, 0.0, 0.0, 0.0]


def test_the_latest_messages_are_taken(events):
    found, _ = log(events, most=50)
    assert len(found.log) == 50
    assert np.isfinite(found.log.propensity).all()
    whole, _ = log(events)
    np.testing.assert_array_equal(found.log.states.blocks, whole.log.states.blocks[-50:])


def test_what_was_known_before_a_message_is_what_the_feature_tables_say(events):
    """The log's own counting equals features.channels, valued at the moment of the message."""
    import ibis

    found, spine = log(events)
    table = events.assign(seconds=events["timestamp"].astype("int64") / 1e6)
    backend = ibis.duckdb.connect()
    reference = UNTIL.timestamp() - 19 * 365.25 * DAY
    source = ibis.memtable(table[["event", "contact_id", "channel", "timestamp", "seconds"]])
    rows = backend.to_pyarrow(channel_rows(source, reference)).to_pandas()
    backend.disconnect()
    for position in range(0, len(spine), 97):
        contact, at = spine.loc[position, "contact_id"], spine.loc[position, "timestamp"]
        for place, channel in enumerate(CHANNELS):
            held = rows[
                (rows["contact_id"] == contact) & (rows["channel"] == channel) & (rows["timestamp"] <= at)
            ]
            mine = dict(zip(KNOWN, found.log.states.blocks[position, place], strict=True))
            if held.empty:
                assert mine["sent_total"] == 0
                continue
            last = held.sort_values("timestamp").iloc[-1]
            age = (at - last["timestamp"]).total_seconds()
            assert mine["sent_7d"] == pytest.approx(
                last["channel_sent_7d"] * 2 ** (-age / (7 * DAY)), rel=1e-6
            )
            assert mine["opened_90d"] == pytest.approx(
                last["channel_opened_90d"] * 2 ** (-age / (90 * DAY)), rel=1e-6
            )
            assert mine["clicked_total"] == last["channel_clicked_total"]


def test_a_contacts_own_counters_add_up_over_channels(events):
    found, spine = log(events)
    counted = contact_counters(events, spine)
    over_channels = found.log.states.of("sent_90d").sum(axis=1)
    np.testing.assert_allclose(counted["sent_90d"], over_channels, rtol=1e-6)
    np.testing.assert_allclose(counted["opens_total"], found.log.states.of("opened_total").sum(axis=1))
    known = counted["sent_90d"] > 0
    assert counted.loc[known, "open_rate_90d"].notna().all()
    assert counted.loc[~known, "open_rate_90d"].isna().all()
