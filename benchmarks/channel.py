"""Channels: `python -m benchmarks.channel --data simulated|obd|PATH [--seed N] [--json OUT]`.

simulated: contacts, tastes and messages made up, so that the truth, and with it the regret of a choice, is
known; five worlds (`--contacts`), and as many decisions as asked that must keep every rule (`--decisions`).
PATH: hillstrom.csv, a randomised e-mail test. obd: the Open Bandit data, as benchmarks.off_policy has it.
"""

from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import _report as report
from benchmarks._channel_hillstrom import HALVINGS, measured
from benchmarks._channel_simulated import kept_rules, simulated
from benchmarks._world_truth import World
from benchmarks.off_policy import obd

WORLDS = 5
SIMULATED = ("net_value", "regret", "of_oracle", "responses", "sent", "forbidden")
HILLSTROM = ("response_rate", "lowest", "highest")


def main() -> None:
    """Measure, print, write."""
    parser = report.options((__doc__ or "").splitlines()[0], "simulated, obd, or path of hillstrom.csv")
    parser.add_argument("--contacts", type=int, default=50_000, help="of each simulated world")
    parser.add_argument("--decisions", type=int, default=0, help="simulated ones that must keep every rule")
    asked = parser.parse_args()
    if asked.data == "simulated":
        in_worlds(asked)
    elif asked.data == "obd":
        found = obd(asked.seed)
        report.write(
            asked.json, found.pop("figures"), found.pop("peers"), found.pop("data"), [asked.seed], **found
        )
    else:
        on_hillstrom(asked)


def in_worlds(asked: Any) -> None:
    """Measure on simulated worlds, and print means over them."""
    watch, seeds = report.Stopwatch(), [asked.seed + number for number in range(WORLDS)]
    rounds = []
    for seed in seeds:
        rounds.append(simulated(asked.contacts, seed))
        ours = rounds[-1]["nextbest channel"]
        print(
            f"simulated world {seed}: regret {ours['regret']:.4f}, {ours['regret_of_rule']:.3f} of the "
            f"published rule's, {ours['regret_of_best_arm']:.3f} of the best arm's", flush=True,
        )  # fmt: skip
    rows = {name: _mean([found[name] for found in rounds]) for name in rounds[0]}
    ours = rows.pop("nextbest channel") | {"seconds": watch.seconds, "peak_mb": report.peak_mb()}
    print(
        f"SIMULATED: {WORLDS} worlds of {asked.contacts} contacts and 90 days; money a contact and decision"
    )
    report.show({"nextbest channel": ours, **rows}, SIMULATED)
    if asked.decisions:
        world = World.simulated(asked.contacts, seed=asked.seed)
        made, broken = kept_rules(world, asked.decisions, asked.seed)
        ours |= {"decisions": made, "rules_broken": broken}
        print(f"simulated decisions: {made:,}; that break consent, reach, cap or quiet hours: {broken}")
    data = {"name": "simulated", "contacts": asked.contacts, "days": 90}
    report.write(asked.json, ours, rows, data, seeds)


def on_hillstrom(asked: Any) -> None:
    """Measure on halves of the randomised e-mail test."""
    watch = report.Stopwatch()
    ours, rows, customers = measured(Path(asked.data), asked.seed)
    ours |= {"seconds": watch.seconds, "peak_mb": report.peak_mb()}
    report.show({"nextbest channel": ours, **rows}, HILLSTROM)
    print(
        f"over men's e-mail for all: {ours['over_mens_for_all']:+.5f}; over random: "
        f"{ours['over_random']:.5f}, men's for all over random: {ours['arm_over_random']:.5f}"
    )
    seeds = [asked.seed + number for number in range(HALVINGS)]
    report.write(asked.json, ours, rows, {"name": Path(asked.data).name, "rows": customers}, seeds)


def _mean(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return means over worlds, and what is kept as it was said."""
    out: dict[str, Any] = {}
    for name, first in rows[0].items():
        values = [row[name] for row in rows]
        out[name] = ", ".join(values) if isinstance(first, str) else float(np.mean(values))
    return out


if __name__ == "__main__":
    main()
