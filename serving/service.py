"""The BentoML service: the front door that reads settings and the clock; no logic."""

import gc
import os
import signal
import threading
import time
from pathlib import Path

import bentoml
from starlette.types import ASGIApp, Receive, Scope, Send

from nextbest.settings import Settings
from serving import contact_page, demo_shop, intake
from serving.access import check_binding
from serving.engine import Engine
from serving.logs import configure
from serving.web import create_app


def end_with_parent(seconds: float = 0.1) -> None:
    """Die when the supervisor does, even by kill -9: a worker left behind would keep port and settings."""
    parent = os.getppid()
    if parent == 1 and not _is_service(1):  # the supervisor was gone before this was reached
        os.kill(os.getpid(), signal.SIGKILL)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(seconds)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, name="parent", daemon=True).start()


def _is_service(pid: int) -> bool:
    """Tell whether a process is a supervisor of ours: in a container it may be the first one."""
    try:
        return b"bentoml" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return True  # cannot be told: stay


def open_engine() -> Engine:
    """Open everything the service stands on, as the environment says."""
    end_with_parent()
    settings = Settings()
    check_binding(settings)
    configure(settings.log_level)
    engine = Engine(settings, settings.present)
    engine.watch_triggers(engine.profiler.of)
    gc.collect()
    gc.freeze()  # what start-up has made stays: looking through it again would hold up requests
    return engine


APP = create_app(
    open_engine,
    more_routes=[*intake.routes(), *demo_shop.ROUTES, *contact_page.ROUTES],
    more_calls=[*intake.calls(), *demo_shop.CALLS, *contact_page.CALLS],
)

# uvicorn puts a trusted proxy's x-forwarded-for in the place of its address; by default it trusts loopback
os.environ["FORWARDED_ALLOW_IPS"] = ",".join(Settings().trusted_proxies)


class Front:
    """Sends every request to our app: BentoML's own /livez, /readyz and 404 know nothing of our contract."""

    def __init__(self, app: ASGIApp) -> None:
        self._bentoml = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer HTTP; leave the lifespan to BentoML."""
        await (APP if scope["type"] == "http" else self._bentoml)(scope, receive, send)


@bentoml.service(
    name="nextbest",
    workers=int(os.environ.get("NEXTBEST_WORKERS", "1")),
    traffic={"timeout": 60},
    logging={"access": {"enabled": False}},
    metrics={"enabled": False},
)
@bentoml.asgi_app(APP, path="/", name="nextbest")
class Nextbest:
    """Recommendations, predictions and channels of every contact."""


Nextbest.add_asgi_middleware(Front)  # type: ignore[attr-defined]
