import numpy as np
import pytest

from models._best_time import HOURS, LEAST, MOST, UNTRIED, BestTime, BestTimeConfig, Sent, kernel

MORNING, EVENING = 8, 20
DAYTIME = np.array([hour for hour in range(HOURS) if 7 <= hour % 24 < 22])
RATE = 0.2


def week(hour, count=1.0):
    """Somebody who was there at an hour of every day."""
    seen = np.zeros(HOURS, dtype=np.float32)
    seen[hour::24] = count
    return seen


def messages(count, chance, seed=0, hours=DAYTIME):
    """Messages at any hour to two kinds of people; chance(kind, hour of day, segment) -> P(response).

    Kind 0 is there in the mornings, 1 in the evenings, and each at times when nobody is.
    """
    random = np.random.default_rng(seed)
    kind = random.integers(0, 2, count)
    segments = np.array(["new", "loyal"], dtype=object)[random.integers(0, 2, count)]
    at = random.choice(hours, count)
    seen = random.poisson(0.02, (count, HOURS)).astype(np.float32)
    usual = np.array([MORNING, EVENING])[kind]
    for _ in range(8):
        near = (usual + random.integers(-1, 2, count)) % 24 + 24 * random.integers(0, 7, count)
        seen[np.arange(count), near] += 1
    p = np.array([chance(*known) for known in zip(kind, at % 24, segments, strict=True)])
    return Sent(at, (random.random(count) < p).astype(float), np.full(count, RATE), segments, seen)


def habits(kind, hour, segment):
    usual = MORNING if kind == 0 else EVENING
    return 0.5 if abs(hour - usual) <= 1 else 0.12


def for_all(kind, hour, segment):
    return 0.5 if hour in (11, 12, 13) else 0.14


def none(kind, hour, segment):
    return RATE


@pytest.fixture(scope="module")
def learned():
    return BestTime.learn(messages(12_000, habits))


def test_each_kind_of_people_has_hours_of_its_own(learned):
    assert learned.makes_a_difference
    early, late = learned.factors(np.stack([week(MORNING), week(EVENING)]), ["new", "new"])
    for day in range(7):
        morning, noon, evening = day * 24 + MORNING, day * 24 + 14, day * 24 + EVENING
        assert early[morning] > 1.3 > early[noon]
        assert early[morning] > 1.5 * early[evening]
        assert late[evening] > 1.3 > late[noon]
        assert late[evening] > 1.5 * late[morning]


def test_whoever_was_never_seen_has_everybodys_hours(learned):
    (unseen,) = learned.factors(np.zeros((1, HOURS), dtype=np.float32), ["new"])
    early, late = learned.factors(np.stack([week(MORNING), week(EVENING)]), ["new", "new"])
    assert late[MORNING] < unseen[MORNING] < early[MORNING]
    assert early[EVENING] < unseen[EVENING] < late[EVENING]


def test_the_more_was_seen_the_surer_the_kind(learned):
    once = np.zeros((1, HOURS), dtype=np.float32)
    once[0, MORNING] = 1
    nothing, little, much = (
        learned.factors(seen, ["new"])[0, MORNING]
        for seen in (np.zeros_like(once), once, week(MORNING, 20.0)[None])
    )
    assert nothing < little < much


def test_hours_that_suit_everybody_are_good_for_all():
    model = BestTime.learn(messages(12_000, for_all))
    for factors in model.factors(np.stack([week(MORNING), week(EVENING), week(0, 0)]), ["new"] * 3):
        assert factors[12] > 1.5
        assert factors[17] < 0.9


def test_a_segment_may_have_hours_of_its_own():
    def chance(kind, hour, segment):
        good = (8, 9, 10) if segment == "new" else (18, 19, 20)
        return 0.5 if hour in good else 0.12

    model = BestTime.learn(messages(12_000, chance))
    nobody = np.zeros((3, HOURS), dtype=np.float32)
    new, loyal, stranger = model.factors(nobody, ["new", "loyal", "never heard of"])
    assert new[9] > 1.5 > loyal[9]
    assert loyal[19] > 1.5 > new[19]
    assert new[9] > stranger[9] > loyal[9]


