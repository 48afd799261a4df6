"""Which touch gets credit for an order: rules by position in the path, and two that look at the keys in it.

A path is what touched a contact before a conversion, within a window of days: touches at `timestamp` with
conversion - window <= timestamp <= conversion, in order of time. Touches of one moment stand in the order
they were given in. A touch may be in the paths of several conversions, and is credited by each.

    last_touch  all to the last touch
    linear      the same to every touch
    position    40 % to the first, 40 % to the last, 20 % to those between; of two, half each
    shapley     the same to every key in the path, however often it touched; a key's touches share it
    markov      revenue by removal effect of each key, over all paths, those without a conversion included

Attribution shares out what followed. It does not tell what would have come anyway: a hold-out group does.
"""

from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import pandas as pd

from features.timeline import Timeline, codes
from models.base import Floats
from nextbest.columns import CONTACT_ID, TIMESTAMP
from nextbest.errors import BadInput

Rule = Literal["last_touch", "linear", "position", "markov", "shapley"]
RULES: tuple[Rule, ...] = get_args(Rule)
KEY = "key"
AMOUNT = "amount"
ENDS = 0.4
"""What the first and the last touch get each, by `position`."""
DAY = 86_400_000_000
"""Microseconds."""
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Credits:
    """Who is credited with what; rows sum to `revenue` and `conversions`, up to rounding."""

    keys: pd.DataFrame
    """revenue and conversions of each key, index `key`, sorted."""
    touches: pd.DataFrame | None
    """revenue and conversions of each touch, parallel to the touches given; None for markov."""
    revenue: float
    """Amount of the conversions with a touch in their window."""
    conversions: int


def attribute(touches: pd.DataFrame, conversions: pd.DataFrame, days: float, rule: Rule) -> Credits:
    """Share out conversions among the touches before them.

    touches: contact_id, timestamp, key (a channel, a campaign, or both as one value). conversions:
    contact_id, timestamp, amount. Timestamps are datetime64 in UTC. Raises BadInput as `check` does.
    """
    check(days, rule)
    keys, names = pd.factorize(touches[KEY], sort=True)
    paths = _paths(touches, conversions, days, keys.astype(np.int64))
    amounts = conversions[AMOUNT].to_numpy(np.float64)
    total = float(amounts[paths.converted].sum())
    index = pd.Index(names, name=KEY)
    if rule == "markov":
        shares = removal_shares(paths, len(names))
        count = len(paths.converted)
        frame = pd.DataFrame({"revenue": shares * total, "conversions": shares * count}, index=index)
        return Credits(frame, None, total, count)
    weights = _WEIGHTS[rule](paths)
    each = {
        "revenue": _sum(paths.touch, weights * amounts[paths.conversion], len(touches)),
        "conversions": _sum(paths.touch, weights, len(touches)),
    }
    by_key = pd.DataFrame({name: _sum(keys, values, len(names)) for name, values in each.items()}, index)
    return Credits(by_key, pd.DataFrame(each, index=touches.index), total, len(paths.converted))


def check(days: float, rule: str) -> None:
    """Raise BadInput for an unknown rule, or a window that is no positive number of days."""
    if rule not in RULES:
        raise BadInput(f"no rule {rule!r}; known: {', '.join(RULES)}")
    if not (np.isfinite(days) and days > 0):
        raise BadInput(f"the window is {days} days; it must be a number above 0")


@dataclass(frozen=True)
class Paths:
    """The steps of all paths, a path's steps together and in order of time; arrays are parallel."""

    touch: Ints
    """Row of the touch."""
    conversion: Ints
    """Row of the conversion that ends the path."""
    key: Ints
    place: Ints
    """0 … length - 1 within the path."""
    length: Ints
    """Of the path, at each of its steps."""
    rest: Ints
    """Keys of touches that are in no path, by contact, in order of time: what led to nothing."""
    rest_contact: Ints

    @property
    def converted(self) -> Ints:
        """Rows of the conversions with a path."""
        return self.conversion[self.place == 0]


