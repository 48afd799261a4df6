import numpy as np
import pandas as pd
import pytest

from models._response_rates import Beta, ResponseRates
from models.best_arm import BestArm
from models.candidates import BLOCK, COUNTS, KNOWN, Candidates, contact_rows
from models.channel import Channel, ChannelConfig
from models.interactions import Interactions
from models.messages import ChannelLog
from models.policy import policy_value, policy_weights, surely_better
from nextbest.errors import NotReady

CHANNELS = ("email", "sms", "post")
DAY = 86_400.0


def history(**counts):
    """One contact's rows from channel -> (sent, answered, days since the response)."""
    rows = []
    for channel, (sent, answered, days) in counts.items():
        values = {"sent_90d": sent, "sent_total": sent, "opened_90d": answered, "opened_total": answered}
        block = {f"channel_{name}": values.get(name, 0.0) for name in COUNTS}
        rows.append({"contact_id": "c", "channel": channel, **block, "channel_days_since_response": days})
    return pd.DataFrame(rows)


def log_of(count, taste, seed=0, propensity=1 / 3):
    """Messages at random; taste(likes, channel) -> P(response), and what is liked shows in orders_30d."""
    random = np.random.default_rng(seed)
    likes = random.integers(0, 2, count)
    sent = random.integers(0, 3, count)
    chance = np.array([taste(like, channel) for like, channel in zip(likes, sent, strict=True)])
    responses = (random.random(count) < chance).astype(float)
    contacts = pd.DataFrame({"contact_id": [f"m{i}" for i in range(count)], "orders_30d": likes * 9.0})
    contacts = contacts.assign(orders_total=2.0, recency_days=5.0, spend_total=10.0)
    blocks = np.zeros((count, 3, len(KNOWN)))
    blocks[:, :, -2:] = np.nan
    return ChannelLog(Candidates(contacts, CHANNELS, blocks), sent, responses, np.full(count, propensity))


def split_taste(like, channel):
    return 0.05 if channel == 2 else 0.4 if like == channel else 0.1


def flat_taste(like, channel):
    return (0.18, 0.15, 0.1)[channel]


# --- reading


def test_rows_become_blocks_and_what_is_missing_is_nothing_sent():
    frame = history(sms=(4.0, 1.0, 3.0))
    candidates = Candidates.from_long(frame, CHANNELS)
    assert candidates.of("sent_total").tolist() == [[0.0, 4.0, 0.0]]
    assert np.isnan(candidates.of("days_since_sent")).all()
    back = Candidates.from_long(candidates.to_long(), CHANNELS)
    np.testing.assert_array_equal(back.blocks, candidates.blocks)


def test_contacts_keep_their_order_and_own_counters():
    frame = pd.DataFrame(
        {"contact_id": ["b", "a", "b"], "channel": ["email", None, "sms"], "sent_7d": [7.0, 1.0, 7.0],
         "channel_sent_7d": [2.0, np.nan, 5.0]}
    )  # fmt: skip
    candidates = Candidates.from_long(frame, CHANNELS)
    assert candidates.contacts["contact_id"].tolist() == ["b", "a"]
    assert candidates.contacts["sent_7d"].tolist() == [7.0, 1.0]
    assert candidates.of("sent_7d").tolist() == [[2.0, 5.0, 0.0], [0.0, 0.0, 0.0]]


def test_a_view_becomes_rows():
    channels = {"email": {"sent_total": 3.0, "last_sent": 10 * DAY, "last_response": np.nan}}
    (row,) = contact_rows("c", {"orders_total": 2.0, "unknown": 1.0}, channels, 12 * DAY)
    assert row["channel_sent_total"] == 3.0
    assert row["channel_days_since_sent"] == 2.0
    assert np.isnan(row["channel_days_since_response"])
    assert row["orders_total"] == 2.0
    assert set(BLOCK) <= set(row)
    assert contact_rows("c", {}, {}, 0.0) == [{"contact_id": "c", "channel": None}]


# --- the baselines


def test_the_published_rule():
    ranked = Interactions().rank(history(email=(4.0, 1.0, 9.0), sms=(2.0, 1.0, 9.0)), CHANNELS)
    assert ranked["channel"].tolist() == ["sms", "email", "post"]
    assert ranked["probability"].round(3).tolist() == [0.5, 0.25, 0.0]


def test_the_published_rule_gives_ties_to_the_latest_response():
    ranked = Interactions().rank(history(email=(4.0, 2.0, 9.0), sms=(2.0, 1.0, 1.0)), CHANNELS)
    assert ranked["channel"].tolist()[:2] == ["sms", "email"]


@pytest.mark.parametrize(
    "few", [{"email": (9.0, 5.0, 1.0)}, {"email": (1.0, 1.0, 1.0), "sms": (1.0, 0.0, np.nan)}]
)
def test_the_published_rule_has_no_answer_on_little_data(few):
    ranked = Interactions().rank(history(**few), CHANNELS)
    assert ranked["probability"].isna().all()
    assert set(ranked["source"]) == {"not_enough_data"}
    topped_up = Interactions(BestArm({"sms": 50.0}, {"sms": 100.0})).rank(history(**few), CHANNELS)
    assert topped_up["channel"][0] == "sms"
    assert set(topped_up["source"]) == {"best_arm"}


