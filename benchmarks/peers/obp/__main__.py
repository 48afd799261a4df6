"""obp's estimators and reward model on a log, and the policy that wrote the other log.

Arguments: `log` (npz: actions, rewards, propensity, position, context, items), `target` (random or bts),
`campaign`, `folds`, `seed`, `out` (npz to write: target (arms, positions), predictions (n, arms, positions)).
The reward model is obp's RegressionModel with the settings of its own benchmark, one a position.
"""

import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression

from benchmarks.peers._common import Arguments, answer

SIMULATIONS = 100_000


def work(arguments: Arguments) -> dict[str, Any]:
    """Return what each estimator says, with the seconds of the reward model and the estimates."""
    from obp import ope

    with np.load(Path(arguments["log"])) as file:
        log = {name: file[name] for name in file.files}
    target = _target(arguments, len(log["items"]), int(log["position"].max()) + 1)
    start = time.perf_counter()
    model = ope.RegressionModel(
        n_actions=len(target),
        len_list=target.shape[1],
        action_context=log["items"],
        base_model=LogisticRegression(C=1000, max_iter=10_000, random_state=12345),
    )
    rows = {"action": log["actions"], "reward": log["rewards"], "position": log["position"]}
    predictions = model.fit_predict(
        context=log["context"],
        pscore=log["propensity"],
        n_folds=arguments["folds"],
        random_state=arguments["seed"],
        **rows,
    )
    given = rows | {"pscore": log["propensity"], "action_dist": np.tile(target, (len(log["actions"]), 1, 1))}
    said = {
        "ips": ope.InverseProbabilityWeighting().estimate_policy_value(**given),
        "snips": ope.SelfNormalizedInverseProbabilityWeighting().estimate_policy_value(**given),
        "dr": ope.DoublyRobust().estimate_policy_value(estimated_rewards_by_reg_model=predictions, **given),
    }
    seconds = round(time.perf_counter() - start, 2)
    np.savez(Path(arguments["out"]), target=target, predictions=predictions)
    return {name: float(value) for name, value in said.items()} | {"seconds": seconds}


def _target(arguments: Arguments, arms: int, positions: int) -> Any:
    """Return (arms, positions): Thompson sampling by simulation from its published prior, or evenly."""
    if arguments["target"] == "random":
        return np.full((arms, positions), 1 / arms)
    from obp.policy import BernoulliTS

    policy = BernoulliTS(
        n_actions=arms,
        len_list=positions,
        is_zozotown_prior=True,
        campaign=arguments["campaign"],
        random_state=arguments["seed"],
    )
    return policy.compute_batch_action_dist(n_rounds=1, n_sim=SIMULATIONS)[0]


if __name__ == "__main__":
    warnings.filterwarnings("ignore", category=FutureWarning)
    answer(work)
