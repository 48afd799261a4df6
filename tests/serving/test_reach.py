"""Channels: the ladder, and that a forbidden channel is never the answer."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.errors import StoreUnavailable
from models._beyond import Beyond
from models._ranked import Estimate
from models.best_arm import BestArm
from models.holdout import held_out
from nextbest.columns import CHANNELS

NOW = datetime(2026, 3, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


def consents(**flags: bool | None) -> pd.DataFrame:
    return pd.DataFrame([{"contact_id": "c1", "timezone": None, **flags}]).reindex(
        columns=["contact_id", "created_at", "timezone", "traits", *[f"consent_{c}" for c in CHANNELS],
                 *[f"reachable_{c}" for c in CHANNELS]]
    )  # fmt: skip


EVERYTHING = {f"consent_{channel}": True for channel in CHANNELS}


def test_nothing_is_sent_without_consent(shop: Any) -> None:
    shop.contacts = consents(consent_email=False)
    (decision,) = shop.reach("c1")
    assert (decision.best, decision.send_at) == (None, None)
    blocked = {channel.channel: tuple(channel.blocked_by) for channel in decision.channels}
    assert blocked.pop("email") == ("no_consent",)
    assert set(blocked.values()) == {("consent_unknown",)}


def test_where_no_consent_of_anyone_is_recorded_they_are_kept_elsewhere(shop: Any) -> None:
    (decision,) = shop.reach("c1")
    assert (decision.best, decision.fallback) == ("email", "no_message_history")


def test_without_messages_the_configured_default_answers_where_it_is_permitted(shop: Any) -> None:
    shop.contacts = consents(**EVERYTHING)
    (decision,) = shop.reach("c1")
    assert (decision.best, decision.source, decision.fallback) == ("email", "default", "no_message_history")
    shop.contacts = consents(**{**EVERYTHING, "consent_email": False})
    (decision,) = shop.reach("c1")
    assert decision.best != "email"
    assert decision.best is not None
    shop.contacts = consents(**{**EVERYTHING, "reachable_email": False})
    assert shop.reach("c1")[0].best not in (None, "email")


def test_a_policy_learned_from_simulated_messages_decides_for_nobody_unless_asked_to(shop: Any) -> None:
    shop.contacts = consents(**EVERYTHING)
    shop.champions.models["channel"] = BestArm(dict.fromkeys(CHANNELS, 50.0), dict.fromkeys(CHANNELS, 100.0))
    shop.champions.simulated.add("channel")
    (decision,) = shop.reach("c1")
    assert (decision.best, decision.source, decision.model_version) == ("email", "default", None)
    assert decision.fallback == "no_message_history"


def with_messages(shop: Any, **channels: tuple[float, float]) -> None:
    state, names = shop.live.states["c1"], sorted(channels)
    sent = np.array([channels[name][0] for name in names])
    opened = np.array([channels[name][1] for name in names])
    none, last = np.zeros(len(names)), np.full(len(names), state.lists_at - 20 * 86_400)
    arrays = {
        **state.arrays, "channel_names": names, "channel_sent_7d": none, "channel_sent_90d": sent,
        "channel_sent_total": sent, "channel_opened_90d": opened, "channel_opened_total": opened,
        "channel_clicked_90d": none, "channel_clicked_total": none, "channel_last_sent": last,
        "channel_last_response": last,
    }  # fmt: skip
    shop.live.states["c1"] = replace(state, arrays=arrays)


def test_without_a_champion_the_contacts_own_rates_answer(shop: Any) -> None:
    shop.contacts = consents(**EVERYTHING)
    with_messages(shop, email=(20.0, 0.0), sms=(20.0, 12.0))
    (decision,) = shop.reach("c1")
    assert (decision.best, decision.source, decision.fallback) == ("sms", "own_rates", "no_champion")
    assert decision.channels[0].evidence.messages == 20


def test_the_learned_policy_answers_and_its_own_choice_is_struck_out_where_forbidden(shop: Any) -> None:
    shop.champions.models["channel"] = BestArm({"sms": 90.0, "email": 20.0}, {"sms": 100.0, "email": 100.0})
    shop.contacts = consents(**EVERYTHING)
    (decision,) = shop.reach("c1")
    assert (decision.best, decision.source, decision.fallback) == ("sms", "best_arm", None)
    assert decision.model_version == "nextbest-channel/1"
    shop.contacts = consents(**{**EVERYTHING, "consent_sms": False})
    (decision,) = shop.reach("c1")
    assert decision.best == "email"
    assert decision.channels[0].channel == "sms"
    assert decision.channels[0].blocked_by == ["no_consent"]


def test_a_failing_policy_and_a_dead_store_fall_back(shop: Any) -> None:
    class Broken:
        def rank(self, *asked: Any) -> pd.DataFrame:
            raise RuntimeError("broken")

    shop.contacts = consents(**EVERYTHING)
    with_messages(shop, sms=(20.0, 12.0))
    shop.champions.models["channel"] = Broken()
    assert shop.reach("c1")[0].fallback == "model_failed"
    shop.live.error = StoreUnavailable("gone")
    (decision,) = shop.reach("c1")
    assert (decision.best, decision.fallback) == ("email", "feature_store_unavailable")


def test_where_consents_cannot_be_read_nothing_is_sent(shop: Any) -> None:
    shop.contacts = consents(**EVERYTHING)
    parts = shop.parts()

    def fail(ids: object) -> None:
        raise OSError("database is gone")

    from serving.reach import ChannelLadder
    from serving.schemas import BestChannelRequest

    parts.book._live_contacts = fail
    (decision,) = ChannelLadder(parts).answer(BestChannelRequest(contact_ids=["c1"]), shop.now).contacts
    assert (decision.best, decision.fallback) == (None, "consents_unavailable")


def test_an_unsubscription_counts_at_once_and_until_a_later_subscription(shop: Any) -> None:
    shop.contacts = consents(**EVERYTHING)

    def word(event: str, days_ago: float, channel: str | None = "email") -> dict[str, Any]:
        return {
            "contact_id": "c1",
            "channel": channel,
            "event": event,
            "timestamp": shop.now - timedelta(days=days_ago),
        }

    shop.words = [word("unsubscribed", 2)]
    assert shop.reach("c1")[0].best != "email"
    shop.words = [word("unsubscribed", 2), word("subscribed", 1)]
    assert shop.reach("c1")[0].best == "email"
    shop.words = [word("unsubscribed", 1, None)]
    assert shop.reach("c1")[0].best is None


def test_only_the_channels_asked_for_are_ranked_and_a_loss_is_never_the_answer(shop: Any) -> None:
    shop.contacts = consents(**EVERYTHING)
    (decision,) = shop.reach("c1", channels=["phone"], value=1.0)
    assert ([channel.channel for channel in decision.channels], decision.best) == (["phone"], None)
    assert shop.reach("c1", channels=["phone"], value=1000.0)[0].best == "phone"


def test_nothing_is_sent_in_the_quiet_hours_of_the_contact(shop: Any) -> None:
    shop.contacts = consents(**EVERYTHING).assign(timezone="America/New_York")
    night = datetime(2026, 3, 2, 4, 0, tzinfo=UTC)  # 23:00 the day before in New York
    (decision,) = shop.reach("c1", channels=["email"], at=night)
    assert decision.send_at == datetime(2026, 3, 2, 13, 0, tzinfo=UTC)


def test_exploring_shares_its_choices_out_and_says_with_which_chance(shop: Any) -> None:
    shop.contacts = consents(**EVERYTHING)
    (decision,) = shop.reach("c1", explore=True, channels=["email", "sms"], value=100.0)
    assert 0 < decision.propensity < 1
    assert shop.decisions[-1]["shown"] == [[decision.best, decision.propensity, decision.source]]


def test_decisions_are_written_down_with_their_campaign(shop: Any) -> None:
    (decision,) = shop.reach("c1", campaign_id="spring")
    assert shop.decisions[-1]["decision_id"] == decision.decision_id
    assert (shop.decisions[-1]["kind"], shop.decisions[-1]["campaign_id"]) == ("best_channel", "spring")


# --- hold-out, hours, worth


def many(count: int = 60) -> pd.DataFrame:
    one = consents(**EVERYTHING).iloc[0]
    return pd.DataFrame([{**one, "contact_id": f"c{n}"} for n in range(count)])


def test_who_is_held_out_of_a_campaign_gets_nothing_and_it_is_written_down_what_it_would_have_been(
    shop: Any,
) -> None:
    shop.contacts, ids = many(), [f"c{n}" for n in range(60)]
    shop.settings = shop.settings.model_copy(update={"message_holdout_share": 0.2})
    without = {d.contact_id: d.best for d in shop.reach(*ids)}
    shop.decisions.clear()
    decided = shop.reach(*ids, campaign_id="spring")
    expected = held_out(ids, 0.2, shop.settings.message_holdout_salt, "spring")
    assert [d.held_out for d in decided] == expected.tolist()
    assert 0 < expected.sum() < len(ids)
    for decision, written in zip(decided, shop.decisions, strict=True):
        assert (written["held_out"], written["contact_id"]) == (decision.held_out, decision.contact_id)
        assert written["intended_channel"] == without[decision.contact_id] == "email"
        assert written["shown"][0][0] == decision.best
        assert (decision.best, decision.send_at is None) == (
            (None, True) if decision.held_out else ("email", False)
        )
        assert decision.channels[0].eligible, "they could have been written to"


def test_another_campaign_holds_out_others_and_no_campaign_nobody(shop: Any) -> None:
    shop.contacts, ids = many(), [f"c{n}" for n in range(60)]
    shop.settings = shop.settings.model_copy(update={"message_holdout_share": 0.2})
    spring, again, autumn, none = (
        {d.contact_id for d in shop.reach(*ids, campaign_id=campaign) if d.held_out}
        for campaign in ("spring", "spring", "autumn", None)
    )
    assert spring == again != autumn
    assert none == set()


def test_who_would_get_nothing_anyway_was_meant_to_get_nothing(shop: Any) -> None:
    shop.settings = shop.settings.model_copy(update={"message_holdout_share": 0.99})
    shop.contacts = consents(consent_email=False)
    (decision,) = shop.reach("c1", campaign_id="spring", channels=["email"])
    assert (decision.best, decision.held_out) == (None, True)
    assert shop.decisions[-1]["intended_channel"] is None


class Knows:
    """A channel model: everyone answers alike, at some hours more; worth and risk by channel."""

    def __init__(
        self, hours: dict[int, float] | None = None, worth: dict[str, float] | None = None, risk: float = 0.0
    ) -> None:
        self.hours, self.worth, self.risk = hours or {}, worth, risk

    def estimate(self, candidates: Any) -> Estimate:
        shape = (len(candidates), len(candidates.channels))
        return Estimate(np.full(shape, 0.2), np.full(shape, 50.0), np.full(shape, "learned", dtype=object))

    def beyond(self, candidates: Any, seen: Any) -> Beyond:
        shape = (len(candidates), len(candidates.channels))
        factors = np.ones((len(candidates), 168))
        for hour, factor in self.hours.items():
            factors[:, hour::24] = factor
        worth = None
        if self.worth is not None:
            row = [self.worth.get(channel, 0.0) for channel in candidates.channels]
            worth = np.broadcast_to(np.array(row), shape)
        return Beyond(worth, np.full(shape, self.risk), factors)


def test_it_is_sent_at_the_best_hour_of_the_contact_that_is_not_quiet(shop: Any) -> None:
    shop.contacts = consents(**EVERYTHING).assign(timezone="Europe/Berlin")
    shop.champions.models["channel"] = Knows({3: 4.0, 18: 2.0, 12: 1.5})
    (decision,) = shop.reach("c1", channels=["email"], value=10.0)
    assert decision.send_at == datetime(2026, 3, 1, 17, tzinfo=UTC), "18:00 in Berlin; 3:00 is quiet"
    assert decision.channels[0].probability == pytest.approx(0.4), "at that hour"
    assert decision.channels[0].expected_value == pytest.approx(4.0 - 0.001)
    assert decision.channels[0].interval[0] < 0.4 < decision.channels[0].interval[1]
    (ads,) = shop.reach("c1", channels=["ads"], value=10.0)
    assert ads.send_at == datetime(2026, 3, 1, 2, tzinfo=UTC), "ads know no quiet hours"


def test_of_hours_as_good_as_each_other_it_is_the_first_and_each_channel_has_its_own(shop: Any) -> None:
    shop.contacts = consents(**EVERYTHING).assign(timezone="UTC")
    shop.champions.models["channel"] = Knows()
    (decision,) = shop.reach("c1", value=10.0)
    at = {channel.channel: channel.send_at for channel in decision.channels}
    assert (at["ads"], at["email"], at["phone"]) == (NOW, NOW + 8 * HOUR, NOW + 9 * HOUR)


def test_it_is_sent_within_the_window_or_not_at_all(shop: Any) -> None:
    shop.contacts = consents(**EVERYTHING).assign(timezone="UTC")
    shop.champions.models["channel"] = Knows({18: 2.0, 9: 1.5})
    asked = {"channels": ["email"], "value": 10.0}
    assert shop.reach("c1", **asked, window_hours=12)[0].send_at == NOW + 9 * HOUR
    assert shop.reach("c1", **asked, window_hours=19)[0].send_at == NOW + 18 * HOUR
    later = NOW + timedelta(hours=20)
    assert shop.reach("c1", **asked, at=later, window_hours=24)[0].send_at == NOW + 42 * HOUR
    (decision,) = shop.reach("c1", **asked, window_hours=8)
    assert (decision.best, decision.send_at) == (None, None)
    assert (decision.channels[0].blocked_by, decision.channels[0].eligible) == (["quiet_hours"], False)
    (other,) = shop.reach("c1", channels=["email", "ads"], value=10.0, window_hours=8)
    assert other.best == "ads"


def test_without_a_value_it_is_what_past_responses_brought(shop: Any) -> None:
    shop.contacts = consents(**EVERYTHING)
    shop.champions.models["channel"] = Knows(worth={"email": 1.0, "sms": 9.0})
    (decision,) = shop.reach("c1", channels=["email", "sms"])
    assert (decision.best, decision.value_from) == ("sms", "learned")
    assert decision.channels[0].expected_value == pytest.approx(0.2 * 9.0 - 0.05)
    (decision,) = shop.reach("c1", channels=["email", "sms"], value=5.0)
    assert (decision.best, decision.value_from) == ("email", "asked"), "the cheaper one"
    shop.champions.models["channel"] = Knows()
    (decision,) = shop.reach("c1", channels=["email", "sms"])
    assert (decision.value_from, decision.channels[0].expected_value) == ("default", pytest.approx(0.199))


def test_the_risk_of_losing_the_contact_is_a_loss(shop: Any) -> None:
    shop.contacts = consents(**EVERYTHING)
    shop.champions.models["channel"] = Knows(risk=0.01)
    asked = {"channels": ["ads"], "value": 10.0}
    (decision,) = shop.reach("c1", **asked)
    assert decision.channels[0].expected_value == pytest.approx(2.0 - 0.02 - 0.1), "a response's worth"
    shop.settings = shop.settings.model_copy(update={"unsubscribe_cost": 500.0})
    (decision,) = shop.reach("c1", **asked)
    assert decision.channels[0].expected_value == pytest.approx(2.0 - 0.02 - 5.0)
    assert decision.best is None, "not worth it"


def orders_every(shop: Any, gap: float, since: float) -> None:
    """Let the contact order every so many days, the last time so many days ago."""
    state = shop.live.states["c1"]
    now, day = NOW.timestamp(), 86_400.0
    times = {**state.times, "last_order": now - since * day, "first_order": now - (since + 5 * gap) * day}
    shop.live.states["c1"] = replace(state, times=times)


def test_in_a_long_window_it_waits_until_the_next_order_is_near(shop: Any) -> None:
    shop.contacts = consents(**EVERYTHING).assign(timezone="UTC")
    shop.champions.models["channel"] = Knows()
    asked = {"channels": ["ads"], "value": 10.0}
    orders_every(shop, gap=30.0, since=22.0)  # due in eight days, so welcome in five
    (decision,) = shop.reach("c1", **asked, window_hours=168)
    assert decision.send_at == NOW + timedelta(days=5)
    assert decision.channels[0].probability == pytest.approx(0.2), "which hour it is does not change that"
    assert shop.reach("c1", **asked, window_hours=24)[0].send_at == NOW, "a short window waits for nothing"
    later = NOW + timedelta(days=3)
    (decision,) = shop.reach("c1", **asked, window_hours=168, at=later)
    assert decision.send_at == NOW + timedelta(days=5), "from whichever day on it may be sent"
    orders_every(shop, gap=30.0, since=28.0)
    assert shop.reach("c1", **asked, window_hours=168)[0].send_at == NOW
    orders_every(shop, gap=30.0, since=90.0)
    assert shop.reach("c1", **asked, window_hours=168)[0].send_at == NOW, "overdue"


def test_a_good_hour_outweighs_being_early(shop: Any) -> None:
    shop.contacts = consents(**EVERYTHING).assign(timezone="UTC")
    shop.champions.models["channel"] = Knows({18: 3.0})
    orders_every(shop, gap=30.0, since=22.0)
    (decision,) = shop.reach("c1", channels=["ads"], value=10.0, window_hours=168)
    assert decision.send_at == NOW + timedelta(days=5, hours=18), "the same hour, nearer to the order"
    (decision,) = shop.reach("c1", channels=["ads"], value=10.0, window_hours=125)
    assert decision.send_at == NOW + timedelta(hours=18), "before that hour of the sixth day, it ends"


def test_without_orders_there_is_nothing_to_wait_for(shop: Any) -> None:
    shop.contacts = many(3).assign(timezone="UTC")
    shop.champions.models["channel"] = Knows()
    (decision,) = shop.reach("c2", channels=["ads"], value=10.0, window_hours=168)
    assert decision.send_at == NOW


@pytest.mark.filterwarnings("ignore::hypothesis.errors.HypothesisWarning")
@settings(max_examples=30, deadline=None)
@given(
    consent=st.dictionaries(st.sampled_from(CHANNELS), st.sampled_from([True, False, None])),
    reach=st.dictionaries(st.sampled_from(CHANNELS), st.sampled_from([True, False, None])),
    explore=st.booleans(),
)
def test_a_forbidden_channel_is_never_the_answer(
    shop_factory: Any, consent: dict[str, bool | None], reach: dict[str, bool | None], explore: bool
) -> None:
    shop = shop_factory()
    shop.champions.models["channel"] = BestArm(dict.fromkeys(CHANNELS, 50.0), dict.fromkeys(CHANNELS, 100.0))
    flags = {f"consent_{c}": v for c, v in consent.items()} | {f"reachable_{c}": v for c, v in reach.items()}
    shop.contacts = consents(**flags)
    (decision,) = shop.reach("c1", explore=explore, value=10.0)
    recorded = any(value is not None for value in consent.values())
    agreed = {c for c in CHANNELS if consent.get(c) is True or (not recorded and consent.get(c) is None)}
    permitted = {c for c in agreed if reach.get(c) is not False}
    assert decision.best in permitted | {None}
    assert (decision.best is None) == (not permitted)


def test_a_moment_past_is_now_and_one_beyond_all_calendars_is_refused(shop: Any) -> None:
    shop.contacts = consents(**EVERYTHING)
    (decision,) = shop.reach("c1", channels=["ads"], at=datetime(1900, 1, 1, tzinfo=UTC), value=10.0)
    assert decision.send_at == shop.now
    with pytest.raises(ValueError, match="after the year 2200"):
        shop.reach("c1", at=datetime(9999, 12, 31, 23, tzinfo=UTC))
