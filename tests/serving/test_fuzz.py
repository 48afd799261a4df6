"""Whatever the OpenAPI document allows and forbids: no fault of ours, no answer that it does not show."""

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis.checks import not_a_server_error
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from features.events.log import EventLog
from features.events.turned_away import TurnedAway
from features.events.writer import Writer
from serving import intake
from serving.web import create_app

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
EXAMPLES = 8
"""Of each operation and mode; `make fuzz` tries for ten minutes."""


@pytest.fixture(scope="module")
def client(
    shop_factory: Any, client_of: Any, engine_of: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Any]:
    folder = tmp_path_factory.mktemp("fuzz")
    log, engine = EventLog(f"sqlite:///{folder / 'events.db'}"), engine_of(shop_factory())
    engine.writer, engine.turned_away = Writer(log.take), TurnedAway(folder / "rejects")
    app = create_app(lambda: engine, more_routes=intake.routes(), more_calls=intake.calls())
    with pytest.MonkeyPatch.context() as patch, client_of(app) as client:
        patch.setattr("serving.endpoints.export", lambda *asked: None)  # it reads real stores
        yield client
    engine.writer.close()
    log.close()


@pytest.mark.parametrize("mode", list(GenerationMode))
def test_every_operation_keeps_to_the_document(client: Any, mode: GenerationMode) -> None:
    document = schemathesis.openapi.from_dict(client.get("/openapi.json").json())
    operations = [result.ok() for result in document.get_all_operations()]
    assert len(operations) >= 25
    for operation in operations:

        @settings(
            max_examples=EXAMPLES, deadline=None, database=None, derandomize=True, phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        @given(case=operation.as_strategy(generation_mode=mode))
        def tried(case: Any) -> None:
            asked = case.as_transport_kwargs(base_url="http://localhost")
            answer = client.request(asked.pop("method"), asked.pop("url"), **_for_httpx(asked))
            case.validate_response(answer, checks=CHECKS)

        with suppress(Unsatisfiable):  # where there is nothing to send, nothing can be sent wrongly
            tried()


def _for_httpx(asked: dict[str, Any]) -> dict[str, Any]:
    """Turn what requests would take into what httpx takes."""
    data, _ = asked.pop("data", None), asked.pop("cookies", None)
    if isinstance(data, bytes | str):
        asked["content"] = data
    return {name: value for name, value in asked.items() if value is not None}
