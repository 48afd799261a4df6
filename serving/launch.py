"""Starting the service: in the foreground for the command line, in the background for demo and tests."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from nextbest.errors import BadInput, NotReady
from nextbest.settings import Settings
from serving.access import check_binding

ROOT = Path(__file__).resolve().parent.parent
START_SECONDS = 120.0
STOP_SECONDS = 20.0
SECRETS = {"write_key", "secret_key", "webhook_secret", "webhooks"}
"""Settings that print as stars."""


def serve(settings: Settings) -> None:
    """Become the service; returns only by raising. Raises BadInput where it would be open to the world."""
    check_binding(settings)
    check_port(settings)
    os.chdir(ROOT)
    sys.stdout.flush()
    os.execve(sys.executable, command(settings), environment(settings))  # noqa: S606 - our own interpreter


@contextmanager
def start_background(settings: Settings, log_file: Path) -> Iterator[str]:
    """Yield the base URL once the service is ready; stop it afterwards. Raises NotReady naming the log."""
    check_binding(settings)
    log_file.parent.mkdir(parents=True, exist_ok=True)
    with log_file.open("ab") as output:
        process = subprocess.Popen(  # noqa: S603 - our own interpreter
            command(settings), cwd=ROOT, env=environment(settings), stdout=output, stderr=subprocess.STDOUT,
            start_new_session=True,
        )  # fmt: skip
        try:
            url = f"http://{_reachable(settings.host)}:{settings.port}"
            _wait_until_ready(url, process, log_file)
            yield url
        finally:
            _stop(process)


def check_port(settings: Settings) -> None:
    """Raise BadInput where the port is taken."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.host, settings.port))
        except OSError as error:
            raise BadInput(
                f"cannot listen on {settings.host}:{settings.port} ({error.strerror}); "
                "choose another port with --port"
            ) from None


def command(settings: Settings) -> list[str]:
    """Return the BentoML command that serves; BentoML takes addresses only."""
    host = "127.0.0.1" if settings.host == "localhost" else settings.host
    return [
        sys.executable, "-m", "bentoml", "serve", "serving.service:Nextbest",
        "--host", host, "--port", str(settings.port),
    ]  # fmt: skip


def environment(settings: Settings) -> dict[str, str]:
    """Return the environment that makes the service read the same settings."""
    values = {
        f"NEXTBEST_{name.upper()}": _text(value)
        for name, value in settings.model_dump(mode="json", exclude=SECRETS).items()
        if value is not None
    }
    for name in ("write_key", "secret_key", "webhook_secret"):
        secret = getattr(settings, name)
        if secret is not None:
            values[f"NEXTBEST_{name.upper()}"] = secret.get_secret_value()
    shown = [{"url": hook.url, "secret": hook.secret.get_secret_value()} for hook in settings.webhooks]
    values["NEXTBEST_WEBHOOKS"] = json.dumps(shown)
    values["NEXTBEST_HOME"] = str(settings.home.resolve())
    for name in ("rules", "lifecycle", "triggers", "segments", "needs"):
        if (path := getattr(settings, name)) is not None:
            values[f"NEXTBEST_{name.upper()}"] = str(path.resolve())
    quiet = {"BENTOML_DO_NOT_TRACK": "True", "MLFLOW_DISABLE_TELEMETRY": "true", "FEAST_USAGE": "False"}
    quiet["MLFLOW_LOGGING_LEVEL"] = os.environ.get("MLFLOW_LOGGING_LEVEL", "WARNING")
    threads = {name: os.environ.get(name, "1") for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
    # BentoML empties its folder of shared metrics when it starts: another service must not be using it
    own = {"BENTOML_HOME": str(settings.home.resolve() / "bentoml" / str(settings.port))}
    return {**os.environ, **quiet, **threads, **own, **values}


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _reachable(host: str) -> str:
    """Return an address of this machine at which a server bound to the host answers."""
    return {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)  # noqa: S104


def _wait_until_ready(url: str, process: "subprocess.Popen[bytes]", log_file: Path) -> None:
    end = time.monotonic() + START_SECONDS
    said = "it did not answer"
    while time.monotonic() < end:
        if process.poll() is not None:
            raise NotReady(f"the service stopped with exit code {process.returncode}; its log: {log_file}")
        try:
            with urllib.request.urlopen(f"{url}/readyz", timeout=5) as response:  # noqa: S310 - our own address
                if response.status == 200:
                    return
        except urllib.error.HTTPError as error:
            said = error.read().decode(errors="replace")[:500]
        except OSError:
            pass
        time.sleep(0.2)
    raise NotReady(f"the service was not ready within {START_SECONDS:.0f} s: {said}; its log: {log_file}")


def _stop(process: "subprocess.Popen[bytes]") -> None:
    """Ask the supervisor to finish, then end its process group if it does not."""
    if process.poll() is None:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(STOP_SECONDS)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
