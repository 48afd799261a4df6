"""Off-policy evaluation: `python -m benchmarks.off_policy --data simulated|obd [--seed N] [--json OUT]`.

simulated: how often 90 % intervals hold the truth, over 200 **simulated** logs of one world: several messages
a contact, whose responses are alike; known propensities; a deterministic policy is asked about. `by_row` is
the same interval where every message stands for itself. obd: the Open Bandit data that come with obp, beside
obp's own estimators (`make peers-obp`): Thompson sampling's clicks from the random log and the other way
round, in three campaigns; the truth is what the other log shows, itself uncertain by some 15 %.
"""

import json
import os
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import _bandit_data as data
from benchmarks import _report as report
from nextbest.errors import BadInput, NextbestError
from training import off_policy as ope

LOGS = 200
FOLDS = 5
TIMEOUT = 600.0
NAMES = ("ips", "snips", "dr")
COVERED = ("coverage", "coverage_by_row", "bias", "rmse", "standard_error")
ERRORS = ("ips", "snips", "dr", "obp_ips", "obp_snips", "obp_dr")
SHOWN = ("truth", "effective_rows", *ERRORS)
Estimated = ope.Estimate | ope.Comparison


def main() -> None:
    """Measure, print, write."""
    measured: dict[str, Callable[[int], dict[str, Any]]] = {"simulated": simulated, "obd": obd}
    asked = report.options((__doc__ or "").splitlines()[0], "simulated, or obd").parse_args()
    if asked.data not in measured:
        raise SystemExit(f"no data {asked.data!r}; known: {', '.join(measured)}")
    watch = report.Stopwatch()
    try:
        found = measured[asked.data](asked.seed)
    except NextbestError as error:
        raise SystemExit(str(error)) from error
    figures = found.pop("figures") | {"seconds": watch.seconds, "peak_mb": report.peak_mb()}
    report.write(asked.json, figures, found.pop("peers"), found.pop("data"), [asked.seed], **found)


# --- simulated: coverage


def simulated(seed: int, logs: int = LOGS) -> dict[str, Any]:
    """Return the coverage of each estimator's intervals, and of the gain over the logging policy."""
    world = data.World.of(seed)
    value = world.value(world.target)
    gain = value - world.value(world.logged)
    truths = dict.fromkeys(NAMES, value) | {"gain_snips": gain, "gain_dr": gain}
    rounds = [_estimates(world.draw(1000 * (seed + 1) + number)) for number in range(logs)]
    rows = {name: _coverage([one[name] for one in rounds], truth) for name, truth in truths.items()}
    print(f"simulated: {logs} logs of {data.CONTACTS} contacts, truth {value:.4f}, gain {gain:.4f}")
    report.show(rows, COVERED)
    figures = {f"coverage_{name}": figures["coverage"] for name, figures in rows.items()}
    known = {"name": "simulated", "simulated": True, "logs": logs, "contacts": data.CONTACTS}
    return {
        "figures": figures,
        "peers": {},
        "data": known | {"truth": value, "gain": gain},
        "estimators": rows,
    }


def _estimates(drawn: data.Simulated) -> dict[str, tuple[Estimated, Estimated]]:
    """Return each estimate twice: with the contacts known, and with every row for itself."""
    log, target = drawn.log, drawn.target
    fit = data.additive(log, drawn.context, np.eye(data.ARMS))
    predictions = ope.cross_fitted(log, fit, FOLDS)

    def all_of(log: ope.Log) -> dict[str, Estimated]:
        return {
            "ips": ope.ips(log, target),
            "snips": ope.snips(log, target),
            "dr": ope.doubly_robust(log, target, predictions),
            "gain_snips": ope.compare(log, target, drawn.logged),
            "gain_dr": ope.compare(log, target, drawn.logged, predictions),
        }

    by_row = all_of(ope.Log(log.actions, log.rewards, log.propensity))
    return {name: (found, by_row[name]) for name, found in all_of(log).items()}


def _coverage(found: list[tuple[Estimated, Estimated]], truth: float) -> dict[str, float]:
    values = np.array([one.value for one, _ in found])
    held = np.array([[each.low <= truth <= each.high for each in pair] for pair in found])
    return {
        "coverage": float(held[:, 0].mean()),
        "coverage_by_row": float(held[:, 1].mean()),
        "bias": float(values.mean() - truth),
        "rmse": float(np.sqrt(np.mean((values - truth) ** 2))),
        "standard_error": float(np.mean([one.standard_error for one, _ in found])),
    }


# --- Open Bandit: relative errors


