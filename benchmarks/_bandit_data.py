"""Logs to evaluate policies from: simulated ones, whose truth is known, and the Open Bandit data.

Open Bandit (Saito et al. 2021) is what a fashion shop showed at three places of a page, drawn at random or by
Thompson sampling; ten thousand rows of each for three campaigns come with the package obp. It names no
visitors, so every row stands for itself. Both get the same reward model: logistic, context and arm additive.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from nextbest.errors import BadInput, NotReady
from training.off_policy import Log, one_hot

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

ENVIRONMENT = Path(__file__).resolve().parents[1] / ".peers" / "obp"
OPEN_BANDIT = "lib/python*/site-packages/obp/dataset/obd"
CAMPAIGNS = ("all", "men", "women")
POLICIES = ("random", "bts")
POSITIONS = 3


# --- simulated

ARMS = 5
TRAITS = 4
CONTACTS = 400
MESSAGES = 5.0
"""Messages a contact, on average."""
PERSONAL = 1.0
"""Standard deviation of what is a contact's own, on the logit: what makes its responses alike."""
AT_RANDOM = 0.2
"""Share of the messages whose channel was drawn evenly."""


@dataclass(frozen=True)
class Simulated:
    """A simulated log with everything that is known about it."""

    log: Log
    context: Floats
    """(n, traits)."""
    logged: Floats
    """(n, arms): the logging policy."""
    target: Floats
    """(n, arms): the policy asked about, deterministic."""


@dataclass(frozen=True)
class World:
    """Simulated contacts of 16 equally frequent kinds, and how they respond."""

    kinds: Floats
    """(kinds, traits) of 0 and 1."""
    logits: Floats
    """(kinds, arms) of a response, without what is personal."""
    logged: Floats
    """(kinds, arms): probabilities of the logging policy."""
    target: Floats
    """(kinds, arms): the policy asked about."""

    @classmethod
    def of(cls, seed: int) -> "World":
        """Make one: the logging policy leans to some arms, the target half knows the best of each kind."""
        random = np.random.default_rng(seed)
        kinds = np.array(list(np.ndindex((2,) * TRAITS)), dtype=np.float64)
        logits = -1.5 + random.normal(0, 0.5, ARMS) + kinds @ random.normal(0, 0.6, (TRAITS, ARMS))
        leaning = np.exp(kinds @ random.normal(0, 0.7, (TRAITS, ARMS)))
        logged = (1 - AT_RANDOM) * leaning / leaning.sum(axis=1, keepdims=True) + AT_RANDOM / ARMS
        guessed = logits + random.normal(0, logits.std(), logits.shape)
        return cls(kinds, logits, logged, one_hot(guessed.argmax(axis=1), ARMS))

    def value(self, policy: Floats) -> float:
        """Return a policy's (kinds, arms) true mean response: Gauss-Hermite over what is personal."""
        nodes, weights = np.polynomial.hermite_e.hermegauss(60)
        rates = expit(self.logits[:, :, None] + PERSONAL * nodes) @ (weights / weights.sum())
        return float((policy * rates).sum(axis=1).mean())

    def draw(self, seed: int, contacts: int = CONTACTS) -> Simulated:
        """Draw a log; how many messages a contact gets depends on nothing."""
        random = np.random.default_rng(seed)
        who = np.repeat(np.arange(contacts), 1 + random.poisson(MESSAGES - 1, contacts))
        kind = random.integers(0, len(self.kinds), contacts)[who]
        logged = self.logged[kind]
        actions = (random.random(len(who))[:, None] > logged.cumsum(axis=1)[:, :-1]).sum(axis=1)
        logit = self.logits[kind, actions] + random.normal(0, PERSONAL, contacts)[who]
        responses = (random.random(len(who)) < expit(logit)).astype(np.float64)
        log = Log(actions, responses, logged[np.arange(len(who)), actions], who)
        return Simulated(log, self.kinds[kind], logged, self.target[kind])


# --- Open Bandit


@dataclass(frozen=True)
class OpenBandit:
    """A campaign as one policy showed it."""

    log: Log
    position: Ints
    """(n,): the place on the page, from 0; a policy's probabilities differ by place."""
    context: Floats
    """(n, features of the visitor), 0 and 1."""
    items: Floats
    """(arms, features): categories numbered, as obp takes them."""
    arms: Floats
    """(arms, features): one-hot item and categories, for the reward model."""


def installed() -> Path:
    """Return the folder of the data that came with obp. NotReady: it is not installed."""
    for folder in sorted(ENVIRONMENT.glob(OPEN_BANDIT)):
        return folder
    raise NotReady("obp, which brings the Open Bandit data, is not installed; run: make peers-obp")


def open_bandit(folder: Path, policy: str, campaign: str) -> OpenBandit:
    """Read what a policy (random, bts) showed in a campaign (all, men, women)."""
    if policy not in POLICIES or campaign not in CAMPAIGNS:
        raise BadInput(f"no log of {policy!r} in {campaign!r}; known: {POLICIES} in {CAMPAIGNS}")
    place = folder / policy / campaign
    rows = pd.read_csv(place / f"{campaign}.csv", index_col=0).sort_values("timestamp", kind="stable")
    items = pd.read_csv(place / "item_context.csv", index_col=0).sort_values("item_id")
    if (items["item_id"] != np.arange(len(items))).any():
        raise BadInput(f"{place / 'item_context.csv'}: items must be numbered from 0 without a gap")
    visitors = pd.get_dummies(rows.filter(like="user_feature"), drop_first=True, dtype=float)
    categories = items.filter(regex="item_feature_[1-9]")
    numbered = [pd.factorize(categories[name], sort=True)[0] for name in categories]
    dummies = pd.get_dummies(categories, dtype=float).to_numpy()
    log = Log(*(rows[name].to_numpy() for name in ("item_id", "click", "propensity_score")))
    return OpenBandit(
        log=log,
        position=rows["position"].to_numpy(np.int64) - 1,
        context=visitors.to_numpy(),
        items=np.column_stack([*numbered, items["item_feature_0"]]),
        arms=np.column_stack([np.eye(len(items)), dummies]),
    )


# --- a reward model for both


def additive(log: Log, context: Floats, arms: Floats) -> Callable[[Ints], Callable[[Ints], Floats]]:
    """Return a `fit` for cross_fitted: logistic regression on context (n, …) and arms (arms, …), additive.

    No arm suits one more than another in it, so it is wrong in the way models are.
    """
    both = np.column_stack([context, arms[log.actions]])

    def fit(rows: Ints) -> Callable[[Ints], Floats]:
        model = LogisticRegression(max_iter=1000).fit(both[rows], log.rewards[rows])
        of_context, of_arm = np.split(model.coef_[0], [context.shape[1]])

        def predict(others: Ints) -> Floats:
            of_row = context[others] @ of_context + model.intercept_[0]
            return np.asarray(expit(of_row[:, None] + arms @ of_arm), dtype=np.float64)

        return predict

    return fit
