import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from models._mining import Baskets, levels
from models._pair_counts import PairCounts


def lines(baskets, first=0):
    pairs = [(first + number, item) for number, basket in enumerate(baskets) for item in basket]
    return Baskets.of([f"o{n}" for n, _ in pairs], [item for _, item in pairs])


def named(counts):
    ids = counts.item_ids
    pairs = {
        frozenset((ids[pair >> 32], ids[pair & (2**32 - 1)])): count
        for pair, count in zip(counts.pairs.tolist(), counts.counts.tolist(), strict=True)
    }
    return dict(zip(ids, counts.items.tolist(), strict=True)), pairs, counts.baskets


BASKET = st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=5)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.lists(BASKET, max_size=8), min_size=1, max_size=5), st.integers(1, 4))
def test_any_split_into_days_counts_like_all_at_once(days, least):
    whole = lines([basket for day in days for basket in day])
    counts, first = PairCounts.of(lines([])), 0
    for day in days:
        counts, first = counts.updated(lines(day, first)), first + len(day)
    assert named(counts) == named(PairCounts.of(whole))
    assert (np.diff(counts.pairs) > 0).all()
    if len(whole):
        anew = levels(whole, least, 4)
        reused = levels(whole, least, 4, known=counts.level(whole.item_ids, least))
        for one, other in zip(anew, reused, strict=True):
            np.testing.assert_array_equal(one.items, other.items)
            np.testing.assert_array_equal(one.baskets, other.baskets)


def test_a_pair_too_rare_before_passes_when_its_day_comes(tmp_path):
    counts = PairCounts.of(lines(["xy", "ab", "a"]))
    counts.save(tmp_path, {"days": {"1": [2, 3]}})
    kept, about = PairCounts.load(tmp_path)
    assert about["days"] == {"1": [2, 3]}
    after = kept.updated(lines(["xy", "az"], 3))
    ids = np.array(["a", "b", "x", "y", "z"], dtype=object)
    assert kept.level(ids, 2).items.tolist() == []
    level = after.level(ids, 2)
    assert (level.items.tolist(), level.baskets.tolist()) == ([[2, 3]], [2])
