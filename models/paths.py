"""What contacts do between purchases, and which paths end in one: a Markov chain of variable order.

A step is any event but a purchase, with the category of its item ("product_viewed:shoes"). For every
sequence of last steps that enough paths walked, the tree (models._path_tree) holds how many of them were
followed by an order within the horizon, of which category, and with which items. A shopper's chances are read
at the longest sequence known, shrunk to the shorter ones.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
import numpy.typing as npt
import pandas as pd

from models._path_source import TiedPaths
from models._path_table import table
from models._path_tree import ROOT, Pairs, Tree, grow, shares
from models._shelf import Shelf
from models._walks import DAY, Rows, Steps, Walked, Walks, code_of, label, walked
from models.base import Floats, Ranking, Reason, Shopper
from models.catalogue import Catalogue
from nextbest.errors import BadInput, NotReady
from nextbest.progress import Progress, silent

ARROW = " > "
VIEWED = "product_viewed"
FEATURES = ("walked_chance", "walked_lift", "walked_order", "walked_steps", "walked_days")
"""What a ranker sees of a candidate: P(an order of its category), that over the base rate, P(any order)."""


@dataclass(frozen=True)
class PathsConfig:
    """What a path is and what is counted."""

    horizon_days: float = 7.0
    """An order within so many days after a step is what it led to."""
    idle_days: float = 30.0
    """A pause so long ends a path."""
    length: int = 4
    """Last steps looked at; 0: the base rate alone."""
    least: int = 20
    """Paths a sequence of steps must have been walked on; a rarer category of a step is left off."""
    prior: float = 20.0
    """Paths that the rates of the shorter sequence weigh as much as."""
    items: int = 50
    """Items kept for each sequence."""
    ignored: tuple[str, ...] = ("message_delivered",)
    """Events that are no steps: delivered says nothing that sent did not."""

    def __post_init__(self) -> None:
        for name, least in (("horizon_days", 0.0), ("prior", 0.0)):
            if not getattr(self, name) > least:
                raise BadInput(f"{name} is {getattr(self, name)}; it must be above {least:g}")
        for name, lowest in (("length", 0), ("least", 1), ("items", 1)):
            if getattr(self, name) < lowest:
                raise BadInput(f"{name} is {getattr(self, name)}; it must be at least {lowest}")
        if self.idle_days < self.horizon_days:
            lowest_idle = (
                f"at least horizon_days ({self.horizon_days:g}), or paths would end before their orders"
            )
            raise BadInput(f"idle_days is {self.idle_days:g}; it must be {lowest_idle}")


@dataclass(frozen=True)
class Bought:
    """Items, with the share of paths that ended with each, and that of all paths; parallel."""

    items: list[str]
    shares: Floats
    bases: Floats


class Paths:
    """Chances and items by the last steps."""

    kind: ClassVar[str] = "paths"
    columns: ClassVar[tuple[str, ...]] = (FEATURES[0], "walked_item")
    """As a source of candidates: what the ranker sees also as a part of the best."""
    plain: ClassVar[tuple[str, ...]] = FEATURES[1:]

    def __init__(
        self,
        config: PathsConfig,
        steps: Sequence[str],
        tree: Tree,
        categories: Sequence[str],
        items: pd.DataFrame,
    ) -> None:
        """`items`: node, item_id, share, base, paths; by node, the likeliest first."""
        self.config, self.tree, self.items = config, tree, items
        self.steps, self.categories = list(steps), list(categories)
        self._codes = {name: code for code, name in enumerate(self.steps)}
        pairs = zip(tree.parents.tolist(), tree.codes.tolist(), strict=True)
        self._children = {pair: node for node, pair in enumerate(pairs)}
        self._numbers = {name: number for number, name in enumerate(self.categories)}
        self._bounds = np.searchsorted(items["node"].to_numpy(), np.arange(len(tree) + 1))
        self._starts = np.searchsorted(tree.categories.nodes, np.arange(len(tree) + 1))
        self._chances: dict[int, tuple[float, Floats]] = {}
        self._bought: dict[int, Bought] = {}

    @classmethod
    def learn(
        cls,
        frame: pd.DataFrame,
        config: PathsConfig | None = None,
        seed: int = 0,
        progress: Progress = silent,
        until: float | None = None,
    ) -> Self:
        """Count the paths in a frame of models._walks.COLUMNS, a row an event or order line.

        Only what is over by `until` counts (epoch seconds; None: the last event). Raises NotReady without
        enough paths.
        """
        del seed
        config = config or PathsConfig()
        progress("paths", 0, 2)
        steps = Steps.of(frame, config.idle_days, config.ignored)
        progress("paths", 1, 2)
        until = float(frame["time"].max()) if until is None and len(frame) else until or 0.0
        learned = cls.counted(steps, config, until)
        progress("paths", 2, 2)
        return learned

    @classmethod
    def counted(cls, steps: Steps, config: PathsConfig, until: float) -> Self:
        """Count what was over by `until`: the same, whatever came later. Raises NotReady."""
        over = steps.times + config.horizon_days * DAY <= until
        if len(np.unique(steps.paths[over])) < config.least:
            raise NotReady(
                f"fewer than {config.least} paths: there must be steps between purchases (views, searches, "
                f"carts, messages) of more than {config.horizon_days:g} days ago; send them to /v1/batch or "
                "run nextbest ingest with them"
            )
        vocabulary = _vocabulary(steps, over, config.least)
        walks = steps.coded({name: code for code, name in enumerate(vocabulary)})
        tree, bought = grow(walks, until, config.horizon_days, config.length, config.least)
        items = _items(tree, bought, steps.items.names, config)
        used = np.unique(tree.categories.values)
        counted = replace(tree.categories, values=np.searchsorted(used, tree.categories.values))
        names = [steps.categories.names[number] for number in used]
        return cls(config, vocabulary, replace(tree, categories=counted), names, items)

    # --- asking

    def walked(self, shopper: Shopper) -> Walked:
        """Return the path the shopper is on."""
        config = self.config
        return walked(shopper, self._codes, config.length, config.idle_days, config.ignored)

    def node(self, codes: Sequence[int]) -> int:
        """Return the node of the longest part of the path that is known; codes newest first."""
        node = ROOT
        for code in codes[: self.config.length]:
            child = self._children.get((node, code))
            if child is None:
                break
            node = child
        return node

    def chances(self, node: int) -> tuple[float, Floats]:
        """Return P(an order within the horizon) at a node, and of each category, shrunk to its parent's."""
        if node not in self._chances:
            tree, here = self.tree, slice(self._starts[node], self._starts[node + 1])
            ordered = np.zeros(len(self.categories))
            ordered[tree.categories.values[here]] = tree.categories.ordered[here]
            parent = int(tree.parents[node])
            order, own = (0.0, np.zeros(len(ordered))) if parent < 0 else self.chances(parent)
            prior = 0.0 if parent < 0 else self.config.prior
            weight = float(tree.paths[node]) + prior
            self._chances[node] = (
                (float(tree.ordered[node]) + prior * order) / weight,
                (ordered + prior * own) / weight,
            )
        return self._chances[node]

    def numbers(self, categories: Sequence[str]) -> Rows:
        """Return the categories' numbers, as `features` takes them; -1: never bought on a path."""
        return np.array([self._numbers.get(name, -1) for name in categories], dtype=np.int64)

    def features(self, shopper: Shopper, numbers: Rows) -> dict[str, Floats]:
        """Return FEATURES for candidates whose categories have these numbers; NaN where there is no path."""
        path = self.walked(shopper)
        if not path.steps:
            unknown = dict.fromkeys(FEATURES, np.full(len(numbers), np.nan))
            return unknown | {"walked_steps": np.zeros(len(numbers))}
        return self.features_at(self.node(path.codes), path, numbers)

    def features_at(self, node: int, path: Walked, numbers: Rows) -> dict[str, Floats]:
        """Return FEATURES at a node."""
        (order, own), (_, base) = self.chances(node), self.chances(ROOT)
        chance = np.where(numbers >= 0, np.r_[own, 0.0][numbers], 0.0)
        usual = np.where(numbers >= 0, np.r_[base, 0.0][numbers], 0.0)
        with np.errstate(divide="ignore", invalid="ignore"):
            lift = np.where(usual > 0, chance / usual, np.nan)
        alike = (np.full(len(numbers), value) for value in (order, float(path.steps), path.days))
        return dict(zip(FEATURES, (chance, lift, *alike), strict=True))

    def tied(self, shelf: Shelf) -> TiedPaths:
        """Return it as a source of candidates from a shelf."""
        return TiedPaths(self, shelf, self.numbers(shelf.category_names))

    def reached(self, path: Walked, catalogue: Catalogue, context: Sequence[str]) -> int:
        """Return the node of a path that goes on with a look at the context's items."""
        codes = [*self._seen(catalogue, context), *path.codes]
        return self.node([code for place, code in enumerate(codes) if not place or codes[place - 1] != code])

    def recommend(
        self, shopper: Shopper, catalogue: Catalogue, k: int, context: Sequence[str] = ()
    ) -> Ranking:
        """Return what those who walked the shopper's path bought, by P(it is in the next order, in time).

        The items of the context count as looked at just now. Where no step of the path is known, there is no
        answer.
        """
        node = self.reached(self.walked(shopper), catalogue, context)
        found = self.bought(node)
        known = [i for i, item in enumerate(found.items) if item in catalogue.index]
        listed = [] if node == ROOT else known[:k]
        reasons = [self.reason(node, found.shares[i], found.bases[i]) for i in listed]
        shares = found.shares[listed]
        return Ranking([found.items[i] for i in listed], shares, reasons, self.kind, shares)

    def reason(self, node: int, share: float, base: float) -> Reason:
        """Say that those who walked this path bought it, how many, and how many times as many as others."""
        numbers = {"share": round(float(share), 4), "lift": round(float(share / base), 2)}
        return Reason("walked", {"path": self.text(node), **numbers})

    def bought(self, node: int) -> "Bought":
        """Return what was bought from a node, likeliest first.

        An item among the many of a shorter path only is taken for one that nobody bought on the longer.
        """
        if node not in self._bought:
            parts, factor, up = [], 1.0, node
            while up >= 0:
                part = self.items.iloc[self._bounds[up] : self._bounds[up + 1]]
                parts.append(part.assign(share=part["share"] * factor))
                factor *= self.config.prior / (float(self.tree.paths[up]) + self.config.prior)
                up = int(self.tree.parents[up])
            found = pd.concat(parts).drop_duplicates("item_id")
            found = found.sort_values(["share", "item_id"], ascending=[False, True])
            shares, bases = (found[name].to_numpy(np.float64) for name in ("share", "base"))
            self._bought[node] = Bought(found["item_id"].tolist(), shares, bases)
        return self._bought[node]

    def text(self, node: int) -> str:
        """Return the steps of a node as people read them, oldest first."""
        return self._texts[node]

    def table(self) -> pd.DataFrame:
        """Return every path known (models._path_table.COLUMNS), by category of the order too."""
        return table(self.tree, self._texts, self.categories)

    def predict(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Return known (the part of `path` known), paths, probability and base; a path is "a > b:shoes"."""
        nodes = [
            self.node([code_of(self._codes, name) for name in reversed(str(text).split(ARROW))])
            for text in frame["path"]
        ]
        rows = [(self.text(node), float(self.tree.paths[node]), self.chances(node)[0]) for node in nodes]
        found = pd.DataFrame(rows, columns=["known", "paths", "probability"], index=frame.index)
        return found.assign(base=self.chances(ROOT)[0])

    def foretell(self, steps: Steps, rows: Rows) -> tuple[Floats, Floats]:
        """Return P(order) and P(order of each category) at steps; shapes (rows,) and (rows, categories)."""
        walks = steps.coded(self._codes)
        last = np.searchsorted(walks.rows, rows, side="right") - 1
        own = (last >= 0) & (steps.paths[walks.rows[last]] == steps.paths[rows])
        nodes, place = np.unique(np.where(own, self._nodes(walks)[last], ROOT), return_inverse=True)
        chances = [self.chances(int(node)) for node in nodes]
        orders, categories = np.array([order for order, _ in chances]), np.array([own for _, own in chances])
        return orders[place], categories[place]

    def _nodes(self, walks: Walks) -> Rows:
        """Return the node of each step: the longest part of the path to it that is known."""
        tree, width = self.tree, len(self.steps) + 1
        keys = tree.parents[1:] * width + tree.codes[1:]
        order = np.argsort(keys)
        at, going = np.zeros(len(walks), dtype=np.int64), np.ones(len(walks), dtype=np.bool_)
        for depth in range(self.config.length if len(keys) else 0):
            back = walks.back(depth)
            wanted = at * width + back
            place = order[np.minimum(np.searchsorted(keys, wanted, sorter=order), len(keys) - 1)]
            going &= (back >= 0) & (keys[place] == wanted)
            at = np.where(going, place + 1, at)
        return at

    @cached_property
    def _texts(self) -> list[str]:
        texts = [""]
        for parent, code in zip(self.tree.parents[1:].tolist(), self.tree.codes[1:].tolist(), strict=True):
            texts.append(ARROW.join(filter(None, (self.steps[code], texts[parent]))))
        return texts

    def _seen(self, catalogue: Catalogue, context: Sequence[str]) -> list[int]:
        """Return the codes of looking at the context's items, the last first, where such a step is known."""
        rows = [catalogue.index[item] for item in reversed(context) if item in catalogue.index]
        codes = [code_of(self._codes, label(VIEWED, str(catalogue.categories[row]))) for row in rows]
        return [code for code in codes if code >= 0]

    # --- keeping

    def save(self, folder: Path) -> None:
        """Write paths.json, nodes.parquet, categories.parquet and items.parquet."""
        facts = {"config": asdict(self.config), "steps": self.steps, "categories": self.categories}
        (folder / "paths.json").write_text(json.dumps(facts, indent=1))
        self.tree.save(folder)
        self.items.to_parquet(folder / "items.parquet", index=False)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote."""
        facts = json.loads((folder / "paths.json").read_text())
        config = PathsConfig(**facts["config"] | {"ignored": tuple(facts["config"]["ignored"])})
        items = pd.read_parquet(folder / "items.parquet")
        return cls(config, facts["steps"], Tree.load(folder), facts["categories"], items)


def _vocabulary(steps: Steps, over: npt.NDArray[np.bool_], least: int) -> list[str]:
    """Return the steps with their category where enough paths hold it, and the bare events."""
    width = max(len(steps.names), 1)
    labels = np.unique(steps.paths[over] * width + steps.labels[over]) % width
    count = np.bincount(labels, minlength=len(steps.names))
    held = [(name, paths) for name, paths in zip(steps.names, count, strict=True) if paths]
    return sorted(
        {name for name, paths in held if paths >= least} | {name.partition(":")[0] for name, _ in held}
    )


def _items(tree: Tree, bought: Pairs, names: Sequence[str], config: PathsConfig) -> pd.DataFrame:
    """Return the likeliest items of each node."""
    nodes, values, share, paths = shares(tree, bought, config.prior)
    base = np.zeros(len(names))
    root = nodes == ROOT
    base[values[root]] = share[root]
    order = np.lexsort((values, -share, nodes))
    nodes, values, share, paths = nodes[order], values[order], share[order], paths[order]
    starts = np.searchsorted(nodes, nodes)
    kept = np.arange(len(nodes)) - starts < config.items
    items = np.array(names, dtype=object)[values[kept]] if len(names) else values[kept].astype(object)
    columns = {"node": nodes[kept], "item_id": items, "share": share[kept], "base": base[values[kept]]}
    return pd.DataFrame(columns | {"paths": paths[kept]})
