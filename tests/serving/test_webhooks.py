"""Delivery to a real server on this machine: signed, at least once, in order, until taken or given up."""

import base64
import hashlib
import json
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError
from sqlalchemy import event

from features.events.deliveries import Deliveries
from features.events.log import EventLog
from features.events.triggers import Change, Firing, TriggerLog
from nextbest.settings import Settings, Webhook
from serving.dead_letters import DeadLetters
from serving.launch import environment
from serving.trigger_jobs import gauges, redeliver
from serving.webhooks import Courier, body_of, pause_after, signed

from .conftest import NOW

DOCS = Path(__file__).resolve().parents[2] / "docs" / "triggers.md"
KEY = bytes(range(32))
SECRET = "whsec_" + base64.b64encode(KEY).decode()
HOT = Firing("hot", "false", "true", {"score.points": 51.5})
Message = tuple[dict[str, str], bytes]
Answer = Callable[[BaseHTTPRequestHandler, Message], int | None]


class Receiver(ThreadingHTTPServer):
    """Answers as it is told, 204 otherwise, and keeps what it got."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self) -> None:
        self.got: list[Message] = []
        self.answer: Answer = lambda *_: 204
        self.lock = threading.Lock()
        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/hook"

    def contacts(self) -> list[str]:
        return [json.loads(body)["data"]["contact_id"] for _, body in self.got]


class Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        message = ({name.lower(): value for name, value in self.headers.items()}, body)
        with self.server.lock:
            self.server.got.append(message)
        status = self.server.answer(self, message)
        if status is not None:
            self.send_response(status)
            self.send_header("content-length", "0")
            self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


class Office:
    """Events, couriers and a clock that is moved by hand."""

    def __init__(self, home: Path, urls: Sequence[str], **more: Any) -> None:
        hooks = tuple(Webhook(url=url, secret=SecretStr(SECRET)) for url in urls)
        self.settings = Settings(**{"home": home, "webhooks": hooks, "webhook_attempts": 4, **more})
        self.log = EventLog(self.settings.event_log_url)
        self.triggers = TriggerLog(self.settings.event_log_url)
        self.deliveries = Deliveries(self.triggers.engine)
        self.clock = time.time()
        self.couriers = [self.courier(hook) for hook in hooks]

    def courier(self, hook: Webhook) -> Courier:
        return Courier(hook, self.deliveries, self.settings, lambda: self.clock)

    def fire(self, *contacts: str) -> None:
        keys = [hook.key for hook in self.settings.all_webhooks]
        basis = self.triggers.basis()
        for contact in contacts:
            before = self.triggers.states([contact]).get(contact)
            after = str(int(before or 0) + 1)
            self.triggers.store([Change(contact, before, after, (HOT,))], basis, NOW, keys)

    def later(self, seconds: float) -> int:
        self.clock += seconds
        return sum(courier.once() for courier in self.couriers)

    def close(self) -> None:
        self.triggers.close()
        self.log.close()


@pytest.fixture
def office(tmp_path: Path, receiver: Receiver) -> Iterator[Office]:
    with closing(Office(tmp_path, [receiver.url])) as opened:
        yield opened


def openssl(message: Message, key: bytes = KEY) -> bool:
    """Check a signature without any code of ours."""
    headers, body = message
    signed_ = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    command = ["openssl", "dgst", "-sha256", "-mac", "HMAC", "-macopt", f"hexkey:{key.hex()}", "-binary"]
    digest = subprocess.run(command, input=signed_, capture_output=True, check=True).stdout
    return headers["webhook-signature"] == "v1," + base64.b64encode(digest).decode()


needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")


def test_the_published_vector() -> None:
    """The example of the Standard Webhooks libraries' own tests."""
    hook = Webhook(url="https://x.example", secret=SecretStr("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"))
    headers = signed(hook, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@needs_openssl
def test_an_event_arrives_signed(office: Office, receiver: Receiver) -> None:
    office.fire("a")
    assert office.later(0) == 1
    [(headers, body)] = receiver.got
    [fired] = office.triggers.page()[0]
    assert headers["webhook-id"] == fired["id"]
    assert abs(int(headers["webhook-timestamp"]) - office.clock) < 2
    assert headers["content-type"] == "application/json"
    assert openssl((headers, body))
    assert not openssl((headers, body), b"another key")
    assert not openssl((headers, body + b" "))
    assert json.loads(body) == {
        "type": "trigger.hot", "timestamp": "2026-03-01T00:00:00Z",
        "data": {"position": 1, "id": fired["id"], "contact_id": "a", "rule": "hot", "before": "false",
                 "after": "true", "facts": {"score.points": 51.5}},
    }  # fmt: skip
    assert office.later(999_999) == 0


@needs_openssl
def test_a_plain_secret_is_the_key(tmp_path: Path) -> None:
    hook = Webhook(url="https://x.example", secret=SecretStr("plain"))
    headers = signed(hook, "id", 5, b"{}")
    assert openssl((headers, b"{}"), b"plain")


def _snippet(language: str) -> str:
    text = DOCS.read_text(encoding="utf-8")
    return text.split(f"```{language}\n", 1)[1].split("```", 1)[0]


@pytest.mark.parametrize("language", ["python", "js"])
def test_what_the_docs_verify_with(office: Office, receiver: Receiver, language: str, tmp_path: Path) -> None:
    program = {"python": "python3", "js": "node"}[language]
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed")
    office.fire("ä")
    office.later(0)
    [(headers, body)] = receiver.got
    use = {
        "python": "import json, sys\nheaders, body = json.loads(sys.argv[1]), sys.stdin.buffer.read()\n"
        "print(verify(sys.argv[2], headers, body))",
        "js": "const [headers, secret] = [JSON.parse(process.argv[2]), process.argv[3]]\n"
        'console.log(verify(secret, headers, require("fs").readFileSync(0)))',
    }[language]
    script = tmp_path / ("check.py" if language == "python" else "check.cjs")
    script.write_text(f"{_snippet(language)}\n{use}\n")

    def says(headers: dict[str, str], secret: str, body: bytes) -> str:
        command = [program, str(script), json.dumps(headers), secret]
        return (
            subprocess.run(command, input=body, capture_output=True, check=True)
            .stdout.decode()
            .lower()
            .strip()
        )

    assert says(headers, SECRET, body) == "true"
    assert says(headers, "whsec_" + base64.b64encode(b"x" * 32).decode(), body) == "false"
    assert says(headers, SECRET, body + b" ") == "false"
    old = {**headers, "webhook-timestamp": str(int(headers["webhook-timestamp"]) - 3600)}
    assert says(old, SECRET, body) == "false"


def test_two_failures_then_success_with_the_same_id_and_body(office: Office, receiver: Receiver) -> None:
    statuses = iter([500, 302, 200])
    receiver.answer = lambda *_: next(statuses)
    office.fire("a")
    for seconds, sent in ((0, 1), (1, 0), (4, 1), (4, 0), (16, 1), (999_999, 0)):
        assert office.later(seconds) == sent
    assert len({(headers["webhook-id"], body) for headers, body in receiver.got}) == 1
    assert len({headers["webhook-signature"] for headers, _ in receiver.got}) == 3  # each of its own moment
    assert office.deliveries.counts() == {"delivered": 1, "failed": 2, "dead": 0}


def test_a_redirect_is_not_followed(office: Office, receiver: Receiver) -> None:
    def elsewhere(handler: BaseHTTPRequestHandler, _: Message) -> None:
        handler.send_response(307)
        handler.send_header("location", f"{receiver.url}/other")
        handler.send_header("content-length", "0")
        handler.end_headers()

    receiver.answer = elsewhere
    office.fire("a")
    office.later(0)
    assert len(receiver.got) == 1
    assert office.deliveries.counts()["failed"] == 1


def test_an_endpoint_that_is_gone_gets_no_second_attempt(office: Office, receiver: Receiver) -> None:
    receiver.answer = lambda *_: 410
    office.fire("a")
    office.later(0)
    assert office.later(999_999) == 0
    [line] = DeadLetters(office.settings.dead_letters).lines()
    [fired] = office.triggers.page()[0]
    assert (line["id"], line["status"], line["attempts"], line["host"]) == (fired["id"], 410, 1, "127.0.0.1")
    assert "contact_id" not in line


def test_after_the_last_attempt_it_is_given_up_and_can_be_taken_up_again(
    office: Office, receiver: Receiver
) -> None:
    receiver.answer = lambda *_: 503
    office.fire("a", "b")
    while office.deliveries.waiting([office.settings.webhooks[0].key])[0]:
        office.later(3600)
    assert len(receiver.got) == 8
    assert office.deliveries.counts() == {"delivered": 0, "failed": 8, "dead": 2}
    office.log.erase(["b"])
    DeadLetters(office.settings.dead_letters).add({"id": "trg_x", "endpoint": "of another webhook"})
    receiver.answer = lambda *_: 204
    again = redeliver(office.settings)
    assert (again.again, again.gone, again.kept, again.sent) == (1, 1, 1, 1)
    assert receiver.contacts()[8:] == ["a"]
    assert [line["id"] for line in DeadLetters(office.settings.dead_letters).lines()] == ["trg_x"]
    assert redeliver(office.settings).sent == 0


def test_an_endpoint_that_hangs_is_let_go_of(tmp_path: Path, receiver: Receiver) -> None:
    def dribble(handler: BaseHTTPRequestHandler, _: Message) -> None:
        """Send a byte now and then, so that no single read takes long."""
        end = time.monotonic() + 3
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nx-slow: ")
        while time.monotonic() < end:
            try:
                handler.wfile.write(b"z")
                handler.wfile.flush()
            except OSError:
                return
            time.sleep(0.05)

    receiver.answer = dribble
    with closing(Office(tmp_path, [receiver.url], webhook_timeout_seconds=0.3)) as office:
        office.fire("a")
        begun = time.monotonic()
        assert office.later(0) == 1
        assert time.monotonic() - begun < 2
        assert office.deliveries.counts()["failed"] == 1
        receiver.answer = lambda *_: 204
        assert office.later(5) == 1
        assert office.deliveries.counts()["delivered"] == 1


def test_nobody_there(tmp_path: Path) -> None:
    with closing(Office(tmp_path, ["http://127.0.0.1:9/hook"])) as office:
        office.fire("a")
        assert office.later(0) == 1
        assert office.deliveries.counts()["failed"] == 1


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_retry_after_holds_the_whole_endpoint_back(office: Office, receiver: Receiver, form: str) -> None:
    from email.utils import formatdate

    said = "600" if form == "seconds" else formatdate(office.clock + 600, usegmt=True)

    def busy(handler: BaseHTTPRequestHandler, _: Message) -> None:
        handler.send_response(429)
        handler.send_header("retry-after", said)
        handler.send_header("content-length", "0")
        handler.end_headers()

    receiver.answer = busy
    office.fire("a")
    office.later(0)
    receiver.answer = lambda *_: 204
    office.fire("b")
    assert office.later(590) == 0
    assert office.later(20) == 1
    assert office.later(1) == 1


def test_a_contacts_events_come_in_order_and_hold_up_nobody_else(office: Office, receiver: Receiver) -> None:
    receiver.answer = lambda _, message: 500 if b'"contact_id":"a"' in message[1] else 204
    office.fire("a", "b", "a", "b", "c")
    while office.later(0):
        pass
    assert sorted(receiver.contacts()) == ["a", "b", "b", "c"]
    assert [p for c, p in _places(receiver) if c == "b"] == [2, 4]
    receiver.answer = lambda *_: 204
    office.later(5)
    office.later(0)
    assert [p for c, p in _places(receiver) if c == "a"] == [1, 1, 3]


def _places(receiver: Receiver) -> list[tuple[str, int]]:
    found = [json.loads(body)["data"] for _, body in receiver.got]
    return [(one["contact_id"], one["position"]) for one in found]


def test_an_endpoint_that_is_down_is_asked_now_and_then(tmp_path: Path, receiver: Receiver) -> None:
    receiver.answer = lambda *_: 500
    with closing(Office(tmp_path, [receiver.url], webhook_attempts=10)) as office:
        office.fire(*(f"c{number}" for number in range(50)))
        for _ in range(600):
            office.later(1)
        assert 32 < len(receiver.got) < 42
        receiver.answer = lambda *_: 204
        for _ in range(400):  # the rest is five minutes at most; what was tried often by then waits longer
            office.later(60)
        assert office.deliveries.counts()["delivered"] == 50


def test_an_event_that_is_not_taken_does_not_rest_the_endpoint(office: Office, receiver: Receiver) -> None:
    receiver.answer = lambda _, message: 500 if b'"contact_id":"a"' in message[1] else 204
    office.fire("a")
    for _ in range(3):
        office.later(100)
    office.fire("b")
    assert office.later(0) == 1
    assert receiver.contacts()[-1] == "b"


def test_an_endpoint_that_fails_does_not_cost_another(tmp_path: Path, receiver: Receiver) -> None:
    with closing(Office(tmp_path, ["http://127.0.0.1:9/hook", receiver.url])) as office:
        office.fire("a", "b")
        office.later(0)
        assert sorted(receiver.contacts()) == ["a", "b"]
        assert gauges(office.settings, office.triggers, NOW) == {
            "webhooks_delivered": 2, "webhooks_failed": 2, "webhooks_dead": 0, "webhooks_waiting": 2,
            "webhooks_lag_seconds": 0.0,
        }  # fmt: skip


def test_a_long_answer_is_not_read_to_its_end(office: Office, receiver: Receiver) -> None:
    def long(handler: BaseHTTPRequestHandler, _: Message) -> None:
        handler.send_response(200)
        handler.send_header("content-length", str(10**12))
        handler.end_headers()
        try:
            while True:
                handler.wfile.write(b"z" * 65_536)
        except OSError:
            return

    receiver.answer = long
    office.fire("a")
    assert office.later(0) == 1
    assert office.deliveries.counts()["delivered"] == 1


def test_killed_at_any_statement_every_event_arrives(office: Office, receiver: Receiver) -> None:
    statement, ended = 0, -signal.SIGKILL
    while ended == -signal.SIGKILL:
        office.fire("a", "b")
        ended = _apart(office, statement)
        statement += 1
        office.clock += 3600  # what the dead held is free again
        while office.later(0):
            pass
        assert office.deliveries.waiting([office.settings.webhooks[0].key])[0] == 0
    assert (ended, statement > 4) == (0, True)
    ids = {headers["webhook-id"] for headers, _ in receiver.got}
    assert ids == {one["id"] for one in office.triggers.page(limit=1000)[0]}
    assert len(receiver.got) < 3 * len(ids)


def _apart(office: Office, statements: int) -> int:
    """Deliver in a process that is killed when so many statements or commits were begun."""
    child = os.fork()
    if child == 0:
        try:
            triggers, left = TriggerLog(office.settings.event_log_url), [statements]

            def count(*_: object) -> None:
                left[0] -= 1
                if left[0] < 0:
                    os.kill(os.getpid(), signal.SIGKILL)

            event.listen(triggers.engine, "before_cursor_execute", count)
            event.listen(triggers.engine, "commit", count)
            office.deliveries = Deliveries(triggers.engine)
            while office.courier(office.settings.webhooks[0]).once():
                pass
            os._exit(0)
        finally:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_the_pause_grows_to_half_a_day_and_ten_attempts_take_about_a_day() -> None:
    longest = [pause_after(attempt, lambda: 1.0) for attempt in range(1, 10)]
    assert longest[:3] == [5, 20, 80]
    assert longest[-1] == 43_200
    assert 12 * 3600 < sum(pause_after(attempt, lambda: 0.0) for attempt in range(1, 10)) < 24 * 3600
    assert 24 * 3600 < sum(longest) < 36 * 3600
    assert all(2.5 <= pause_after(1) <= 5 for _ in range(100))


def test_a_torn_line_of_the_dead_letters_costs_no_other(tmp_path: Path) -> None:
    letters = DeadLetters(tmp_path / "deep" / "webhooks.jsonl")
    assert letters.lines() == []
    letters.add({"id": "1"})
    with (tmp_path / "deep" / "webhooks.jsonl").open("a") as file:
        file.write('{"id": "2')
    letters.add({"id": "3"})
    assert letters.lines() == [{"id": "1"}, {"id": "3"}]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"webhook_url": "https://x.example/hook"}, "go together"),
        ({"webhook_url": "file:///etc/passwd", "webhook_secret": "x"}, "no web address"),
        ({"webhook_url": "ftp://x.example", "webhook_secret": "x"}, "no web address"),
        ({"webhook_url": "https://x.example", "webhook_secret": "whsec_!"}, "whsec_ and base64"),
        ({"webhook_url": "https://x.example", "webhook_secret": ""}, "whsec_ and base64"),
        ({"webhooks": [{"url": "https://x.example", "secret": "x"}] * 2}, "each url once"),
    ],
)
def test_settings_that_cannot_be(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Settings(**settings)


def test_settings_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEXTBEST_WEBHOOK_URL", "https://one.example/hook?token=t")
    monkeypatch.setenv("NEXTBEST_WEBHOOK_SECRET", SECRET)
    monkeypatch.setenv("NEXTBEST_WEBHOOKS", '[{"url": "http://two.example", "secret": "plain"}]')
    two, one = Settings().all_webhooks
    assert (one.url, one.secret.get_secret_value()) == ("https://one.example/hook?token=t", SECRET)
    assert two.url == "http://two.example"
    assert one.key == hashlib.sha256(one.url.encode()).hexdigest()[:16]
    assert SECRET not in repr(Settings())
    told = environment(Settings())  # what the service is started with
    assert told["NEXTBEST_WEBHOOK_SECRET"] == SECRET
    assert json.loads(told["NEXTBEST_WEBHOOKS"]) == [{"url": "http://two.example", "secret": "plain"}]


def test_the_body_is_the_same_at_every_attempt() -> None:
    event_ = {"id": "trg_1", "position": 1, "timestamp": NOW, "rule": "hot", "facts": {}}
    assert body_of(event_) == body_of(dict(event_))
