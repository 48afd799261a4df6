"""The service as it runs: BentoML around the app, in a process of its own."""

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pandas as pd
import psutil
import pytest
from pydantic import SecretStr

from nextbest.errors import BadInput, NotReady
from nextbest.settings import Settings
from serving.launch import environment, serve, start_background
from training._runs import Run
from training.tracking import Registry

SECRET, WRITE = "the secret key", "the write key"


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


@dataclass(frozen=True)
class Running:
    world: Any
    http: httpx.Client


@pytest.fixture(scope="module")
def running(world: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("running")
    copy = world.copy(folder / "home")
    changes = {
        "port": free_port(), "secret_key": SecretStr(SECRET), "write_key": SecretStr(WRITE),
        "champions_poll_seconds": 0.2, "budget_ms": 5000.0,
    }  # fmt: skip
    settings = copy.settings.model_copy(update=changes)
    with (
        start_background(settings, folder / "service.log") as url,
        httpx.Client(base_url=url, headers={"authorization": f"Bearer {SECRET}"}, timeout=30) as http,
    ):
        yield Running(copy, http)
    end = time.monotonic() + 10
    while _anyone_at(settings.port) and time.monotonic() < end:
        time.sleep(0.1)
    assert not _anyone_at(settings.port)


def _anyone_at(port: int) -> bool:
    with socket.socket() as asking:
        return asking.connect_ex(("127.0.0.1", port)) == 0


def test_it_answers_with_the_champion_and_the_present_it_was_given(running: Running) -> None:
    answer = running.http.post("/v1/recommendations", json={"contact_id": running.world.contacts[0]}).json()
    assert answer["source"] == "next_purchase"
    assert answer["fallback"] is None
    assert answer["as_of"]["moment"] == "2026-06-01T12:00:00Z"
    assert answer["identified"]


def test_operations_are_ours_and_not_the_platforms(running: Running) -> None:
    assert running.http.get("/livez").json() == {"alive": True}
    assert running.http.get("/readyz").json()["missing"] == {}
    metrics = running.http.get("/metrics")
    assert metrics.headers["content-type"].startswith("text/plain")
    assert 'nextbest_champion{task="churn",version="nextbest-churn/1"} 1.0' in metrics.text
    assert {line.split("_")[0] for line in metrics.text.splitlines() if not line.startswith("#")} == {
        "nextbest"
    }
    assert running.http.get("/openapi.json").json()["openapi"].startswith("3.1")


@pytest.mark.parametrize("path", ["/", "/docs.json", "/schema.json", "/healthz", "/recommendations"])
def test_there_is_nothing_beside_the_contract(running: Running, path: str) -> None:
    answer = running.http.get(path)
    assert answer.status_code == 404
    assert set(answer.json()) == {"code", "message"}


def test_keys_are_asked_for(running: Running) -> None:
    nobody = {"authorization": ""}
    assert running.http.post("/v1/recommendations", json={}, headers=nobody).status_code == 401
    write = {"authorization": f"Bearer {WRITE}"}
    assert running.http.post("/v1/recommendations", json={}, headers=write).status_code == 200
    assert running.http.get("/v1/contacts/1", headers=write).status_code == 403


def test_a_thousand_contacts_at_once(running: Running) -> None:
    ids = [*running.world.contacts, *(f"nobody-{n}" for n in range(1000 - len(running.world.contacts)))]
    for path in ("/v1/predictions", "/v1/best-channel"):
        answer = running.http.post(path, json={"contact_ids": ids})
        assert answer.status_code == 200
        assert [contact["contact_id"] for contact in answer.json()["contacts"]] == ids


def test_a_rollback_reaches_the_running_service(running: Running) -> None:
    def version() -> str | None:
        return dict(running.http.get("/readyz").json()["champions"])["rfm"]

    registry = Registry(running.world.settings)
    assert version() == "nextbest-rfm/1"
    model = registry.load("rfm")
    frame = pd.DataFrame({"a": [1.0]})
    run = Run(job="rfm", now=running.world.now, params={}, metrics={}, tags={}, example=(frame, frame))
    registry.promote("rfm", registry.log(run, model).version, "a test", running.world.now)
    _until(lambda: version() == "nextbest-rfm/2")
    registry.rollback("rfm", "a test", running.world.now)
    _until(lambda: version() == "nextbest-rfm/1")


def _until(true: Any, seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.1)


def test_it_will_not_serve_the_world_without_keys(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, host="0.0.0.0")  # noqa: S104
    with pytest.raises(BadInput, match="NEXTBEST_SECRET_KEY"):
        serve(settings)
    with pytest.raises(BadInput, match="NEXTBEST_SECRET_KEY"), start_background(settings, tmp_path / "log"):
        pass


def test_a_service_that_cannot_start_names_its_log_and_leaves_nothing_behind(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        settings = Settings(home=tmp_path, port=taken.getsockname()[1])
        with (
            pytest.raises(NotReady, match=r"service\.log"),
            start_background(settings, tmp_path / "service.log"),
        ):
            pass
    assert not [child for child in psutil.Process().children(recursive=True) if "bentoml" in child.name()]


def test_the_service_reads_the_settings_it_was_given(tmp_path: Path) -> None:
    given = Settings(
        home=tmp_path, secret_key=SecretStr(SECRET), workers=2, unknown_consent="allow", budget_ms=17.5,
        channels={"email": {"cost": 0.5, "weekly_cap": 9}},  # type: ignore[dict-item]
        origins=["https://shop.example/"], trusted_proxies=["10.0.0.0/8"], address_rate=3.5,
    )  # fmt: skip
    read = "from nextbest.settings import Settings; print(Settings().model_dump_json())"
    told = subprocess.run(
        [sys.executable, "-c", read], env=environment(given), cwd=tmp_path, capture_output=True, check=True
    )
    assert json.loads(told.stdout) == json.loads(given.model_dump_json())


def test_workers_end_with_their_supervisor(running: Running) -> None:
    """Last: it ends the service that the others ask."""
    mine = psutil.Process().children(recursive=True)
    (supervisor,) = [p for p in mine if {"bentoml", "serve"} <= {*p.cmdline()}]
    workers = supervisor.children(recursive=True)
    assert workers
    supervisor.kill()
    _until(lambda: not any(worker.is_running() and worker.status() != "zombie" for worker in workers))
