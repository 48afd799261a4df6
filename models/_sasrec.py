"""The sequence model's net and its loss (PyTorch); models.sequence runs the same net on numpy.

SASRec (Kang & McAuley 2018) with the sampled softmax of eSASRec: a causal transformer over what a contact
bought, whose output is compared with the item embeddings themselves. Items start small, so that those
seldom seen stay where they say little, and dropout is strong where there is little to learn from.
"""

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from models._histories import Check

if TYPE_CHECKING:
    from models.sequence import SequenceConfig

START = 0.1
"""Length of an embedding at the start: with ten times as much it learns more slowly and worse (measured)."""


class Net(nn.Module):
    """Embeddings, `blocks` pre-norm transformer blocks, a last norm."""

    def __init__(self, items: int, config: "SequenceConfig") -> None:
        super().__init__()
        self.items = nn.Embedding(items, config.width)
        self.positions = nn.Embedding(config.length, config.width)
        self.blocks = nn.ModuleList([Block(config) for _ in range(config.blocks)])
        self.norm = nn.LayerNorm(config.width)
        self.dropout = nn.Dropout(max(config.dropout, 0.0))
        for weight in (self.items.weight, self.positions.weight):
            nn.init.normal_(weight, std=START * config.width**-0.5)

    def forward(self, items: Tensor) -> Tensor:
        """Map (B, T) item numbers to (B, T, C) states; a state knows its own item and those before it."""
        x = self.items(items) + self.positions.weight[: items.shape[1]]
        x = self.dropout(x)
        for block in self.blocks:
            x = block(x)
        out: Tensor = self.norm(x)
        return out


class Block(nn.Module):
    """Causal attention and a feed-forward layer, each behind a norm and beside a shortcut."""

    def __init__(self, config: "SequenceConfig") -> None:
        super().__init__()
        self.heads = config.heads
        self.norm_attention = nn.LayerNorm(config.width)
        self.attention = nn.Linear(config.width, 3 * config.width)
        self.project = nn.Linear(config.width, config.width)
        self.norm_feed = nn.LayerNorm(config.width)
        self.widen = nn.Linear(config.width, 2 * config.width)
        self.narrow = nn.Linear(2 * config.width, config.width)
        self.dropout = nn.Dropout(max(config.dropout, 0.0))

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) -> (B, T, C)."""
        x = x + self.dropout(self.attend(self.norm_attention(x)))
        return x + self.dropout(self.feed(self.norm_feed(x)))

    def attend(self, x: Tensor) -> Tensor:
        """Return what each place takes from those up to it, (B, T, C)."""
        batch, time, width = x.shape
        parts = self.attention(x).view(batch, time, 3, self.heads, width // self.heads)
        y = self.weighed(*parts.permute(2, 0, 3, 1, 4))  # each (B, heads, T, C / heads)
        out: Tensor = self.project(y.transpose(1, 2).reshape(batch, time, width))
        return out

    def weighed(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Return the values weighed by how well keys answer queries, none from a later place."""
        return functional.scaled_dot_product_attention(q, k, v, is_causal=True)

    def feed(self, x: Tensor) -> Tensor:
        """(B, T, C) -> (B, T, C), each place alone."""
        out: Tensor = self.narrow(self.dropout(functional.relu(self.widen(x))))
        return out


def sampled_loss(net: Net, states: Tensor, targets: Tensor, negatives: Tensor) -> Tensor:
    """Cross-entropy of each target among itself and the shared negatives. States (N, C), targets (N,)."""
    right = (states * net.items(targets)).sum(-1, keepdim=True)
    wrong = states @ net.items(negatives).T
    wrong = wrong.masked_fill(targets[:, None] == negatives[None, :], float("-inf"))
    logits = torch.cat([right, wrong], dim=1)
    return functional.cross_entropy(logits, logits.new_zeros(len(logits), dtype=torch.long))


def full_loss(net: Net, states: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy of each target among all items. States (N, C), targets (N,)."""
    return functional.cross_entropy(states @ net.items.weight.T, targets)


def ndcg(net: Net, check: Check, k: int = 20) -> float:
    """Return the mean NDCG of the next order's items among the k best."""
    net.eval()
    device = net.items.weight.device
    discounts = 1.0 / np.log2(np.arange(2, k + 2))
    found = []
    with torch.no_grad():
        for start in range(0, len(check.items), 256):
            part = check.items[start : start + 256]
            last = (part >= 0).sum(1) - 1
            part = part[:, : last.max() + 1]
            seen = torch.from_numpy(np.where(part >= 0, part, part[:, :1])).to(device)
            states = net(seen)[torch.arange(len(part)), torch.from_numpy(last)]
            scores = states @ net.items.weight.T
            if check.only_new:
                scores.scatter_(1, seen, float("-inf"))
            best = scores.topk(min(k, net.items.num_embeddings)).indices.cpu().numpy()
            for row, wanted in zip(best, check.targets[start : start + 256], strict=True):
                gained = float(discounts[: len(row)][np.isin(row, wanted)].sum())
                found.append(gained / float(discounts[: len(wanted)].sum()))
    return float(np.mean(found))
