"""The next-item protocol: a user a line, `user item item …`, oldest first, parted by blanks.

The last item is the test, the one before it the validation, the rest is training. All items are ranked for
every user, those of the user's own history left out; figures are means over all users with a wanted item.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from nextbest.errors import BadInput

Items = npt.NDArray[np.int64]
"""Item numbers: positions in `item_ids`; -1 stands for none."""
Labels = npt.NDArray[np.object_]

LEAST = 3
"""Items a user must have to be asked about: one to learn from, one for validation, one for the test."""
DEPTHS = (5, 10)
FORMAT = "a line is `user item item …`, oldest first, parted by blanks"


@dataclass(frozen=True)
class NextItemFile:
    """One file, read and numbered."""

    user_ids: Labels
    """Original labels, in the order of the lines."""
    item_ids: Labels
    """Original labels, in the order of first appearance."""
    histories: list[Items]
    """A user's whole line, oldest first."""

    @classmethod
    def read(cls, path: Path | str) -> "NextItemFile":
        """Read a file; BadInput names the line and what is wrong with it."""
        numbers: dict[str, int] = {}
        first_line: dict[str, int] = {}
        histories: list[Items] = []
        for number, line in enumerate(_lines(Path(path)), start=1):
            user, *items = line.split() or [""]
            if not user:
                continue
            if not items:
                raise BadInput(f"{path}, line {number}: user {user!r} has no items; {FORMAT}")
            if user in first_line:
                raise BadInput(
                    f"{path}, line {number}: user {user!r} again, first on line {first_line[user]}"
                )
            first_line[user] = number
            histories.append(np.array([numbers.setdefault(item, len(numbers)) for item in items]))
        if all(len(history) < LEAST for history in histories):
            raise BadInput(f"{path}: no user with at least {LEAST} items; {FORMAT}")
        return cls(np.array(list(first_line), dtype=object), np.array(list(numbers), dtype=object), histories)

    @property
    def short(self) -> int:
        """Return how many users have too few items to be asked about; they are there to learn from only."""
        return sum(len(history) < LEAST for history in self.histories)

    @property
    def interactions(self) -> int:
        """Return the number of items on all lines together."""
        return sum(map(len, self.histories))

    def training(self) -> list[Items]:
        """Return what may be learned from while settings are chosen, a history a user."""
        return [history[:-2] if len(history) >= LEAST else history for history in self.histories]

    def before_test(self) -> list[Items]:
        """Return training and validation, a history a user: what the model that is tested learns from."""
        return [history[:-1] if len(history) >= LEAST else history for history in self.histories]

    def validation(self) -> Items:
        """Return the item before the last of each user, -1 for users with too few."""
        return self._from_end(2)

    def test(self) -> Items:
        """Return the last item of each user, -1 for users with too few."""
        return self._from_end(1)

    def _from_end(self, place: int) -> Items:
        return np.array([history[-place] if len(history) >= LEAST else -1 for history in self.histories])


def figures(ranked: Items, wanted: Items) -> dict[str, float]:
    """Return recall and NDCG at 5 and 10 for (users, k) ranked items and the one (users,) wanted.

    With one wanted item recall is the hit rate and NDCG 1/log2(place + 1). Users who want -1 are left out.
    """
    if ranked.ndim != 2 or len(ranked) != len(wanted) or ranked.shape[1] < max(DEPTHS):
        raise BadInput(f"ranked {ranked.shape} for {len(wanted)} users; it must be (users, {max(DEPTHS)})")
    asked = wanted >= 0
    hit = ranked[asked] == wanted[asked, None]
    gain = hit / np.log2(np.arange(ranked.shape[1]) + 2.0)
    measured = {f"recall@{k}": float(hit[:, :k].any(axis=1).mean()) for k in DEPTHS}
    return measured | {f"ndcg@{k}": float(gain[:, :k].sum(axis=1).mean()) for k in DEPTHS}


def popularity(file: NextItemFile, k: int = max(DEPTHS)) -> Items:
    """Return the k items bought most, (users, k), each user's own before the test left out; -1 for none left.

    Counted over **all** interactions, the test's included, as in S3-Rec's table: a check that the protocol
    is the published one (Amazon Beauty: recall@5 .0080, recall@10 .0152), not a baseline to be compared with.
    """
    counts = np.bincount(np.concatenate(file.histories), minlength=len(file.item_ids))
    order = np.argsort(-counts, kind="stable")
    ranked = np.full((len(file.histories), k), -1)
    for row, history in zip(ranked, file.before_test(), strict=True):
        left = order[: k + len(history)]
        left = left[~np.isin(left, history)][:k]
        row[: len(left)] = left
    return ranked


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").split("\n")
    except OSError as error:
        raise BadInput(f"cannot read {path}: {error.strerror}; give a file where {FORMAT}") from error
    except UnicodeDecodeError as error:
        raise BadInput(f"{path} is not UTF-8 text: {error.reason}; {FORMAT}") from error
