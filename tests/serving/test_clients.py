"""The real clients of Segment and RudderStack send to a running intake; what they sent is in the log."""

import importlib.util
import json
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
import uvicorn
from pydantic import SecretStr

from features.events.log import EventLog
from nextbest.settings import Settings
from serving.intake import create_collector

CLIENTS = Path(__file__).parents[1] / "clients"
KEY = "wr1te"
NODE = [("segment_node.mjs", "@segment/analytics-node"), ("rudder_node.cjs", "@rudderstack/rudder-sdk-node")]
PYTHON = [("segment_python.py", "segment"), ("rudder_python.py", "rudderstack")]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path, write_key=SecretStr(KEY), secret_key=SecretStr("s3cret"))


@pytest.fixture
def address(settings: Settings) -> Iterator[str]:
    """Return where the intake listens, in a thread of this process."""
    app = create_collector(settings, lambda: datetime.now(UTC))
    with closing(socket.socket()) as listening:
        listening.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_level="error"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        while not server.started:
            time.sleep(0.01)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        server.should_exit = True
        thread.join()


def sent_by(script: str, needs: str, address: str) -> None:
    """Run a client's script to its end, or skip where it cannot run."""
    if script.endswith(".py"):
        if importlib.util.find_spec(needs) is None:
            pytest.skip(f"the package {needs} is not installed: pip install -e .[dev]")
        command = [sys.executable, CLIENTS / script, address, KEY]
    else:
        node = shutil.which("node")
        if node is None:
            pytest.skip("there is no node: apt-get install nodejs npm")
        if not (CLIENTS / "node_modules" / needs).is_dir():
            pytest.skip(f"the package {needs} is not installed: npm ci --prefix tests/clients")
        command = [node, CLIENTS / script, address, KEY]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stdout + ran.stderr


@pytest.mark.parametrize(("script", "needs"), [*NODE, *PYTHON])
def test_what_a_client_sends_is_in_the_log(script: str, needs: str, address: str, settings: Settings) -> None:
    sent_by(script, needs, address)
    with closing(EventLog(settings.event_log_url)) as log:
        (person,) = log.people(["ann"])
        assert (person.members, person.visitors) == ({"ann", "old-ann"}, {"v": None, "old-ann": None})
        events = {(event["event"], event["item_id"]): event for event in log.tail(["ann"], 0, ["v"])}
        (contact,) = log.contacts(["ann"]).to_dict("records")
    assert [*events] == [
        ("product_viewed", "p1"), ("order_completed", "p1"), ("order_completed", "p2"), ("page_viewed", None)
    ]  # fmt: skip
    viewed, line, page = (events[key] for key in [*events][:2] + [*events][3:])
    assert (viewed["contact_id"], viewed["anonymous_id"]) == (None, "v")
    assert (line["order_id"], line["price"], line["quantity"], line["currency"]) == ("o1", 2.5, 2.0, "EUR")
    assert abs((line["timestamp"] - line["received_at"]).total_seconds()) < 60
    assert (page["contact_id"], json.loads(page["properties"])["name"]) == ("ann", "Start")
    assert json.loads(contact["traits"]) == {"plan": "gold", "group_id": "club"}
    assert contact["consent_email"] is True
    assert not list(settings.rejects.glob("*.csv"))