def _paths(touches: pd.DataFrame, conversions: pd.DataFrame, days: float, keys: Ints) -> Paths:
    """Find each conversion's touches: a slice of the touches sorted by contact and time."""
    contact, buyer = codes(touches[CONTACT_ID], conversions[CONTACT_ID])
    moment, bought = _micros(touches[TIMESTAMP]), _micros(conversions[TIMESTAMP])
    order = np.lexsort((moment, contact))
    line = Timeline(contact[order], moment[order])
    first = line.place(buyer, bought - int(days * DAY), "left")
    length = line.place(buyer, bought, "right") - first
    conversion = np.repeat(np.arange(len(conversions)), length)
    start = np.cumsum(length) - length
    step = np.arange(len(conversion)) - start[conversion]
    touch = order[first[conversion] + step]
    rest = order[~np.isin(order, touch)]
    return Paths(touch, conversion, keys[touch], step, length[conversion], keys[rest], contact[rest])


def _micros(times: "pd.Series[Any]") -> Ints:
    utc = pd.to_datetime(times, utc=True).astype("datetime64[us, UTC]")
    return np.asarray(utc.astype("int64"), dtype=np.int64)


def _sum(where: Ints, values: Floats, size: int) -> Floats:
    return np.bincount(where, weights=values, minlength=size)[:size].astype(np.float64)


# --- weights of each step, adding up to 1 over a path


def _last(paths: Paths) -> Floats:
    return (paths.place == paths.length - 1).astype(np.float64)


def _linear(paths: Paths) -> Floats:
    return 1.0 / paths.length


def _position(paths: Paths) -> Floats:
    ends = (paths.place == 0) | (paths.place == paths.length - 1)
    between = (1 - 2 * ENDS) / np.maximum(paths.length - 2, 1)
    weights = np.where(ends, ENDS, between)
    return np.where(paths.length <= 2, 1.0 / paths.length, weights)


def _shapley(paths: Paths) -> Floats:
    """Return the Shapley value (Shapley 1953) of each key, shared by its touches.

    A set of keys is worth the revenue of the paths whose keys all lie in it (Zhao, Mahboobi and Bagheri
    2018). That game is a sum of unanimity games, one a path, whose value is the same for each key in it: so
    it is exact for any number of keys, where counting subsets ends at about ten.
    """
    if not len(paths.key):
        return np.empty(0)
    width = int(paths.key.max()) + 1
    _, pair, repeats = np.unique(
        paths.conversion * width + paths.key, return_inverse=True, return_counts=True
    )
    per_step = 1.0 / repeats[pair]
    distinct = np.bincount(paths.conversion, weights=per_step)
    return per_step / distinct[paths.conversion]


_WEIGHTS = {"last_touch": _last, "linear": _linear, "position": _position, "shapley": _shapley}


def removal_shares(paths: Paths, keys: int) -> Floats:
    """Return each key's removal effect, scaled to add up to 1 (Anderl, Becker, von Wangenheim and Schumann
    2016), shape (keys,); zeros where nothing converted.

    Paths are walks of a first-order Markov chain from a start through the keys to a conversion or to
    nothing. What a contact's touches of no conversion leave is one path to nothing. The removal effect of a
    key is the share of P(conversion) that is lost when every walk that comes to it ends in nothing:
    P(the walk visits it) x P(conversion from it) / P(conversion). The chain forgets how a walk came to a key,
    so that a key seen only on the way to nothing may have an effect through the keys that followed it.
    """
    if not len(paths.touch):
        return np.zeros(keys)
    begin, counts, won, lost = _transitions(paths, keys)
    leaving = np.maximum(counts.sum(axis=1) + won + lost, 1.0)
    fundamental = np.linalg.inv(np.eye(keys) - counts / leaving[:, None])
    visits = (begin / begin.sum()) @ fundamental / np.diag(fundamental)
    effects = visits * (fundamental @ (won / leaving))
    return np.asarray(effects / effects.sum())


def _transitions(paths: Paths, keys: int) -> tuple[Floats, Floats, Floats, Floats]:
    """Count walks that begin at a key, steps from key to key, and ends in a conversion and in nothing."""
    path = np.concatenate([paths.conversion, paths.rest_contact + 1 + paths.conversion.max()])
    key = np.concatenate([paths.key, paths.rest])
    same = path[1:] == path[:-1]
    first, last = np.append(True, ~same), np.append(~same, True)
    converts = np.arange(len(key)) < len(paths.key)
    ones = np.ones(len(key))
    steps = np.zeros((keys, keys))
    np.add.at(steps, (key[:-1][same], key[1:][same]), 1.0)
    won, lost = (_sum(key[last & side], ones[last & side], keys) for side in (converts, ~converts))
    return _sum(key[first], ones[first], keys), steps, won, lost
