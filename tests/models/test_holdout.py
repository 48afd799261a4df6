import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.holdout import held_out
from nextbest.errors import BadInput

IDS = [f"c{i}" for i in range(40_000)]


def test_the_same_contacts_for_ever():
    """Pinned: another version, another machine, another day must hold out the very same contacts."""
    ids = ["c1", "c2", "c3", "ünïcode", "", "42"]
    assert [i for i in IDS[:120] if held_out([i], 0.05, "messages")[0]] == PINNED
    assert [i for i in IDS[:120] if held_out([i], 0.05, "messages", "spring")[0]] == PINNED_SPRING
    together = held_out(ids, 0.5, "messages").tolist()
    assert together == [bool(held_out([i], 0.5, "messages")[0]) for i in ids], "whoever is asked with them"
    assert held_out(np.array([42], dtype=object), 0.5, "messages")[0] == together[-1], "an id is its text"


PINNED = ["c47", "c100", "c106"]
PINNED_SPRING = ["c2", "c41", "c55", "c57", "c63", "c93", "c97", "c113"]


@pytest.mark.parametrize("share", [0.01, 0.05, 0.5])
def test_the_share_is_met(share):
    error = 4 * np.sqrt(share * (1 - share) / len(IDS))
    for salt, campaign in (("a", None), ("b", None), ("a", "x"), ("a", "y")):
        assert held_out(IDS, share, salt, campaign).mean() == pytest.approx(share, abs=error)


@given(st.lists(st.text(max_size=12), max_size=30), st.floats(0, 1), st.floats(0, 1), st.text(max_size=8))
def test_who_is_held_out_stays_so_at_a_larger_share(ids, one, other, salt):
    less, more = sorted([one, other])
    assert (held_out(ids, less, salt) <= held_out(ids, more, salt)).all()
    assert not held_out(ids, 0.0, salt).any()
    assert held_out(ids, 1.0, salt).all()


def test_groups_of_other_salts_and_campaigns_are_independent():
    base = held_out(IDS, 0.2, "a")
    for salt, campaign in (("b", None), ("a", "x"), ("a", ""), ("", "a")):
        both = (base & held_out(IDS, 0.2, salt, campaign)).mean()
        assert both == pytest.approx(0.04, abs=4 * np.sqrt(0.04 * 0.96 / len(IDS)))
    assert held_out(["x"], 0.5, "a", "bc").shape == (1,)
    assert (held_out(IDS, 0.2, "ab", "c") != held_out(IDS, 0.2, "a", "bc")).any(), "no gluing together"


def test_a_million_contacts_are_told_in_a_second():
    ids = [f"contact-{i}" for i in range(1_000_000)]
    start = time.process_time()
    held_out(ids, 0.05, "messages", "spring")
    assert time.process_time() - start < 3, "about half a second alone on a machine"


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_a_share_is_a_share(share):
    with pytest.raises(BadInput, match="between 0 and 1"):
        held_out(["c1"], share, "messages")
