"""What contacts did between purchases, in order: steps, the paths they form, the purchase each led to.

A path begins with the first step after an order, or after an idle gap, and ends with the next order or with
the gap. A step at the very moment of an order came before it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from models.base import Floats, Shopper
from nextbest.columns import CONTACT_ID, EVENT, ITEM_ID, ORDER_COMPLETED, ORDER_ID, PURCHASES

Rows = npt.NDArray[np.int64]

DAY = 86_400.0
TIME, CATEGORY = "time", "category"
COLUMNS = (CONTACT_ID, TIME, EVENT, CATEGORY, ITEM_ID, ORDER_ID)
"""What steps and purchases are read from: a row an event or order line; time in epoch seconds."""


def label(event: str, category: str) -> str:
    """Return a step as people read it: "product_viewed:shoes/boots", or the event alone."""
    return f"{event}:{category}" if category else event


@dataclass(frozen=True)
class Lists:
    """Lists of unequal length: list i is values[starts[i]:starts[i + 1]], numbers of `names`."""

    starts: Rows
    values: Rows
    names: Sequence[str]

    def of(self, rows: Rows) -> tuple[Rows, Rows]:
        """Return the values of the lists at `rows`, one after another, and the place in `rows` of each."""
        sizes = self.starts[rows + 1] - self.starts[rows]
        owner = np.repeat(np.arange(len(rows)), sizes)
        within = np.arange(len(owner)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        return self.values[self.starts[rows][owner] + within], owner


@dataclass(frozen=True)
class Steps:
    """Steps by contact and time, as parallel arrays; what was bought, by purchase."""

    contacts: Rows
    """Numbers from 0."""
    paths: Rows
    """Number of the step's path; rises."""
    times: Floats
    labels: Rows
    """Numbers of `names`."""
    purchases: Rows
    """Number of the contact's next purchase; -1: none came."""
    wait: Floats
    """Seconds until then; inf: none came."""
    since: Floats
    """Seconds since the purchase before; inf: there was none."""
    names: Sequence[str]
    """Labels, the event before the colon."""
    categories: Lists
    """Categories of each purchase that a step came before."""
    items: Lists
    """Its items."""

    def __len__(self) -> int:
        return len(self.times)

    @classmethod
    def of(cls, frame: pd.DataFrame, idle_days: float, ignored: Sequence[str] = ()) -> "Steps":
        """Read COLUMNS; events in `ignored` are no steps. A contact's lines of a moment are one purchase."""
        contact = pd.factorize(frame[CONTACT_ID], sort=True)[0].astype(np.int64)
        time = frame[TIME].to_numpy(np.float64)
        bought = (frame[EVENT] == ORDER_COMPLETED).to_numpy(bool)
        lines = frame[bought]
        purchase, buyers, moments = _purchases(lines, contact[bought], time[bought])
        taken = ~frame[EVENT].isin([*PURCHASES, *ignored]).to_numpy(bool)
        names, labels = _labels(frame[taken])
        order = np.lexsort((labels, time[taken], contact[taken]))
        contacts, times, labels = contact[taken][order], time[taken][order], labels[order]
        following = _following(contacts, times, buyers, moments)
        till, since = _until(following, contacts, times, buyers, moments)
        reached = np.zeros(len(moments), dtype=np.bool_)
        reached[following[np.isfinite(till)]] = True  # what no path led to need not be listed
        lines, purchase = lines[reached[purchase]], purchase[reached[purchase]]
        return cls(
            contacts,
            _paths(contacts, times, following, idle_days),
            times,
            labels,
            np.where(np.isfinite(till), following, -1),
            till,
            since,
            names,
            _lists(purchase, lines[CATEGORY], len(moments)),
            _lists(purchase, lines[ITEM_ID], len(moments)),
        )

    def coded(self, codes: Mapping[str, int]) -> "Walks":
        """Return the steps by their codes, those without one and repeats of the step before left out."""
        known = np.array([code_of(codes, name) for name in self.names], dtype=np.int64)
        code = known[self.labels] if len(known) else self.labels
        held = np.flatnonzero(code >= 0)
        same = (np.diff(code[held]) == 0) & (np.diff(self.paths[held]) == 0)
        rows = held[np.r_[True, ~same][: len(held)]]
        return Walks(self, rows, code[rows])


@dataclass(frozen=True)
class Walks:
    """The steps at `rows`, with a code each; no two alike in succession on one path."""

    steps: Steps
    rows: Rows
    codes: Rows

    def __len__(self) -> int:
        return len(self.rows)

    def back(self, depth: int) -> Rows:
        """Return the code of the step `depth` before each on its path; -1: the path was not so long."""
        paths = self.steps.paths[self.rows]
        out = np.full(len(self), -1, dtype=np.int64)
        if depth < len(self):
            same = paths[depth:] == paths[: len(self) - depth]
            out[depth:] = np.where(same, self.codes[: len(self) - depth], -1)
        return out


@dataclass(frozen=True)
class Walked:
    """The path a shopper is on."""

    codes: tuple[int, ...] = ()
    """Newest first."""
    steps: int = 0
    """Repeats included, of those still known."""
    days: float = float("nan")
    """Since the last."""


