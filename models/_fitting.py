"""How the sequence model's net learns: epochs, averaged weights, early stopping, going on after a kill."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from models import _sasrec
from models._histories import Check, Histories, batches
from nextbest.progress import Progress

if TYPE_CHECKING:
    from models.sequence import SequenceConfig

WARM_UP = 200
"""Steps over which the learning rate rises."""
STAGE = "sequence: epochs"


@dataclass(frozen=True)
class Fitted:
    """What was learned."""

    weights: dict[str, npt.NDArray[np.float32]]
    """Averaged, of the epoch best by the check (the last where there is none)."""
    epochs: int
    """Its number, from 1."""
    curve: tuple[float, ...]
    """NDCG@20 of the check after each epoch; empty where there is none."""


def fit(
    histories: Histories,
    check: Check | None,
    items: int,
    config: "SequenceConfig",
    seed: int,
    progress: Progress,
    checkpoint: Path | None = None,
) -> Fitted:
    """Train, until `check` has not become better for some epochs, or for all of them where there is none.

    With `checkpoint`, a file rewritten after every epoch and removed at the end, a fit that was killed goes
    on where it was and ends in the very same weights. A file of other data or settings is not used.
    """
    with _threads(config.threads):
        learner = Learner(histories, check, items, config, seed)
        if checkpoint is not None:
            learner.resume(checkpoint)
        while not learner.done():
            learner.epoch()
            progress(STAGE, learner.epochs, config.epochs)
            if checkpoint is not None:
                learner.keep(checkpoint)
    progress(STAGE, config.epochs, config.epochs)
    if checkpoint is not None:
        checkpoint.unlink(missing_ok=True)
    weights = {name: tensor.numpy().copy() for name, tensor in learner.best.items()}
    return Fitted(weights, learner.best_epoch, tuple(learner.curve))


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Let torch use so many threads, and then as many as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class Learner:
    """A net with its optimiser and the running average of its weights."""

    def __init__(
        self,
        histories: Histories,
        check: Check | None,
        items: int,
        config: "SequenceConfig",
        seed: int,
        net: type[_sasrec.Net] = _sasrec.Net,
    ) -> None:
        torch.manual_seed(seed)
        self.histories, self.check, self.config, self.seed = histories, check, config, seed
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.random = np.random.default_rng(seed)
        self.net, self.average = (net(items, config).to(self.device) for _ in range(2))
        self.average.load_state_dict(self.net.state_dict())
        self.adam = torch.optim.Adam(self.net.parameters(), lr=config.learning_rate)
        self.steps = self.epochs = self.best_epoch = 0
        self.best_figure = -1.0
        self.curve: list[float] = []
        self.best = self._averaged()

    def done(self) -> bool:
        """Say whether there is nothing more to gain."""
        patience = self.epochs - self.best_epoch >= self.config.patience and self.epochs > 0
        return self.epochs >= self.config.epochs or (self.check is not None and patience)

    def epoch(self) -> None:
        """Pass over the purchases once, and look whether that was for the better."""
        self.net.train()
        for items, targets in batches(
            self.histories, self.config.length, self.config.epoch_lines, self.random
        ):
            self._step(items.to(self.device), targets.to(self.device))
        self.epochs += 1
        figure = float(self.epochs)
        if self.check is not None:
            figure = _sasrec.ndcg(self.average, self.check)
            self.curve.append(figure)
        if figure > self.best_figure:
            self.best_figure, self.best_epoch, self.best = figure, self.epochs, self._averaged()

    def _step(self, items: Tensor, targets: Tensor) -> None:
        known = targets >= 0
        if not known.any():
            return
        self.steps += 1
        for group in self.adam.param_groups:
            group["lr"] = self.config.learning_rate * min(self.steps / WARM_UP, 1.0)
        loss = self.loss(self.net(items)[known], targets[known])
        self.adam.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.adam.step()
        # early on the average follows closely: it would be the start's for long
        weight = max(1.0 - self.config.average, 9.0 / (self.steps + 9.0))
        with torch.no_grad():
            torch._foreach_lerp_(list(self.average.parameters()), list(self.net.parameters()), weight)

    def loss(self, states: Tensor, targets: Tensor) -> Tensor:
        """Return the full softmax's loss where there are few items, else the sampled one's."""
        count = self.net.items.num_embeddings
        if count <= self.config.full_softmax:
            return _sasrec.full_loss(self.net, states, targets)
        drawn = self.random.integers(count, size=self.config.negatives)
        return _sasrec.sampled_loss(self.net, states, targets, torch.from_numpy(drawn).to(self.device))

    def _averaged(self) -> dict[str, Tensor]:
        return {name: value.detach().cpu().clone() for name, value in self.average.state_dict().items()}

    def keep(self, path: Path) -> None:
        """Write everything that `resume` needs, aside and then in place."""
        facts = {
            "of": self._fingerprint,
            "steps": self.steps,
            "epochs": self.epochs,
            "best_epoch": self.best_epoch,
            "best_figure": self.best_figure,
            "curve": self.curve,
            "random": self.random.bit_generator.state,
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_name(path.name + ".new")
        save_file(self._tensors(), aside, metadata={"facts": json.dumps(facts)})
        aside.replace(path)

    def _tensors(self) -> dict[str, Tensor]:
        found = {f"net.{name}": value for name, value in self.net.state_dict().items()}
        found |= {f"average.{name}": value for name, value in self.average.state_dict().items()}
        found |= {f"best.{name}": value for name, value in self.best.items()}
        for number, state in self.adam.state_dict()["state"].items():
            found |= {f"adam.{number}.{name}": value for name, value in state.items()}
        found["torch"] = torch.get_rng_state()
        if self.device.type == "cuda":
            found["cuda"] = torch.cuda.get_rng_state()
        return {name: value.detach().cpu().contiguous().clone() for name, value in found.items()}

    def resume(self, path: Path) -> None:
        """Go on from what `keep` wrote, if it is of the same data and settings."""
        if not path.is_file():
            return
        try:
            with safe_open(path, "pt") as file:
                facts = json.loads(file.metadata()["facts"])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
        except (SafetensorError, KeyError, ValueError):
            return  # damaged: nothing is lost but time
        if facts["of"] == self._fingerprint:
            self._restore(facts, tensors)

    def _restore(self, facts: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        def part(name: str) -> dict[str, Tensor]:
            return {key.removeprefix(name): value for key, value in tensors.items() if key.startswith(name)}

        self.net.load_state_dict(part("net."))
        self.average.load_state_dict(part("average."))
        self.best = part("best.")
        state: dict[int, dict[str, Tensor]] = {}
        for key, value in part("adam.").items():
            number, name = key.split(".")
            state.setdefault(int(number), {})[name] = value
        self.adam.load_state_dict({**self.adam.state_dict(), "state": state})
        self.random.bit_generator.state = facts["random"]
        torch.set_rng_state(tensors["torch"])
        if "cuda" in tensors and self.device.type == "cuda":
            torch.cuda.set_rng_state(tensors["cuda"])
        self.steps, self.epochs = facts["steps"], facts["epochs"]
        self.best_epoch, self.best_figure = facts["best_epoch"], facts["best_figure"]
        self.curve = facts["curve"]

    @cached_property
    def _fingerprint(self) -> str:
        """Return what a checkpoint must be of to go on from it: data, settings, seed, device."""
        told = [asdict(self.config), self.seed, self.net.items.num_embeddings, self.device.type]
        found = hashlib.sha256(json.dumps(told, sort_keys=True).encode())
        arrays = [self.histories.contact, self.histories.order, self.histories.item]
        if self.check is not None:
            arrays += [self.check.items, *self.check.targets]
        for array in arrays:
            found.update(np.ascontiguousarray(array).tobytes())
        return found.hexdigest()
