import numpy as np
import pytest

from models._response_worth import LEAST, STRENGTH, Answered, ResponseWorth

NAMES = ("email", "sms", "post")


def answers(count, worth, seed=0, buys=0.4):
    """Responses; worth(likes, channel) -> mean money, exponential where anything was bought at all."""
    random = np.random.default_rng(seed)
    likes = random.integers(0, 2, count).astype(float)
    channel = random.integers(0, 2, count)
    mean = np.array([worth(like, place) for like, place in zip(likes, channel, strict=True)])
    earned = np.where(random.random(count) < buys, random.exponential(mean / buys), 0.0)
    contacts = np.column_stack([likes, random.normal(size=count), np.full(count, np.nan)])
    return Answered(contacts, channel, earned)


def alike(like, channel):
    return 10.0


def by_channel(like, channel):
    return 2.0 if channel == 0 else 20.0


def by_contact(like, channel):
    return 2.0 + 30.0 * like


SOME = np.array([[0.0, 0.0, np.nan], [1.0, 0.0, np.nan]])


def test_where_all_are_worth_the_same_there_is_one_worth():
    model = ResponseWorth.learn(answers(4_000, alike), NAMES)
    assert (model.kept, model.contacts) == ("one", None)
    worth = model.of(SOME, NAMES)
    assert worth.shape == (2, 3)
    assert (worth == worth[0, 0]).all()
    assert worth[0, 0] == pytest.approx(10.0, rel=0.1)


def test_where_channels_differ_each_has_its_own():
    model = ResponseWorth.learn(answers(1_900, by_channel), NAMES)
    assert model.kept == "channels"
    worth = model.of(SOME, ("sms", "email", "post", "fax"))
    assert worth[0, 0] == pytest.approx(20.0, rel=0.25)
    assert worth[0, 1] == pytest.approx(2.0, abs=1.5)
    assert worth[0, 2] == worth[0, 3] == pytest.approx(model.everyone), "nothing was answered over them"
    np.testing.assert_array_equal(worth[0], worth[1])


def test_where_contacts_differ_each_has_its_worth():
    model = ResponseWorth.learn(answers(5_000, by_contact), NAMES)
    assert model.kept == "contacts"
    worth = model.of(SOME, ("email", "sms", "fax"))
    assert (worth[1, :2] > 4 * worth[0, :2]).all()
    known = model.channels["email"] / model.everyone
    np.testing.assert_allclose(
        worth[:, 0] / worth[:, 2], known, err_msg="a channel without responses is as any"
    )
    assert (worth > 0).all()


def test_with_few_responses_contacts_are_alike_and_a_channels_worth_is_drawn_to_everyones():
    few = answers(LEAST, by_contact)
    assert ResponseWorth.learn(few, NAMES).kept != "contacts", "the earlier ones are too few"
    two = Answered(np.zeros((2, 3)), np.array([0, 1]), np.array([0.0, 100.0]))
    model = ResponseWorth.learn(two, NAMES)
    assert model.kept == "one"
    assert model.everyone == 50.0
    assert model.channels["sms"] == pytest.approx((100.0 + STRENGTH * 50.0) / (1 + STRENGTH))


def test_nothing_was_ever_earned():
    for count in (0, 1, 50):
        nothing = Answered(np.zeros((count, 3)), np.zeros(count, dtype=np.int64), np.zeros(count))
        model = ResponseWorth.learn(nothing, NAMES)
        assert model.kept == "one"
        assert not model.of(SOME, NAMES).any()


@pytest.mark.parametrize(
    ("worth", "kept"), [(alike, "one"), (by_channel, "channels"), (by_contact, "contacts")]
)
def test_what_is_kept_is_read_again(worth, kept, tmp_path):
    model = ResponseWorth.learn(answers(1_900 if kept == "channels" else 5_000, worth), NAMES)
    assert not ResponseWorth.in_folder(tmp_path)
    model.save(tmp_path)
    assert ResponseWorth.in_folder(tmp_path)
    again = ResponseWorth.load(tmp_path)
    assert again.kept == model.kept == kept
    contacts = answers(50, worth, seed=1).contacts
    np.testing.assert_array_equal(again.of(contacts, (*NAMES, "fax")), model.of(contacts, (*NAMES, "fax")))
