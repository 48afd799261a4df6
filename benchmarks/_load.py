"""Load on the service from processes of their own: wrk where it is installed, else Python threads."""

import json
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np

SCRIPTS = Path(__file__).parent / "wrk"
CONNECTIONS = 8


@dataclass(frozen=True)
class Load:
    """What to send: a wrk script with the file it reads, or nothing but GET."""

    path: str
    script: str | None = None
    file: Path | None = None
    seed: int = 7


def wrk_found() -> bool:
    """Tell whether wrk is installed (Debian: apt-get install wrk)."""
    return shutil.which("wrk") is not None


class Running:
    """A closed loop of CONNECTIONS in a process of its own."""

    def __init__(self, command: Sequence[str]) -> None:
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    def figures(self) -> dict[str, float]:
        """Wait for its end and return what it measured."""
        said, _ = self._process.communicate()
        line = next(line for line in said.splitlines() if line.startswith("measured "))
        found: dict[str, float] = json.loads(line.removeprefix("measured "))
        found["requests_per_second"] = round(found["requests"] / found.pop("seconds"), 1)
        return found

    def stop(self) -> None:
        """End it without figures."""
        self._process.terminate()
        self._process.communicate()


def start(url: str, load: Load, seconds: float) -> Running:
    """Start asking."""
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{max(round(seconds), 1)}s", "--timeout", "30s"]
    command += ["-s", str(SCRIPTS / (load.script or "common.lua")), url + load.path]
    if load.file is not None:
        command += ["--", str(load.file), str(load.seed)]
    if not wrk_found():
        command = [
            sys.executable,
            "-m",
            "benchmarks._load",
            url,
            load.path,
            str(load.file or ""),
            str(seconds),
        ]
    return Running(command)


def constant_rate(url: str, path: str, bodies: Path, rate: float, seconds: float) -> dict[str, float]:
    """Post the lines of a file in turn, at a constant rate (benchmarks._open_loop)."""
    command = [sys.executable, "-m", "benchmarks._open_loop", url, path, str(bodies)]
    said = subprocess.run([*command, str(rate), str(seconds)], capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(said.stdout)
    return found


def _threads(url: str, path: str, file: str, seconds: float) -> None:
    """Do in Python what wrk does, in as many threads as it has connections; prints the same line."""
    bodies = Path(file).read_bytes().splitlines() if file else [b""]
    times, failures, lock = list[float](), list[int](), threading.Lock()
    started = time.perf_counter()

    def ask(number: int) -> None:
        chance, mine, failed = np.random.default_rng(number), list[float](), 0
        connection = HTTPConnection(urlsplit(url).netloc, timeout=30)
        while (begun := time.perf_counter()) - started < seconds:
            body = bodies[chance.integers(len(bodies))]
            connection.request("POST" if file else "GET", path, body, {"content-type": "application/json"})
            response = connection.getresponse()
            response.read()
            failed += response.status != 200
            mine.append((time.perf_counter() - begun) * 1000)
        with lock:
            times.extend(mine)
            failures.append(failed)

    asking = [threading.Thread(target=ask, args=(number,)) for number in range(CONNECTIONS)]
    for thread in asking:
        thread.start()
    for thread in asking:
        thread.join()
    said = {"requests": len(times), "seconds": time.perf_counter() - started, "failures": sum(failures)}
    said |= {f"p{q}_ms": round(float(np.percentile(times, q)), 3) for q in (50, 95, 99)}
    print("measured", json.dumps(said))


if __name__ == "__main__":
    _threads(sys.argv[1], sys.argv[2], sys.argv[3], float(sys.argv[4]))