def code_of(codes: Mapping[str, int], name: str) -> int:
    """Return the step's code, or that of its event where the category has none, or -1."""
    return codes.get(name, codes.get(name.partition(":")[0], -1))


def walked(
    shopper: Shopper, codes: Mapping[str, int], length: int, idle_days: float, ignored: Sequence[str] = ()
) -> Walked:
    """Return the last `length` steps of the path the shopper is on, as `Steps` and `Walks` would."""
    ordered = float(shopper.recent_times[0]) if len(shopper.recent_times) else -np.inf
    found: list[int] = []
    steps, later, newest = 0, shopper.now, float("nan")
    rows = zip(shopper.step_names, shopper.step_categories, shopper.step_times, strict=True)
    for event, category, time in rows:
        if event in ignored:
            continue
        if time <= ordered or later - time > idle_days * DAY:
            break
        steps, later = steps + 1, float(time)
        newest = later if steps == 1 else newest
        code = code_of(codes, label(event, category))
        if code >= 0 and (not found or found[-1] != code):
            found.append(code)
    return Walked(tuple(found[:length]), steps, (shopper.now - newest) / DAY)


def _purchases(lines: pd.DataFrame, contact: Rows, time: Floats) -> tuple[Rows, Rows, Floats]:
    """Return each line's purchase, and each purchase's contact and moment (its order's first line)."""
    order = pd.factorize(lines[ORDER_ID])[0]
    first = pd.Series(time).groupby([contact, np.where(order < 0, -1 - np.arange(len(order)), order)])
    whole = pd.DataFrame({"contact": contact, "time": first.transform("min")})
    purchase = whole.groupby(["contact", "time"], sort=True).ngroup().to_numpy().astype(np.int64)
    held = whole.drop_duplicates().sort_values(["contact", "time"])
    buyers: Rows = held["contact"].to_numpy(np.int64)
    moments: Floats = held["time"].to_numpy(np.float64)
    return purchase, buyers, moments


def _labels(taken: pd.DataFrame) -> tuple[list[str], Rows]:
    """Number the steps' labels in order of their text."""
    (events, event), (categories, category) = numbered(taken[EVENT]), numbered(taken[CATEGORY])
    pairs, number = np.unique(event * (len(categories) + 1) + category, return_inverse=True)
    which, what = np.divmod(pairs, len(categories) + 1)
    texts = [label(events[e], [*categories, ""][c]) for e, c in zip(which, what, strict=True)]
    order = np.argsort(np.array(texts, dtype=object), kind="stable")
    return [texts[place] for place in order], np.argsort(order, kind="stable")[number]


def _following(contacts: Rows, times: Floats, buyers: Rows, moments: Floats) -> Rows:
    """Return the first purchase not before each step in order of contact and time, whoever's it is."""
    kind = np.repeat([0, 1], [len(times), len(moments)])
    order = np.lexsort((kind, np.r_[times, moments], np.r_[contacts, buyers]))
    passed = np.empty(len(order), dtype=np.int64)
    passed[order] = np.cumsum(kind[order])
    return passed[: len(times)]


def _until(
    following: Rows, contacts: Rows, times: Floats, buyers: Rows, moments: Floats
) -> tuple[Floats, Floats]:
    """Return the seconds to the contact's next purchase and since the one before."""
    owner = np.r_[-1, buyers, -1]
    moment = np.r_[np.nan, moments, np.nan]
    after = np.where(owner[following + 1] == contacts, moment[following + 1] - times, np.inf)
    before = np.where(owner[following] == contacts, times - moment[following], np.inf)
    return after, before


def _paths(contacts: Rows, times: Floats, following: Rows, idle_days: float) -> Rows:
    """Number the paths: another contact, a purchase between, or a gap begins one."""
    idle = np.diff(times) > idle_days * DAY
    new = (np.diff(contacts) != 0) | (np.diff(following) != 0) | idle
    return np.r_[0, np.cumsum(new)][: len(times)].astype(np.int64)


def _lists(purchase: Rows, values: pd.Series, count: int) -> Lists:
    """Gather what each purchase holds, each value once, unknown ones left out."""
    names, numbers = numbered(values)
    held = numbers < len(names)
    pairs = np.unique(purchase[held] * max(len(names), 1) + numbers[held])
    owner, value = np.divmod(pairs, max(len(names), 1))
    return Lists(np.searchsorted(owner, np.arange(count + 1)), value, names)


def numbered(values: pd.Series) -> tuple[list[str], Rows]:
    """Return the texts in order and the number of each value; the unknown and "" come after the last."""
    found = pd.Categorical(values)
    texts = found.categories.astype(str).to_numpy(dtype=object)
    used = np.zeros(len(texts) + 1, dtype=np.bool_)
    used[found.codes] = True
    used[:-1] &= texts != ""
    order = np.argsort(texts, kind="stable")
    order = order[used[order]]
    places = np.full(len(texts) + 1, len(order), dtype=np.int64)
    places[order] = np.arange(len(order))
    return texts[order].tolist(), places[found.codes]
