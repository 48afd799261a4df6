"""The decision: the allowed channel and hour worth most to each contact, or nothing.

A message is worth P(response at its hour) × value - cost - loss, the loss being what it costs in patience:
the chance that the contact leaves the channel over it, times what the channel would still have brought.
Sending nothing is worth 0, so a channel is chosen only if it is worth more.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.base import Floats

NOTHING = -1
"""In the place of a channel: nothing is sent."""
Places = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Weighed:
    """What each channel is worth at the best of the hours allowed; arrays of shape (contacts, channels)."""

    probability: Floats
    """P(response) at that hour."""
    worth: Floats
    """Money; the same whether or not the channel is allowed."""
    slot: Places
    """Which of the hours; NOTHING where every one is quiet."""


@dataclass(frozen=True)
class Chosen:
    """A channel's place for each contact, or NOTHING, and P(it was chosen) under the policy that chose."""

    place: Places
    propensity: Floats


def weigh(
    probability: Floats,
    value: Floats,
    cost: Floats,
    loss: Floats,
    factors: Floats,
    quiet: Mask,
    prefer: Floats | None = None,
) -> Weighed:
    """Find the best hour of each channel and what a message is worth then.

    probability, value (of a response), loss: (contacts, channels); cost: (channels,); factors: (contacts,
    slots), how much likelier a response is in each hour from the earliest on (models._best_time); quiet:
    (contacts, channels, slots); prefer: (contacts, slots), which hours to take for other reasons, 1 for those
    as good as any. The loss does not depend on the hour. Of hours as good as each other the first is taken.
    """
    wanted = factors if prefer is None else factors * prefer
    slot = np.where(quiet, -np.inf, wanted[:, None, :]).argmax(axis=2)
    never = quiet.all(axis=2)
    factor = np.where(never, 1.0, np.take_along_axis(factors, slot, axis=1))
    at_best = np.clip(probability * factor, 0.0, 1.0)
    worth = at_best * value - cost - loss
    return Weighed(at_best, worth, np.where(never, NOTHING, slot))


def best(worth: Floats, allowed: Mask, order: Places) -> Chosen:
    """Choose the first allowed channel, in each contact's own order, that is worth more than nothing.

    order: the channels' places, best first, shape (contacts, channels).
    """
    good = np.take_along_axis(allowed & (worth > 0), order, axis=1)
    place = np.take_along_axis(order, good.argmax(axis=1)[:, None], axis=1)[:, 0]
    return Chosen(np.where(good.any(axis=1), place, NOTHING), np.ones(len(place)))


def explored(
    worth: Floats, spread: Floats, allowed: Mask, floor: float, random: np.random.Generator
) -> Chosen:
    """Draw among the allowed channels that are worth sending, by softmax with a floor; propensities exact.

    worth, spread (its standard error): (contacts, channels). The temperature is the contact's mean spread:
    the less is known, the more even the draw. `floor`: probability that is shared
    evenly, whatever each is worth.
    """
    open_mask = allowed & (worth > 0)
    count = open_mask.sum(axis=1)
    some = count > 0
    heat = np.where(open_mask, spread, 0.0).sum(axis=1) / np.maximum(count, 1)
    scaled = np.where(open_mask, worth, -np.inf) / np.maximum(heat, 1e-12)[:, None]
    top = np.where(some, scaled.max(axis=1, initial=-np.inf), 0.0)
    odds = np.exp(scaled - top[:, None])
    share = odds / np.maximum(odds.sum(axis=1, keepdims=True), 1e-300)
    even = open_mask / np.maximum(count, 1)[:, None]
    probability = (1 - floor) * share + floor * even
    place = (probability.cumsum(axis=1) <= random.random(len(worth))[:, None]).sum(axis=1)
    last = worth.shape[1] - 1 - open_mask[:, ::-1].argmax(axis=1)
    place = np.minimum(place, last)  # rounding may leave the sum a hair below 1
    drawn = np.take_along_axis(probability, place[:, None], axis=1)[:, 0]
    return Chosen(np.where(some, place, NOTHING), np.where(some, drawn, 1.0))
