"""What each choice of the sequence model brings: `python -m benchmarks.ablation --data FILE [--json OUT]`.

Every variant changes one thing and learns `--epochs` epochs on training; NDCG@10 and recall@10 of the item
after are measured on validation, the user's own items left out. `--only NAME` runs some of them.
"""

import math
import time
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks import _report as report
from benchmarks._next_item_data import NextItemFile, figures
from benchmarks.next_item import configured, lines
from models._fitting import Learner
from models._histories import Check, Histories, split_last
from models._sasrec import START, Block, Net
from models.sequence import SequenceConfig, _numbered, vocabulary
from nextbest import _screen as screen

COLUMNS = ("ndcg@10", "recall@10", "better_by", "seconds")


class NoPositions(Net):
    """The order of purchases is known by the causal mask alone."""

    def forward(self, items: Tensor) -> Tensor:
        """(B, T) -> (B, T, C)."""
        with torch.no_grad():
            self.positions.weight.zero_()
        return super().forward(items)


class FromTheEnd(Net):
    """Positions are counted from the latest purchase of the window backwards."""

    def forward(self, items: Tensor) -> Tensor:
        """(B, T) -> (B, T, C)."""
        x = self.dropout(self.items(items) + self.positions.weight[: items.shape[1]].flip(0))
        for block in self.blocks:
            x = block(x)
        out: Tensor = self.norm(x)
        return out


class PostNorm(Net):
    """Norms behind the shortcuts, as in the first transformer and in SASRec's published code."""

    def __init__(self, items: int, config: SequenceConfig) -> None:
        super().__init__(items, config)
        self.blocks = nn.ModuleList([_PostNormBlock(config) for _ in range(config.blocks)])


class _PostNormBlock(Block):
    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) -> (B, T, C)."""
        batch, time_, width = x.shape
        parts = self.attention(x).view(batch, time_, 3, self.heads, width // self.heads)
        q, k, v = parts.permute(2, 0, 3, 1, 4)
        y = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = self.norm_attention(
            x + self.dropout(self.project(y.transpose(1, 2).reshape(batch, time_, width)))
        )
        return self.norm_feed(x + self.dropout(self.narrow(self.dropout(functional.relu(self.widen(x))))))


class LargeStart(Net):
    """Embeddings begin ten times as long."""

    def __init__(self, items: int, config: SequenceConfig) -> None:
        super().__init__(items, config)
        for weight in (self.items.weight, self.positions.weight):
            nn.init.normal_(weight, std=10 * START * config.width**-0.5)


class ByPopularity(Learner):
    """Negatives drawn by the square root of their purchases, and the logits corrected for it (log Q)."""

    def loss(self, states: Tensor, targets: Tensor) -> Tensor:
        """Sampled softmax with the correction of Bengio & Senécal (2003)."""
        count = self.net.items.num_embeddings
        chance = np.sqrt(np.bincount(self.histories.item, minlength=count) + 1.0)
        chance /= chance.sum()
        drawn = self.random.choice(count, size=self.config.negatives, p=chance)
        negatives = torch.from_numpy(drawn)
        right = (states * self.net.items(targets)).sum(-1, keepdim=True)
        correction = torch.from_numpy(np.log(chance[drawn] * count)).float()
        wrong = states @ self.net.items(negatives).T - correction
        wrong = wrong.masked_fill(targets[:, None] == negatives[None, :], float("-inf"))
        logits = torch.cat([right, wrong], dim=1)
        return functional.cross_entropy(logits, logits.new_zeros(len(logits), dtype=torch.long))


VARIANTS: dict[str, dict[str, Any]] = {
    "as it is": {},
    "no running average": {"average": 0.0},
    "embeddings start ten times as long": {"net": LargeStart},
    "dropout 0.2": {"dropout": 0.2},
    "dropout 0.5": {"dropout": 0.5},
    "no positions": {"net": NoPositions},
    "positions from the end": {"net": FromTheEnd},
    "norms behind the shortcuts": {"net": PostNorm},
    "two blocks": {"blocks": 2},
    "two heads": {"heads": 2},
    "width 32": {"width": 32},
    "width 128": {"width": 128},
    "128 negatives": {"negatives": 128},
    "2048 negatives": {"negatives": 2048},
    "negatives by popularity, corrected": {"learner": ByPopularity},
    "full softmax": {"full_softmax": 10**9},
}


def main() -> None:
    """Measure, print, write."""
    parser = report.options((__doc__ or "").splitlines()[0], "a next-item file")
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", action="append", choices=list(VARIANTS), help="run these variants")
    asked = parser.parse_args()
    file = NextItemFile.read(asked.data)
    config = configured({"epochs": str(asked.epochs), "patience": "1000", "threads": str(asked.threads)})
    torch.set_num_threads(asked.threads)
    rows: dict[str, dict[str, Any]] = {}
    with screen.progress() as progress:
        for name in asked.only or VARIANTS:
            progress("ablation: variants", len(rows), len(asked.only or VARIANTS))
            rows[name] = _measured(file, config, VARIANTS[name], asked.seed)
            first = next(iter(rows.values()))
            rows[name]["better_by"] = rows[name]["ndcg@10"] - first["ndcg@10"]
    report.show(rows, COLUMNS)
    data = {"name": asked.data, "epochs": asked.epochs, "measured_on": "validation"}
    report.write(asked.json, next(iter(rows.values())), rows, data, [asked.seed])


def _measured(
    file: NextItemFile, config: SequenceConfig, variant: dict[str, Any], seed: int
) -> dict[str, Any]:
    histories, check, items, config = _prepared(file, config, variant, seed)
    learner = variant.get("learner", Learner)(histories, None, items, config, seed, variant.get("net", Net))
    start = time.perf_counter()
    while not learner.done():
        learner.epoch()
    seconds = time.perf_counter() - start
    return {**_figures(learner.average, check), "seconds": seconds}


def _prepared(
    file: NextItemFile, config: SequenceConfig, variant: dict[str, Any], seed: int
) -> tuple[Histories, Check, int, SequenceConfig]:
    """Return training, everyone's validation item, the number of items, and the sizes."""
    data = lines(file)
    known = vocabulary(data, config)
    numbered = _numbered(data, known)
    settings = {name: value for name, value in variant.items() if name not in ("net", "learner")}
    sized = replace(config.sized(len(known), len(numbered.item)), **settings)
    histories, check = split_last(numbered, sized.length, len(file.histories), 1.0, seed)
    if check is None:
        raise SystemExit("nobody has two items before the test: there is nothing to validate on")
    return histories, check, len(known), sized


def _figures(net: Net, check: Check) -> dict[str, float]:
    """Return the figures of the net on the validation items."""
    net.eval()
    ranked = np.full((len(check.items), 10), -1)
    wanted = np.array([int(target[0]) for target in check.targets])
    with torch.no_grad():
        for start in range(0, len(check.items), 512):
            part = check.items[start : start + 512]
            last = (part >= 0).sum(1) - 1
            part = part[:, : last.max() + 1]
            seen = torch.from_numpy(np.where(part >= 0, part, part[:, :1]))
            if isinstance(net, FromTheEnd):  # every user's latest purchase must stand at the same place
                states = torch.stack(
                    [net(row[None, : end + 1])[0, -1] for row, end in zip(seen, last, strict=True)]
                )
            else:
                states = net(seen)[torch.arange(len(part)), torch.from_numpy(last)]
            scores = (states @ net.items.weight.T).scatter(1, seen, -math.inf)
            ranked[start : start + 512] = scores.topk(10).indices.numpy()
    return figures(ranked, wanted)


if __name__ == "__main__":
    main()