def obd(seed: int) -> dict[str, Any]:
    """Return relative errors in both directions of three campaigns, and how far ours are from obp's."""
    folder = data.installed()
    tasks = {}
    for campaign in data.CAMPAIGNS:
        logs = {policy: data.open_bandit(folder, policy, campaign) for policy in data.POLICIES}
        for source, target in (("random", "bts"), ("bts", "random")):
            tasks[f"{campaign}: {target} from {source}"] = task(
                logs[source], logs[target].log.rewards, target, campaign, seed
            )
    errors = {name: _relative_errors(found) for name, found in tasks.items()}
    mean = _mean(list(errors.values()))
    enough = _mean([row for name, row in errors.items() if not tasks[name]["thin"]])
    print("relative errors (truth: clicks a row of the other log)")
    report.show(errors | {"mean of six": mean, "mean of enough overlap": enough}, SHOWN)
    for name, found in tasks.items():
        if found["thin"]:
            print(f"{name}: {found['thin']}")
    apart = max(found["apart"] for found in tasks.values())
    print(f"largest distance of ours from obp's on the same predictions: {apart:.1e}")
    held = {name: float(np.mean([found["held"][name] for found in tasks.values()])) for name in NAMES}
    print("90 % intervals (with the truth's own error) that hold:", held)
    return {
        "figures": {f"relative_error_{name}": mean[name] for name in NAMES}
        | {f"relative_error_enough_{name}": enough[name] for name in NAMES}
        | {f"held_{name}": held[name] for name in NAMES}
        | {"apart_from_obp": apart},
        "peers": {
            "obp": {f"relative_error_{name}": mean[f"obp_{name}"] for name in NAMES}
            | {f"relative_error_enough_{name}": enough[f"obp_{name}"] for name in NAMES}
        },
        "data": {"name": "Open Bandit, the samples in obp", "rows": 10_000, "campaigns": data.CAMPAIGNS},
        "tasks": tasks,
    }


def task(log: data.OpenBandit, others: data.Floats, target: str, campaign: str, seed: int) -> dict[str, Any]:
    """Return what ours and obp's estimators say of `target` from this log, and the truth of `others`."""
    peer, policy, predicted = _obp(log, target, campaign, seed)
    rows = np.arange(len(log.position))
    of_row = np.ascontiguousarray(policy[:, log.position].T)
    context = np.column_stack([log.context, np.eye(data.POSITIONS)[log.position]])
    predictions = ope.cross_fitted(log.log, data.additive(log.log, context, log.arms), FOLDS, seed)
    ours = {
        "ips": ope.ips(log.log, of_row),
        "snips": ope.snips(log.log, of_row),
        "dr": ope.doubly_robust(log.log, of_row, predictions),
    }
    same = ope.doubly_robust(log.log, of_row, predicted[rows, :, log.position])
    pairs = ((ours["ips"], "ips"), (ours["snips"], "snips"), (same, "dr"))
    overlap = ope.Overlap.of(log.log, of_row)
    truth, error = float(others.mean()), float(others.std(ddof=1) / np.sqrt(len(others)))
    return {
        "truth": truth,
        "truth_standard_error": error,
        "ours": {name: vars(found) for name, found in ours.items()},
        "obp": peer,
        "apart": max(abs(found.value - peer[name]) for found, name in pairs),
        "held": {name: _held(found, truth, error) for name, found in ours.items()},
        "overlap": vars(overlap),
        "thin": _thin(overlap),
    }


def _thin(overlap: ope.Overlap) -> str | None:
    """Return why nothing should be concluded from the log, if so."""
    try:
        overlap.require()
    except ope.ThinOverlap as error:
        return str(error)
    return None


def _held(found: ope.Estimate, truth: float, error: float) -> bool:
    """Tell whether the two may differ by chance alone: 90 % interval of their difference."""
    return bool(abs(found.value - truth) <= 1.645 * np.hypot(found.standard_error, error))


def _mean(rows: list[dict[str, float]]) -> dict[str, float]:
    return {key: float(np.mean([row[key] for row in rows])) for key in ERRORS}


def _relative_errors(found: Mapping[str, Any]) -> dict[str, float]:
    truth = found["truth"]
    ours = {name: abs(found["ours"][name]["value"] / truth - 1) for name in NAMES}
    effective = found["overlap"]["effective_sample_size"]
    peers = {f"obp_{name}": abs(found["obp"][name] / truth - 1) for name in NAMES}
    return {"truth": truth, "effective_rows": effective} | ours | peers


def _obp(
    log: data.OpenBandit, target: str, campaign: str, seed: int
) -> tuple[dict[str, Any], data.Floats, data.Floats]:
    """Return obp's estimates, the target (arms, positions) and its predictions (n, arms, positions)."""
    with tempfile.TemporaryDirectory() as folder:
        given, out = (str(Path(folder) / name) for name in ("log.npz", "out.npz"))
        np.savez(
            given,
            actions=log.log.actions,
            rewards=log.log.rewards,
            propensity=log.log.propensity,
            position=log.position,
            context=log.context,
            items=log.items,
        )
        arguments = {"target": target, "campaign": campaign, "folds": FOLDS, "seed": seed}
        said = _run(arguments | {"log": given, "out": out})
        with np.load(out) as file:
            return said, file["target"], file["predictions"]


def _run(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Run obp in its environment. BadInput: it ended with an error, whose last line is told."""
    root = Path(__file__).resolve().parents[1]
    done = subprocess.run(
        [str(data.ENVIRONMENT / "bin" / "python"), "-m", "benchmarks.peers.obp"],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
        input=json.dumps(arguments),
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    if done.returncode:
        raise BadInput(f"obp ended with {done.returncode}: {(done.stderr.strip().splitlines() or [''])[-1]}")
    return dict(json.loads(done.stdout.strip().splitlines()[-1]))


if __name__ == "__main__":
    main()
