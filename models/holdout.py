"""Who is held out: contacts who get no message, so that it can be told what the messages cause.

A contact is held out by the hash of its id, and by nothing else: nobody keeps a list, every process and every
day gives the same answer, and whoever is held out at a share is held out at every larger one. With the
campaign in the hash, each campaign has a group of its own, independent of the others'; without it, the same
contacts are left alone by all.
"""

from collections.abc import Sequence
from hashlib import blake2b

import numpy as np
import numpy.typing as npt
import pandas as pd
from pandas.util import hash_array

from nextbest.errors import BadInput

Flags = npt.NDArray[np.bool_]
_PRECISION = 53
"""Bits of a double: the hash's upper ones make a number in [0, 1) that compares exactly."""


def held_out(
    contact_ids: Sequence[str] | npt.NDArray[np.object_],
    share: float,
    salt: str,
    campaign_id: str | None = None,
) -> Flags:
    """Return which contacts are held out, shape (contacts,): about `share` of them.

    SipHash-2-4 (Aumasson and Bernstein 2012) of the id as UTF-8, keyed by salt and campaign: changing either
    draws a new group. Raises BadInput for a share outside [0, 1].
    """
    if not 0 <= share <= 1:
        raise BadInput(f"the share held out is {share}; it must lie between 0 and 1")
    ids = pd.Index(contact_ids, dtype=object).astype(str).to_numpy(dtype=object)
    hashes = hash_array(ids, hash_key=_key(salt, campaign_id), categorize=False)
    return np.asarray((hashes >> np.uint64(64 - _PRECISION)) < share * 2.0**_PRECISION)


def _key(salt: str, campaign_id: str | None) -> str:
    """Return the 16 characters that key the hash; no campaign is another key than one without a name."""
    parts = [salt] if campaign_id is None else [salt, campaign_id]
    told = b"".join(len(part.encode()).to_bytes(8, "big") + part.encode() for part in parts)
    return blake2b(told, digest_size=8).hexdigest()
