"""Files of baskets as the next-basket benchmark reads them, and the peers it is measured beside."""

import json

import numpy as np
import pytest

from benchmarks._baskets import Peers, _group_decayed, read
from nextbest.errors import BadInput

BASKETS = {
    "u": [["a", "b"], ["a"], ["a", "c"], ["d"]],
    "v": [["b"], ["b", "c"], ["c"]],
    "w": [["c"], ["c"]],
}


def test_a_file_is_read_and_another_kind_refused(tmp_path):
    file = tmp_path / "baskets.json"
    file.write_text(json.dumps({"1": [[3, 3, 2], [1]]}))
    assert read(file) == {"1": [["2", "3"], ["1"]]}
    for text in ("[1, 2]", '{"1": [["a"]]}', "no json"):
        file.write_text(text)
        with pytest.raises(BadInput):
            read(file)
    with pytest.raises(BadInput, match="missing"):
        read(tmp_path / "missing.json")


def test_peers_know_nothing_of_the_last_basket():
    peers = Peers(BASKETS, 1)
    assert peers.users == ["u", "v", "w"]
    assert "d" not in peers.item_ids
    ranked = peers.ranked()
    assert ranked["P-TopFreq"]["u"][0] == "a"
    # of the items v bought twice or once, b leads; what v never bought follows by what sells
    assert ranked["GP-TopFreq"]["v"][:3] == ["b", "c", "a"]
    assert set(Peers(BASKETS, 2).users) == {"u", "v"}


def test_group_decay_counts_groups_of_seven_from_the_latest():
    weights = [_group_decayed(back, 9) for back in range(9)]
    np.testing.assert_allclose(weights[:2], [1 / 14, 0.9 / 14])
    np.testing.assert_allclose(weights[6:], [0.9**6 / 14, 0.7 / 4, 0.63 / 4])
