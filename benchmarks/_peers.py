"""Run the libraries a user might pick instead, each in a fresh process of an environment of their own.

`make peers` makes that environment. A peer is a file of benchmarks/peers: JSON in on stdin, JSON out in the
last line of stdout. It measures its own time (`seconds`, without imports) and memory (`peak_mb`).
"""

import json
import os
import signal
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks._next_item_data import NextItemFile
from nextbest.errors import BadInput, NextbestError, NotReady

ROOT = Path(__file__).resolve().parents[1]
PYTHON = ROOT / ".peers" / "bin" / "python"
INSTALLED = ROOT / ".peers" / ".installed"
NEXT_ITEM = ("rectools_sasrec", "implicit_als", "implicit_bm25", "lenskit_itemknn")
PAIRS = ("pyfim_pairs", "mlxtend_pairs")


class PeerFailed(NextbestError):
    """A peer ended with an error, or took longer than it was given."""


def available() -> bool:
    """Return whether the peers' environment is there, whole."""
    return PYTHON.exists() and INSTALLED.exists()


def run(peer: str, arguments: Mapping[str, Any], timeout: float | None = None) -> dict[str, Any]:
    """Return what a peer found, with its `seconds` and `peak_mb`.

    BadInput: no such peer. NotReady: `make peers` has not been run. PeerFailed: it failed or took more than
    `timeout` seconds.
    """
    if peer not in NEXT_ITEM + PAIRS:
        raise BadInput(f"no peer {peer!r}; known: {', '.join(NEXT_ITEM + PAIRS)}")
    if not available():
        raise NotReady(f"{peer}: the peers are not installed; run: make peers")
    code, out, errors = _outcome(peer, json.dumps(arguments), timeout)
    lines = out.strip().splitlines()
    if code or not lines:
        last = (errors.strip().splitlines() or ["it said nothing"])[-1]
        raise PeerFailed(f"{peer} ended with {code}: {last}")
    return dict(json.loads(lines[-1]))


def next_item(
    peer: str, file: NextItemFile, *, k: int = 10, seed: int = 7, timeout: float | None = None, **more: Any
) -> dict[str, Any]:
    """Return a next-item peer's figures on the test items, learned from training and validation."""
    histories, wanted = file.before_test(), file.test()
    lengths = [len(history) for history in histories]
    train = {
        "user": np.repeat(np.arange(len(histories)), lengths),
        "item": np.concatenate(histories),
        "time": np.concatenate([np.arange(length) for length in lengths]),
    }
    test = {"user": np.flatnonzero(wanted >= 0), "item": wanted[wanted >= 0]}
    with tempfile.TemporaryDirectory() as folder:
        places = {name: f"{folder}/{name}.parquet" for name in ("train", "test")}
        pd.DataFrame(train).to_parquet(places["train"])
        pd.DataFrame(test).to_parquet(places["test"])
        return run(peer, {**places, "k": k, "seed": seed, **more}, timeout)


def pairs(peer: str, baskets: pd.DataFrame, least: int, timeout: float | None = None) -> dict[str, Any]:
    """Return how many pairs of items a peer counts in at least so many baskets; `baskets`: basket, item."""
    with tempfile.TemporaryDirectory() as folder:
        place = f"{folder}/baskets.parquet"
        baskets[["basket", "item"]].to_parquet(place)
        return run(peer, {"baskets": place, "least": least}, timeout)


def _outcome(peer: str, text: str, timeout: float | None) -> tuple[int, str, str]:
    """Run the peer in a process group of its own, so that its helpers end with it."""
    child = subprocess.Popen(
        [str(PYTHON), "-m", f"benchmarks.peers.{peer}"],
        cwd=ROOT,
        env=_environment(),
        text=True,
        start_new_session=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        out, errors = child.communicate(text, timeout)
    except subprocess.TimeoutExpired as error:
        raise PeerFailed(f"{peer} took more than {timeout:g} seconds") from error
    finally:
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGKILL)
            child.communicate()
    return child.returncode, out, errors


def _environment() -> dict[str, str]:
    """Return this environment with this tree to import from and a thread for each core."""
    cores = str(os.cpu_count() or 1)
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), cores)
    return {**os.environ, **threads, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
