"""Channels on Hillstrom's e-mail test: `python -m benchmarks.channel --data PATH [--seed N] [--json OUT]`.

hillstrom.csv: 64,000 customers drawn at random for men's e-mail, women's or none; a response is a visit.
Learned on one half, measured on the other by inverse propensity (1/3 each), over several halvings. Nothing
published beats men's e-mail for all here, so a sound policy must know that it has found nothing and answer
that arm. The customers' attributes stand in for contact features of the same scale (`FEATURES`).
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from benchmarks import _report as report
from models.best_arm import BestArm
from models.candidates import KNOWN, Candidates
from models.channel import Channel, Policy
from models.messages import ChannelLog
from models.policy import policy_value, policy_weights

ARMS = ("Mens E-Mail", "Womens E-Mail", "No E-Mail")
HALVINGS = 5
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


def main() -> None:
    """Measure, print, write."""
    asked = report.options((__doc__ or "").splitlines()[0], "path of hillstrom.csv").parse_args()
    whole = read(Path(asked.data))
    watch = report.Stopwatch()
    rounds = [halved(whole, asked.seed + number) for number in range(HALVINGS)]
    names = {"nextbest channel": "kept", "trees": "learned", "rates": "rates", "one arm for all": "best_arm"}
    rows = {shown: _over([found[name] for found in rounds]) for shown, name in names.items()}
    ours = rows.pop("nextbest channel") | {
        "kept": ", ".join(found["policy"] for found in rounds),
        "seconds": watch.seconds,
        "peak_mb": report.peak_mb(),
    }
    report.show({"nextbest channel": ours, **rows}, COLUMNS)
    seeds = [asked.seed + number for number in range(HALVINGS)]
    report.write(asked.json, ours, rows, {"name": Path(asked.data).name, "rows": len(whole)}, seeds)


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
    return earned | {"kept": _earned(model, None, late), "policy": model.policy}


def _earned(model: Any, policy: Policy | None, late: ChannelLog) -> float:
    estimate = model.estimate(late.states, policy) if policy else model.estimate(late.states)
    weights = policy_weights(estimate.probability.argmax(axis=1) == late.sent, late.propensity)
    return policy_value(weights, late.responses)


def _over(values: list[float]) -> dict[str, Any]:
    return {"response_rate": float(np.mean(values)), "lowest": min(values), "highest": max(values)}


if __name__ == "__main__":
    main()
