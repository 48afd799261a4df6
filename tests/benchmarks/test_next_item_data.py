"""The next-item protocol on a file whose answer is known, and on Amazon Beauty the published check."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks._next_item_data import NextItemFile, figures, popularity
from nextbest.errors import BadInput

BEAUTY = Path(__file__).resolve().parents[3] / "shared" / "data" / "amazon_beauty.txt"

TINY = """\
ann tea milk jam rye
bob milk jam
cy  jam tea milk
"""


@pytest.fixture
def tiny(tmp_path: Path) -> NextItemFile:
    return read(tmp_path, TINY)


def read(folder: Path, text: str | bytes) -> NextItemFile:
    path = folder / "file.txt"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return NextItemFile.read(path)


def lists(histories: list[np.ndarray]) -> list[list[int]]:
    return [history.tolist() for history in histories]


def test_labels_are_kept_and_items_numbered_as_they_come(tiny: NextItemFile) -> None:
    assert tiny.user_ids.tolist() == ["ann", "bob", "cy"]
    assert tiny.item_ids.tolist() == ["tea", "milk", "jam", "rye"]
    assert lists(tiny.histories) == [[0, 1, 2, 3], [1, 2], [2, 0, 1]]
    assert (tiny.short, tiny.interactions) == (1, 9)


def test_last_is_test_and_the_one_before_validation(tiny: NextItemFile) -> None:
    assert lists(tiny.training()) == [[0, 1], [1, 2], [2]]
    assert lists(tiny.before_test()) == [[0, 1, 2], [1, 2], [2, 0]]
    assert tiny.validation().tolist() == [2, -1, 0]
    assert tiny.test().tolist() == [3, -1, 1]


def test_windows_line_ends_and_blank_lines_change_nothing(tiny: NextItemFile, tmp_path: Path) -> None:
    other = read(tmp_path, "\r\n" + TINY.replace("\n", "\r\n"))
    assert lists(other.histories) == lists(tiny.histories)


def test_figures_of_known_places() -> None:
    ranked = np.array([np.arange(10), np.arange(10), np.arange(10), np.arange(10), [-1] * 10])
    found = figures(ranked, np.array([0, 2, 7, 99, -1]))  # first, third, eighth, missed, not asked
    assert found == pytest.approx(
        {
            "recall@5": 2 / 4,
            "recall@10": 3 / 4,
            "ndcg@5": (1 + 1 / 2) / 4,
            "ndcg@10": (1 + 1 / 2 + 1 / np.log2(9)) / 4,
        }
    )


@pytest.mark.parametrize("shape", [(2, 5), (3, 10), (20,)])
def test_figures_refuse_rankings_that_do_not_fit(shape: tuple[int, ...]) -> None:
    with pytest.raises(BadInput, match=r"it must be \(users, 10\)"):
        figures(np.zeros(shape, dtype=np.int64), np.array([0, 0]))


def test_popularity_leaves_the_own_history_out(tiny: NextItemFile) -> None:
    # milk and jam thrice, tea twice, rye once
    assert popularity(tiny, 3).tolist() == [[3, -1, -1], [0, 3, -1], [1, 3, -1]]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("1 a b c\n2\n", "line 2: user '2' has no items"),
        ("1,a,b,c\n", "line 1: user '1,a,b,c' has no items"),
        ("1 a b c\n\n1 d e f\n", "line 3: user '1' again, first on line 1"),
        ("1 a b\n", "no user with at least 3 items"),
        ("", "no user with at least 3 items"),
        (b"1 a b \xff", "is not UTF-8 text"),
    ],
)
def test_bad_files_are_named_with_line_and_problem(text: str | bytes, problem: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=problem):
        read(tmp_path, text)


def test_a_missing_file_is_bad_input(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="cannot read"):
        NextItemFile.read(tmp_path / "none.txt")


@pytest.mark.skipif(not BEAUTY.exists(), reason="Amazon Beauty is not at ../shared/data/amazon_beauty.txt")
def test_beauty_has_the_published_popularity() -> None:
    file = NextItemFile.read(BEAUTY)
    assert (len(file.user_ids), len(file.item_ids), file.interactions) == (22_363, 12_101, 198_502)
    found = figures(popularity(file), file.test())
    assert (round(found["recall@5"], 4), round(found["recall@10"], 4)) == (0.0080, 0.0152)