def test_value_and_cost_decide():
    arm = BestArm({"email": 10.0, "post": 30.0}, {"email": 100.0, "post": 100.0})
    costs = {"post": 0.8, "email": 0.001}
    frame = history(email=(0.0, 0.0, np.nan))
    assert arm.rank(frame, CHANNELS, 1.0, costs)["channel"][0] == "email"
    rich = arm.rank(frame, CHANNELS, {"c": 10.0}, costs)
    assert rich["channel"][0] == "post"
    assert rich["expected_value"][0] == pytest.approx(rich["probability"][0] * 10 - 0.8)


# --- rates in layers


def test_the_prior_is_learned_from_many_contacts():
    random = np.random.default_rng(1)
    rate = random.beta(2.0, 8.0, 4000)
    sent = random.integers(1, 20, 4000).astype(float)
    prior = Beta.learn(random.binomial(sent.astype(int), rate).astype(float), sent, 0.1)
    assert prior.mean == pytest.approx(0.2, abs=0.01)
    assert prior.strength == pytest.approx(10.0, rel=0.2)


def test_few_contacts_leave_the_default_strength():
    assert Beta.learn(np.array([1.0]), np.array([2.0]), 0.1).strength == 20.0


def test_a_segment_leans_to_everyone_and_an_unknown_one_is_everyone():
    rows = [("a", "loyal", "email", 1.0)] * 60 + [("b", "lost", "email", 0.0)] * 60
    rates = ResponseRates.learn(pd.DataFrame(rows, columns=["contact_id", "segment", "channel", "response"]))
    everyone = rates.rate("email")
    assert rates.segments["lost"]["email"] < everyone < rates.segments["loyal"]["email"] < 1
    mean, _, count = rates.priors(np.array(["loyal", "who"], dtype=object), ("email", "post"))
    assert mean[1].tolist() == [everyone, rates.overall]
    assert count.tolist() == [[60.0, 0.0], [0.0, 0.0]]


# --- the policy


def test_policy_value_is_what_the_policy_would_have_earned():
    random = np.random.default_rng(2)
    sent = random.choice(2, 40_000, p=[0.8, 0.2])
    outcome = (random.random(40_000) < np.where(sent == 1, 0.3, 0.1)).astype(float)
    propensity = np.where(sent == 1, 0.2, 0.8)
    weights = policy_weights(sent == 1, propensity)
    assert policy_value(weights, outcome) == pytest.approx(0.3, abs=0.015)
    assert surely_better(weights, policy_weights(sent == 0, propensity), outcome, 0)
    assert not surely_better(weights, weights, outcome, 0)
    assert np.isnan(policy_value(np.zeros(3), np.ones(3)))


def test_tastes_that_differ_are_learned():
    model = Channel.learn(log_of(6000, split_taste))
    assert model.policy == "learned"
    fresh = log_of(400, split_taste, seed=9)
    chosen = model.estimate(fresh.states).probability.argmax(axis=1)
    likes = (fresh.states.contacts["orders_30d"] > 0).to_numpy().astype(int)
    assert (chosen == likes).mean() > 0.95


def test_where_nothing_is_to_be_found_everyone_gets_the_best_channel():
    for seed in range(4):
        model = Channel.learn(log_of(3000, flat_taste, seed))
        ranked = model.rank(log_of(50, flat_taste, 99).states.to_long(), CHANNELS)
        if model.policy == "best_arm":
            break
    assert model.policy == "best_arm"
    assert set(ranked.loc[ranked["rank"] == 1, "channel"]) == {"email"}
    assert set(ranked["source"]) == {"best_arm"}


def test_without_propensities_likelihood_decides():
    model = Channel.learn(log_of(6000, split_taste, propensity=np.nan))
    assert model.policy == "learned"


def test_each_rung_names_itself():
    model = Channel.learn(log_of(3000, split_taste))
    model.policy = "rates"
    rows = pd.concat(
        [history(email=(8.0, 7.0, 1.0)), pd.DataFrame({"contact_id": ["new"], "channel": [None]})]
    )
    ranked = model.rank(rows, ("email", "ads")).set_index(["contact_id", "channel"])
    assert ranked.loc[("c", "email"), "source"] == "own_rates"
    assert ranked.loc[("new", "ads"), "source"] == "default"
    assert ranked.loc[("c", "email"), "probability"] > ranked.loc[("new", "email"), "probability"]
    assert ranked.loc[("c", "email"), "sent_total"] == 8.0
    assert ranked.loc[("c", "email"), "responses"] == 7.0
    model.policy = "learned"
    both = model.rank(rows, ("email", "ads")).set_index(["contact_id", "channel"])["source"]
    assert both[("c", "email")] == "learned"
    assert both[("c", "ads")] == "default"


def test_more_evidence_narrows_the_interval():
    model = Channel.learn(log_of(3000, split_taste))
    model.policy = "rates"
    widths = []
    for count in (0.0, 10.0, 100.0):
        row = model.rank(history(email=(count, count * 0.3, 1.0)), ("email",)).iloc[0]
        widths.append(row["high"] - row["low"])
    assert widths[0] > widths[1] > widths[2] > 0


def test_a_short_log_and_one_outcome_are_said():
    with pytest.raises(NotReady, match="500 messages were sent; the channel model needs 1000"):
        Channel.learn(log_of(500, split_taste))
    with pytest.raises(NotReady, match="no message was answered"):
        Channel.learn(log_of(1500, lambda like, channel: 0.0))


def test_channels_with_few_messages_are_left_to_the_rates():
    model = Channel.learn(log_of(1200, split_taste), ChannelConfig(least_per_channel=10_000))
    assert model.trees is None
    assert model.policy in ("rates", "best_arm")
