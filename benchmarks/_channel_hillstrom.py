"""Channels on Hillstrom's e-mail test: 64,000 customers drawn at random for men's e-mail, women's or none.

A response is a visit. Learned on one half, measured on the other by inverse propensity (1/3 each), over
several halvings. Nothing published beats men's e-mail for all here, so a sound policy must know that it has
found nothing and answer that arm. The customers' attributes stand in for contact features of the same scale
(`FEATURES`).
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from models.best_arm import BestArm
from models.candidates import KNOWN, Candidates
from models.channel import Channel, Policy
from models.messages import ChannelLog
from models.policy import policy_value, policy_weights

ARMS = ("Mens E-Mail", "Womens E-Mail", "No E-Mail")
HALVINGS = 20
COLUMNS = ("response_rate", "lowest", "highest", "kept")
FEATURES: dict[str, Callable[[pd.DataFrame], Any]] = {
    "recency_days": lambda rows: rows["recency"] * 30.0,
    "spend_total": lambda rows: rows["history"],
    "orders_total": lambda rows: 1.0 + rows["mens"] * rows["womens"],
    "views_total": lambda rows: rows["mens"],
    "carts_total": lambda rows: rows["womens"],
    "tenure_days": lambda rows: 1.0 - rows["newbie"],
    "pages_total": lambda rows: pd.factorize(rows["zip_code"], sort=True)[0],
    "searches_total": lambda rows: pd.factorize(rows["channel"], sort=True)[0],
}


def measured(path: Path, seed: int) -> tuple[dict[str, Any], dict[str, dict[str, Any]], int]:
    """Return the figures of what is kept, those of each policy, and the customers."""
    whole = read(path)
    rounds = [halved(whole, seed + number) for number in range(HALVINGS)]
    names = {"nextbest channel": "kept", "trees": "learned", "rates": "rates", "one arm for all": "best_arm",
             "mens e-mail for all": "mens", "random": "random"}  # fmt: skip
    rows = {shown: _over([found[name] for found in rounds]) for shown, name in names.items()}
    ours = rows["nextbest channel"]
    ours["over_mens_for_all"] = ours["response_rate"] - rows["mens e-mail for all"]["response_rate"]
    ours["over_random"] = ours["response_rate"] - rows["random"]["response_rate"]
    ours["arm_over_random"] = rows["mens e-mail for all"]["response_rate"] - rows["random"]["response_rate"]
    ours["kept"] = ", ".join(found["policy"] for found in rounds)
    return ours, {name: row for name, row in rows.items() if row is not ours}, len(whole)


def read(path: Path) -> ChannelLog:
    """Read the file as a log of messages nobody had got any before."""
    rows = pd.read_csv(path)
    contacts = pd.DataFrame(
        {name: np.asarray(make(rows), dtype=np.float64) for name, make in FEATURES.items()}
    )
    contacts["contact_id"] = [f"h{row}" for row in range(len(rows))]
    blocks = np.zeros((len(rows), len(ARMS), len(KNOWN)))
    blocks[:, :, -2:] = np.nan
    sent = rows["segment"].map({arm: place for place, arm in enumerate(ARMS)}).to_numpy().astype(np.int64)
    answered = rows["visit"].to_numpy(np.float64)
    return ChannelLog(Candidates(contacts, ARMS, blocks), sent, answered, np.full(len(rows), 1 / 3))


def halved(whole: ChannelLog, seed: int) -> dict[str, Any]:
    """Learn on one half and return what each policy earns on the other."""
    order: npt.NDArray[np.int64] = np.random.default_rng(seed).permutation(len(whole))
    early, late = whole.take(order[: len(whole) // 2]), whole.take(order[len(whole) // 2 :])
    model = Channel.learn(early, seed=seed)
    policies: tuple[Policy, ...] = ("learned", "rates", "best_arm")
    earned: dict[str, Any] = {policy: _earned(model, policy, late) for policy in policies}
    earned["best_arm"] = _earned(BestArm.learn(list(early.names()), early.responses), None, late)
    everyone = late.sent == ARMS.index("Mens E-Mail")
    earned["mens"] = policy_value(policy_weights(everyone, late.propensity), late.responses)
    earned["random"] = float(late.responses.mean())
    return earned | {"kept": _earned(model, None, late), "policy": model.policy}


def _earned(model: Any, policy: Policy | None, late: ChannelLog) -> float:
    estimate = model.estimate(late.states, policy) if policy else model.estimate(late.states)
    weights = policy_weights(estimate.probability.argmax(axis=1) == late.sent, late.propensity)
    return policy_value(weights, late.responses)


def _over(values: list[float]) -> dict[str, Any]:
    return {"response_rate": float(np.mean(values)), "lowest": min(values), "highest": max(values)}
