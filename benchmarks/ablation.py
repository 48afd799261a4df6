"""What each choice of the sequence model brings: `python -m benchmarks.ablation --data FILE [--json OUT]`.

Every variant changes one thing and learns on training until the next items of 5,000 users are foretold no
better (or `--epochs` at most: then what learns fastest looks best). NDCG@10 and recall@10 of the next item
are those of the other users, their own items left out. `--only NAME` runs some variants.
"""

import math
import time
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks import _report as report
from benchmarks._next_item_data import NextItemFile, figures
from benchmarks.next_item import configured, lines
from models._fitting import Learner
from models._histories import Check, Histories, split_last
from models._sasrec import START, Block, Net
from models.sequence import SequenceConfig, vocabulary
from nextbest import _screen as screen
from nextbest.progress import Progress

COLUMNS = ("ndcg@10", "recall@10", "better_by", "epochs", "seconds")


class NoPositions(Net):
    """The order of purchases is known by the causal mask alone."""

    def forward(self, items: Tensor) -> Tensor:
        """(B, T) -> (B, T, C)."""
        with torch.no_grad():
            self.positions.weight.zero_()
        return super().forward(items)


class Distances(Net):
    """What is attended to depends on how many purchases ago it was, not on its place from the beginning."""

    def __init__(self, items: int, config: SequenceConfig) -> None:
        super().__init__(items, config)
        self.blocks = nn.ModuleList([_DistanceBlock(config) for _ in range(config.blocks)])

    def forward(self, items: Tensor) -> Tensor:
        """(B, T) -> (B, T, C)."""
        x = self.dropout(self.items(items))
        for block in self.blocks:
            x = block(x)
        out: Tensor = self.norm(x)
        return out


class _DistanceBlock(Block):
    def __init__(self, config: SequenceConfig) -> None:
        super().__init__(config)
        self.ago = nn.Parameter(torch.zeros(config.heads, config.length))

    def weighed(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Attention with a learned number for each distance."""
        place = torch.arange(q.shape[2])
        ago = place[:, None] - place[None, :]
        bias = self.ago[:, ago.clamp(min=0)].masked_fill(ago < 0, float("-inf"))
        return functional.scaled_dot_product_attention(q, k, v, attn_mask=bias)


class PostNorm(Net):
    """Norms behind the shortcuts, as in the first transformer and in SASRec's published code."""

    def __init__(self, items: int, config: SequenceConfig) -> None:
        super().__init__(items, config)
        self.blocks = nn.ModuleList([_PostNormBlock(config) for _ in range(config.blocks)])


class _PostNormBlock(Block):
    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) -> (B, T, C)."""
        x = self.norm_attention(x + self.dropout(self.attend(x)))
        out: Tensor = self.norm_feed(x + self.dropout(self.feed(x)))
        return out


def start(times: float, net: type[Net] = Net) -> type[Net]:
    """Return the net whose embeddings begin so many times as long."""

    class Started(net):  # type: ignore[valid-type,misc]
        def __init__(self, items: int, config: SequenceConfig) -> None:
            super().__init__(items, config)
            for weight in (self.items.weight, self.positions.weight):
                nn.init.normal_(weight, std=times * START * config.width**-0.5)

    return Started


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
    "norms behind": {"net": PostNorm},
    "norms behind, start ×3": {"net": start(3.0, PostNorm)},
    "norms behind, dropout 0.5": {"net": PostNorm, "dropout": 0.5},
    "no positions": {"net": NoPositions},
    "distances": {"net": Distances},
    "no running average": {"average": 0.0},
    "start ×3": {"net": start(3.0)},
    "start ×10": {"net": start(10.0)},
    "dropout 0.2": {"dropout": 0.2},
    "dropout 0.3": {"dropout": 0.3},
    "dropout 0.5": {"dropout": 0.5},
    "two blocks": {"blocks": 2},
    "two heads": {"heads": 2},
    "width 32": {"width": 32},
    "width 128": {"width": 128},
    "256 negatives": {"negatives": 256},
    "1024 negatives": {"negatives": 1024},
    "2048 negatives": {"negatives": 2048},
    "negatives by popularity, corrected": {"learner": ByPopularity},
    "full softmax": {"full_softmax": 10**9},
}


def main() -> None:
    """Measure, print, write."""
    parser = report.options((__doc__ or "").splitlines()[0], "a next-item file")
    parser.add_argument(
        "--epochs", type=int, help="epochs of all; default: until early stopping, each its own"
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", action="append", choices=list(VARIANTS), help="run these variants")
    asked = parser.parse_args()
    file = NextItemFile.read(asked.data)
    told = {} if asked.epochs is None else {"epochs": str(asked.epochs), "patience": "1000"}
    config = configured({**told, "threads": str(asked.threads)})
    torch.set_num_threads(asked.threads)
    rows: dict[str, dict[str, Any]] = {}
    for name in asked.only or VARIANTS:
        with screen.progress() as progress:
            rows[name] = _measured(file, config, VARIANTS[name], asked.seed, progress)
        first = next(iter(rows.values()))
        rows[name]["better_by"] = rows[name]["ndcg@10"] - first["ndcg@10"]
        report.show({name: rows[name]}, COLUMNS)
    data = {"name": asked.data, "epochs": asked.epochs, "measured_on": "validation"}
    report.write(asked.json, next(iter(rows.values())), rows, data, [asked.seed])


def _measured(
    file: NextItemFile, config: SequenceConfig, variant: dict[str, Any], seed: int, progress: Progress
) -> dict[str, Any]:
    """Learn on training; some users' validation items stop it early, those of the others measure it."""
    histories, check, items, config = _prepared(file, config, variant, seed)
    some = np.random.default_rng(seed).permutation(len(check.targets))
    stopping, measuring = _part(check, some[: config.checked]), _part(check, some[config.checked :])
    learner = variant.get("learner", Learner)(
        histories, stopping, items, config, seed, variant.get("net", Net)
    )
    start = time.perf_counter()
    while not learner.done():
        learner.epoch()
        progress("ablation: epochs", learner.epochs, config.epochs)
    seconds = time.perf_counter() - start
    learner.average.load_state_dict(learner.best)
    told = {"seconds": seconds, "epochs": learner.best_epoch, "curve": learner.curve}
    return {**_figures(learner.average, measuring), **told}


def _part(check: Check, rows: npt.NDArray[np.int64]) -> Check:
    return Check(check.items[rows], [check.targets[row] for row in rows], check.only_new)


def _prepared(
    file: NextItemFile, config: SequenceConfig, variant: dict[str, Any], seed: int
) -> tuple[Histories, Check, int, SequenceConfig]:
    """Return training, everyone's validation item, the number of items, and the sizes."""
    data = lines(file)
    known = vocabulary(data, config)
    numbered = Histories.of(data, known)
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
            states = net(seen)[torch.arange(len(part)), torch.from_numpy(last)]
            scores = (states @ net.items.weight.T).scatter(1, seen, -math.inf)
            ranked[start : start + 512] = scores.topk(10).indices.numpy()
    return figures(ranked, wanted)


if __name__ == "__main__":
    main()
