"""The net of models._sasrec on numpy, for one shopper at a time: what answers requests, without torch."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from models.sequence import SequenceConfig

Floats32 = npt.NDArray[np.float32]
Weights = Mapping[str, Floats32]


def state_of(weights: Weights, config: "SequenceConfig", numbers: npt.NDArray[np.int64]) -> Floats32:
    """Return the state (C,) at the last of `numbers` (T,), the items bought, oldest first."""
    x = weights["items.weight"][numbers] + weights["positions.weight"][: len(numbers)]  # (T, C)
    for block in range(config.blocks):
        x = _block(weights, f"blocks.{block}.", x, config.heads, only_last=block == config.blocks - 1)
    return _norm(weights, "norm", x[-1:])[0]


def _block(weights: Weights, at: str, x: Floats32, heads: int, only_last: bool) -> Floats32:
    normed = _norm(weights, at + "norm_attention", x)
    asking = normed[-1:] if only_last else normed
    y = x[-len(asking) :] + _linear(weights, at + "project", _attended(weights, at, asking, normed, heads))
    hidden = np.maximum(_linear(weights, at + "widen", _norm(weights, at + "norm_feed", y)), 0)
    return y + _linear(weights, at + "narrow", hidden)


def _attended(weights: Weights, at: str, asking: Floats32, x: Floats32, heads: int) -> Floats32:
    """Return the values weighed by how well keys answer queries, (Q, C); none from a later place."""
    width = x.shape[1]

    def part(rows: Floats32, number: int) -> Floats32:
        """Query, key or value, (heads, T, C / heads); one by one they stay below what BLAS splits up."""
        span = slice(number * width, (number + 1) * width)
        made = rows @ weights[at + "attention.weight"][span].T + weights[at + "attention.bias"][span]
        return made.reshape(len(rows), heads, width // heads).transpose(1, 0, 2)

    q, k, v = part(asking, 0), part(x, 1), part(x, 2)
    logits = q @ k.transpose(0, 2, 1) / np.float32(np.sqrt(width // heads))  # (heads, Q, T)
    if len(asking) > 1:
        logits = np.where(np.tri(len(x), dtype=np.bool_), logits, np.float32(-np.inf))
    attention = np.exp(logits - logits.max(-1, keepdims=True))
    attention /= attention.sum(-1, keepdims=True)
    return (attention @ v).transpose(1, 0, 2).reshape(len(asking), width)


def _linear(weights: Weights, at: str, x: Floats32) -> Floats32:
    return np.asarray(x @ weights[at + ".weight"].T + weights[at + ".bias"])


def _norm(weights: Weights, at: str, x: Floats32) -> Floats32:
    centred = x - x.mean(-1, keepdims=True)
    scaled = centred / np.sqrt((centred * centred).mean(-1, keepdims=True) + np.float32(1e-5))
    return scaled * weights[at + ".weight"] + weights[at + ".bias"]