@pytest.mark.parametrize("seed", range(3))
def test_where_hours_tell_nothing_all_are_alike(seed):
    model = BestTime.learn(messages(6_000, none, seed))
    assert not model.makes_a_difference
    factors = model.factors(np.stack([week(MORNING), week(EVENING)]), ["new", "loyal"])
    tried = np.isin(np.arange(HOURS), DAYTIME)
    assert (factors[:, tried] == 1).all()
    assert (factors[:, ~tried] == UNTRIED).all()


def test_hours_next_to_nothing_was_sent_at_count_as_untried(learned):
    factors = learned.factors(np.stack([week(3), week(MORNING)]), ["new", "new"])
    night = ~np.isin(np.arange(HOURS), DAYTIME)
    assert (factors[:, night] == UNTRIED).all(), "even for those who are up"


def test_a_day_is_tried_by_the_days_of_its_kind():
    monday = np.arange(9, 21)
    model = BestTime.learn(messages(3_000, none, hours=monday))
    (factors,) = model.factors(np.zeros((1, HOURS), dtype=np.float32), ["new"])
    by_day = factors.reshape(7, 24)
    assert (by_day[:5, 9:21] == 1).all(), "a Friday is a workday as well"
    assert (by_day[5:] == UNTRIED).all()


@pytest.mark.parametrize("count", [0, 1, 2, 40])
def test_from_too_few_messages_no_hour_is_better_or_worse(count):
    model = BestTime.learn(messages(count, habits))
    assert not model.makes_a_difference
    assert (model.factors(np.stack([week(MORNING), week(3)]), ["new", "loyal"]) == 1).all()


def test_where_no_hour_was_tried_enough_none_is_worse_than_another():
    model = BestTime.learn(messages(300, none))
    assert (model.factors(np.stack([week(MORNING), week(3)]), ["new", "loyal"]) == 1).all()


def test_hours_tried_only_later_do_not_hide_what_the_others_tell():
    """Half of the later messages go out at hours nothing was sent at before."""
    known, new = (messages(count, for_all, seed) for count, seed in ((9_000, 1), (1_500, 2)))
    late = np.arange(9_000) >= 7_500
    hours = np.concatenate([known.hours[~late], known.hours[late], new.hours % 3])
    parts = [
        np.concatenate([getattr(known, n), getattr(new, n)])
        for n in ("responses", "expected", "segments", "seen")
    ]
    assert BestTime.learn(Sent(hours, *parts)).makes_a_difference


def test_no_factor_is_beyond_what_is_believed():
    def chance(kind, hour, segment):
        return 0.95 if hour == 12 else 0.01

    sent = messages(8_000, chance)
    model = BestTime.learn(Sent(sent.hours, sent.responses, np.full(8_000, 0.05), sent.segments, sent.seen))
    (factors,) = model.factors(np.zeros((1, HOURS), dtype=np.float32), ["new"])
    assert factors[12] == MOST
    assert factors.min() >= LEAST


def test_what_is_kept_is_read_again(learned, tmp_path):
    learned.save(tmp_path)
    again = BestTime.load(tmp_path)
    seen = messages(50, habits, seed=5).seen
    segments = ["new", "loyal"] * 25
    np.testing.assert_array_equal(again.factors(seen, segments), learned.factors(seen, segments))
    assert again.config == learned.config


def test_nothing_known_is_kept_too(tmp_path):
    BestTime.unknown().save(tmp_path)
    again = BestTime.load(tmp_path)
    assert not again.makes_a_difference
    assert (again.factors(np.stack([week(3)]), ["new"]) == 1).all()


def test_hours_near_each_other_help_each_other():
    near = kernel(BestTimeConfig())
    np.testing.assert_array_equal(near, near.T)
    assert (np.diag(near) == 1).all()
    assert near[0, 23] == near[0, 1] > near[0, 2], "midnight lies between the two"
    tuesday, saturday = 24, 5 * 24
    assert near[0, 0] > near[0, tuesday] > near[0, saturday] > 0


def test_nobody_is_asked(learned):
    assert learned.factors(np.zeros((0, HOURS), dtype=np.float32), []).shape == (0, HOURS)
