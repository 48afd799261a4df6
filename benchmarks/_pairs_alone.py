"""All pairs with all measures, counted in a process of its own: `python -m benchmarks._pairs_alone FILE
LEAST`.

FILE: Parquet with basket and item, whole numbers. Prints one line of JSON, as the peers do: pairs, items,
seconds (without imports and reading) and peak_mb (with them).
"""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from models._association import COUNTS, hypotheses, measures, rules_of, tested
from models._mining import Baskets, levels


def run(place: str, least: int) -> dict[str, Any]:
    """Return what a fresh process measures."""
    command = [sys.executable, "-m", "benchmarks._pairs_alone", place, str(least)]
    told = subprocess.run(command, check=True, capture_output=True, text=True)
    return dict(json.loads(told.stdout.splitlines()[-1]))


def measured(baskets: Baskets, least: int) -> pd.DataFrame:
    """Return the rules of every pair in both directions with every measure."""
    found = levels(baskets, least, 2)
    rules = tested(rules_of(found, (0.0,)), len(baskets), hypotheses(found))
    counts = (rules[name].to_numpy(dtype=np.float64) for name in COUNTS)
    both, of_a, of_c = counts
    names = ("support", "confidence", "lift", "leverage", "conviction")
    return rules.assign(**dict(zip(names, measures(both, of_a, of_c, len(baskets)), strict=True)))


def own_peak_mb() -> float:
    """Return the most memory since this program began; ru_maxrss remembers the process it was forked from."""
    status = Path("/proc/self/status").read_text()
    return round(int(status.partition("VmHWM:")[2].split()[0]) / 1024, 1)


def main() -> None:
    """Measure and print."""
    lines = pd.read_parquet(sys.argv[1])
    basket, item = (lines[name].to_numpy(dtype=np.int64) for name in ("basket", "item"))
    names = np.arange(item.max() + 1).astype(str).astype(object)
    baskets = Baskets(names, basket, item)
    del lines
    start, work = time.perf_counter(), time.process_time()
    rules = measured(baskets, int(sys.argv[2]))
    seconds, cpu = time.perf_counter() - start, time.process_time() - work
    told = {
        "pairs": len(rules) // 2,
        "seconds": round(seconds, 3),
        "cpu_seconds": round(cpu, 3),
        "peak_mb": own_peak_mb(),
    }
    print(json.dumps(told))


if __name__ == "__main__":
    main()
