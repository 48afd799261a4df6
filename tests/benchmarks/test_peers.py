"""The runner of peers, with a small script in a peer's place; the peers themselves where installed."""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmarks import _peers
from benchmarks._next_item_data import NextItemFile
from nextbest.errors import BadInput, NotReady

installed = pytest.mark.skipif(not _peers.available(), reason="the peers are not installed; run: make peers")


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Return a function that makes implicit_als a script of ours, run by this interpreter."""

    def write(code: str) -> None:
        folder = tmp_path / "benchmarks" / "peers"
        folder.mkdir(parents=True)
        (folder / "implicit_als.py").write_text("import json, sys, time\n" + code)
        for name, value in (("ROOT", tmp_path), ("PYTHON", Path(sys.executable)), ("INSTALLED", folder)):
            monkeypatch.setattr(_peers, name, value)

    return write


def test_arguments_go_in_and_the_last_line_comes_out(stand_in: Callable[[str], None]) -> None:
    stand_in("print('noise'); print(json.dumps({'seconds': json.load(sys.stdin)['k'], 'peak_mb': 1}))")
    assert _peers.run("implicit_als", {"k": 10}) == {"seconds": 10, "peak_mb": 1}


def test_a_failure_says_its_last_line(stand_in: Callable[[str], None]) -> None:
    stand_in("raise ValueError('too few baskets')")
    with pytest.raises(_peers.PeerFailed, match="implicit_als ended with 1: ValueError: too few baskets"):
        _peers.run("implicit_als", {})


def test_a_peer_that_takes_too_long_is_ended(stand_in: Callable[[str], None]) -> None:
    stand_in("time.sleep(60)")
    with pytest.raises(_peers.PeerFailed, match=r"more than 0\.2 seconds"):
        _peers.run("implicit_als", {}, timeout=0.2)


def test_a_missing_environment_names_the_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(_peers, "PYTHON", tmp_path / "none")
    with pytest.raises(NotReady, match="run: make peers"):
        _peers.run("implicit_als", {})


def test_an_unknown_peer_names_the_known_ones() -> None:
    with pytest.raises(BadInput, match="known: rectools_sasrec"):
        _peers.run("surprise", {})


def test_every_peer_has_its_file() -> None:
    files = {path.stem for path in (_peers.ROOT / "benchmarks" / "peers").glob("[!_]*.py")}
    assert files == {*_peers.NEXT_ITEM, *_peers.PAIRS, "lifetimes_value"}


@installed
def test_neighbours_find_the_other_half_of_a_pair(tmp_path: Path) -> None:
    # item 2n is always followed by 2n + 1; each user's test is the half still missing
    lines = []
    for user in range(60):
        first, second = user % 6, (user + 1) % 6
        lines.append(f"{user} {2 * first} {2 * first + 1} {2 * second} {2 * second + 1}")
    path = tmp_path / "file.txt"
    path.write_text("\n".join(lines))
    found = _peers.next_item("implicit_bm25", NextItemFile.read(path))
    assert found["recall@5"] == 1.0
    assert found["seconds"] >= 0
    assert found["peak_mb"] > 0


@installed
@pytest.mark.parametrize("peer", _peers.PAIRS)
def test_pairs_are_counted(peer: str) -> None:
    items = [1, 2, 3, 1, 2, 1, 2, 3, 9]  # pyfim wants a basket that does without: see its file
    baskets = pd.DataFrame({"basket": np.array([0, 0, 0, 1, 1, 2, 2, 2, 3]), "item": np.array(items)})
    assert [_peers.pairs(peer, baskets, least)["pairs"] for least in (2, 3)] == [3, 1]
