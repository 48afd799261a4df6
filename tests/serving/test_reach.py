"""Channels: the ladder, and that a forbidden channel is never the answer."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.errors import StoreUnavailable
from models.best_arm import BestArm
from nextbest.columns import CHANNELS


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
    from dataclasses import replace

    import numpy as np

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
