import json

import numpy as np
import pytest

from models._unsubscribing import EDGES, STRENGTH, Unsubscribing

CHANNELS = ("email", "sms", "post")


def learned(messages):
    """Learn from (channel, messages of the week before, how many such messages, how many of them left)."""
    names, recent, left = [], [], []
    for channel, week, count, gone in messages:
        names += [channel] * count
        recent += [week] * count
        left += [1.0] * gone + [0.0] * (count - gone)
    return Unsubscribing.learn(np.array(names, dtype=object), np.array(recent), np.array(left))


def test_with_many_messages_a_class_has_its_own_rate():
    model = learned([("email", 0.0, 40_000, 40), ("email", 5.0, 40_000, 800), ("sms", 0.0, 40_000, 2_000)])
    risk = model.risk(("email", "sms"), np.array([0.0, 5.0]))
    assert risk[0, 0] == pytest.approx(0.001, rel=0.15)
    assert risk[1, 0] == pytest.approx(0.02, rel=0.05)
    assert risk[0, 1] == pytest.approx(0.05, rel=0.05)


def test_with_few_messages_a_rate_is_that_of_the_channel_and_a_channels_that_of_everyone():
    model = learned([("email", 0.0, 20_000, 200), ("sms", 0.0, 5, 5)])
    everyone = 205 / 20_005
    sms = (5 + STRENGTH * everyone) / (5 + STRENGTH)
    risk = model.risk(("sms",), np.array([0.0, 9.0]))
    assert risk[0, 0] == pytest.approx((5 + STRENGTH * sms) / (5 + STRENGTH))
    assert risk[1, 0] == pytest.approx(sms), "nothing was ever sent in that class"
    assert risk[0, 0] < 0.05, "five of five are no proof"


def test_a_channel_nothing_went_out_over_has_everyones_rate():
    model = learned([("email", 0.0, 900, 9)])
    assert model.risk(("post",), np.array([0.0, 4.0])).tolist() == [[0.01], [0.01]]


def test_classes_begin_at_their_edges():
    model = learned([("email", edge, 5_000, 50 * n) for n, edge in enumerate((0.0, *EDGES), 1)])
    weeks = np.array([0.0, 0.49, 0.5, 1.49, 1.5, 2.49, 2.5, 50.0])
    risk = model.risk(("email",), weeks)[:, 0]
    assert risk[0] == risk[1] < risk[2] == risk[3] < risk[4] == risk[5] < risk[6] == risk[7]


@pytest.mark.parametrize("messages", [[], [("email", 0.0, 50, 0)]])
def test_where_nobody_ever_left_nobody_is_at_risk(messages):
    model = learned(messages)
    assert model == Unsubscribing.unknown()
    assert not model.risk(CHANNELS, np.array([0.0, 9.0])).any()
    assert model.risk(CHANNELS, np.empty(0)).shape == (0, 3)


def test_what_is_kept_is_read_again():
    model = learned([("email", 0.0, 900, 9), ("sms", 2.0, 90, 9)])
    again = Unsubscribing.from_json(json.loads(json.dumps(model.to_json())))
    recent = np.array([0.0, 1.0, 2.0, 3.0])
    np.testing.assert_array_equal(again.risk(CHANNELS, recent), model.risk(CHANNELS, recent))
