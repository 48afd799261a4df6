"""Whom training leaves out: people who were erased or who object, kept as keyed hashes and never as ids.

HMAC-SHA256 (RFC 2104) under a random key of the state folder. From the list alone nobody can be told; with
the key an id can be asked for, but none read out. So an old file that is taken in once more teaches nothing
of those who were erased.
"""

import hmac
import secrets
from collections.abc import Iterable, Mapping
from fcntl import LOCK_EX, flock
from pathlib import Path
from typing import Literal, Self

import numpy as np
import numpy.typing as npt
import pandas as pd

from features.events._files import written_aside
from features.events._identity import Graph
from features.events.lake import Lake
from nextbest.columns import CONTACT_ID
from nextbest.errors import NotReady
from nextbest.settings import Settings

Why = Literal["erased", "objected"]
ERASED: Why = "erased"
OBJECTED: Why = "objected"
KEY_BYTES = 32


class Excluded:
    """The list as it was when it was read; empty where nobody was ever put on it."""

    def __init__(self, listed: Mapping[str, Why], key: bytes, people: Graph) -> None:
        """`listed`: hash -> why. All ids that `people` makes one person are listed where one of them is."""
        self._listed, self._key = listed, key
        self._with: dict[str, Why] = {}
        if listed:
            for earlier, contact in people.merged().items():
                if (why := self._own(earlier) or self._own(contact)) is not None:
                    self._with |= dict.fromkeys(people.person(contact).members, why)

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Read the list of a state folder. Raises NotReady where its key is missing: nobody could be told."""
        folder = _folder(settings)
        if not (listed := _read(folder)):
            return cls({}, b"", Graph([]))
        return cls(listed, _key(folder), Lake(settings.lake).people())

    def __len__(self) -> int:
        return len(self._listed)

    def why(self, contact_id: str) -> Why | None:
        """Return why training leaves somebody out; None: it does not."""
        return self._with.get(contact_id) or self._own(contact_id)

    def mask(self, ids: Iterable[str | None]) -> npt.NDArray[np.bool_]:
        """Tell of each id, contact's or visitor's, whether it is left out."""
        return np.array([one is not None and self.why(str(one)) is not None for one in ids], dtype=np.bool_)

    def without(self, frame: pd.DataFrame, column: str = CONTACT_ID) -> pd.DataFrame:
        """Return the rows of a frame, with their index, whose id in the column is not left out."""
        if not self:
            return frame
        codes, ids = pd.factorize(frame[column].astype(object))
        gone = np.append(self.mask(ids), False)  # the last: no id, code -1
        return frame[~gone[codes]]

    def _own(self, contact_id: str) -> Why | None:
        return self._listed.get(_hash(self._key, contact_id)) if self._listed else None


def exclude(settings: Settings, ids: Iterable[str], why: Why) -> int:
    """Put ids on the list; returns how many are new. Who was erased stays so where the same objects."""
    return _changed(settings, ids, why)


def include(settings: Settings, ids: Iterable[str]) -> int:
    """Take ids off the list; returns how many were on it."""
    return _changed(settings, ids, None)


def _changed(settings: Settings, ids: Iterable[str], why: Why | None) -> int:
    folder = _folder(settings)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        flock(lock, LOCK_EX)
        listed = _read(folder)
        key = _key(folder) if listed else _new_key(folder)
        hashes = {_hash(key, one) for one in ids}
        known = hashes & listed.keys()
        if why is None:
            listed = {one: said for one, said in listed.items() if one not in known}
        else:
            listed |= dict.fromkeys(hashes - known, why)
        with written_aside(folder / "hashes") as aside:
            aside.write_text("".join(f"{one} {said}\n" for one, said in sorted(listed.items())))
    return len(known) if why is None else len(hashes - known)


def _hash(key: bytes, contact_id: str) -> str:
    return hmac.digest(key, contact_id.encode("utf-8", "surrogatepass"), "sha256").hex()


def _folder(settings: Settings) -> Path:
    return settings.home.resolve() / "excluded"


def _read(folder: Path) -> dict[str, Why]:
    try:
        lines = (folder / "hashes").read_text().splitlines()
    except FileNotFoundError:
        return {}
    return {
        one: OBJECTED if why == OBJECTED else ERASED
        for one, _, why in (line.partition(" ") for line in lines)
    }


def _key(folder: Path) -> bytes:
    try:
        key = (folder / "key").read_bytes()
    except FileNotFoundError:
        key = b""
    if len(key) != KEY_BYTES:
        raise NotReady(
            f"{folder / 'key'} is missing or damaged, so nobody can be told by {folder / 'hashes'}; "
            "put both back from a backup"
        )
    return key


def _new_key(folder: Path) -> bytes:
    path = folder / "key"
    if not path.exists():
        with written_aside(path) as aside:
            aside.touch(mode=0o600)
            aside.write_bytes(secrets.token_bytes(KEY_BYTES))
    return _key(folder)
