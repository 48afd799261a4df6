"""One OpenAPI 3.1 document for every route, made from the pydantic models."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from serving.access import Right
from serving.schemas import Problem, Request

REF = "#/components/schemas/{model}"
REFUSALS = {
    400: "The request is not what the call takes; the message says what is.",
    401: "No key, or an unknown one.",
    403: "The key does not allow this.",
    413: "The body is too big.",
    415: "The body is encoded otherwise than with gzip.",
    429: "Too many requests; Retry-After says how many seconds to wait.",
}


@dataclass(frozen=True)
class Call:
    """One route as the document shows it and as the web app checks it."""

    method: str
    path: str
    summary: str
    answer: type[BaseModel] | str
    """A model, or the media type of a plain answer."""
    asked: type[Request] | None = None
    right: Right = Right.NONE
    limit: int = 65_536
    """Bytes of the body at most."""
    status: int = 200
    also: tuple[int, ...] = ()
    """Further statuses it answers with a problem."""
    query: type[Request] | None = None
    """What the parameters of the query are read as."""


def document(calls: Sequence[Call], version: str) -> dict[str, Any]:
    """Return the OpenAPI document of these calls."""
    asked = [(call.asked, "validation") for call in calls if call.asked]
    answers = [(call.answer, "serialization") for call in calls if isinstance(call.answer, type)]
    refs, schema = models_json_schema(
        [*dict.fromkeys([*asked, *answers, (Problem, "serialization")])],  # type: ignore[list-item]
        ref_template=REF,
    )
    del refs
    paths: dict[str, dict[str, Any]] = {}
    for call in calls:
        paths.setdefault(_plain(call.path), {})[call.method.lower()] = _operation(call)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "nextbest",
            "version": version,
            "description": "What contacts will buy next, whether they are leaving, and how to reach them.",
        },
        "paths": paths,
        "components": {
            "schemas": schema.get("$defs", {}),
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "basic": {"type": "http", "scheme": "basic", "description": "The key is the user name."},
                "writeKey": {
                    "type": "apiKey",
                    "in": "query",
                    "name": "writeKey",
                    "description": "The write key only.",
                },
            },
        },
    }


def _operation(call: Call) -> dict[str, Any]:
    name = re.sub(r"\W+", "_", f"{call.method.lower()}_{_plain(call.path)}").strip("_")
    operation: dict[str, Any] = {"operationId": name, "summary": call.summary, "responses": _responses(call)}
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", "maxLength": 200}}
        for name in re.findall(r"{(\w+)}", _plain(call.path))
    ]
    parameters += _query(call.query) if call.query else []
    if parameters:
        operation["parameters"] = parameters
    if call.asked:
        operation["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": _ref(call.asked)}},
        }
    if call.right is not Right.NONE:
        operation["security"] = [{"bearer": []}, {"basic": []}]
        if call.right is Right.WRITE:
            operation["security"].append({"writeKey": []})
        operation["description"] = (
            f"Needs the {'secret' if call.right is Right.SECRET else 'write or the secret'} key."
        )
    return operation


def _query(model: type[Request]) -> list[dict[str, Any]]:
    """Return a model's fields as parameters; one that is absent is not sent, so none is null."""
    found = []
    for name, schema in model.model_json_schema()["properties"].items():
        shown = {key: value for key, value in schema.items() if key not in ("title", "anyOf", "default")}
        shown |= next((one for one in schema.get("anyOf", ()) if one != {"type": "null"}), {})
        if schema.get("default") is not None:
            shown["default"] = schema["default"]
        found.append({"name": name, "in": "query", "required": False, "schema": shown})
    return found


def _responses(call: Call) -> dict[str, Any]:
    body = (
        {call.answer: {}}
        if isinstance(call.answer, str)
        else {"application/json": {"schema": _ref(call.answer)}}
    )
    responses: dict[str, Any] = {str(call.status): {"description": "The answer.", "content": body}}
    statuses = list(call.also)
    statuses += [400, 413, 415] if call.asked else []
    statuses += [400] if call.query else []
    statuses += [401, 403, 429] if call.right is not Right.NONE else []
    for status in sorted(set(statuses)):
        problem = {"application/json": {"schema": _ref(Problem)}}
        responses[str(status)] = {
            "description": REFUSALS.get(status, "Not possible now."),
            "content": problem,
        }
    return responses


def _ref(model: type[BaseModel]) -> dict[str, str]:
    return {"$ref": REF.format(model=model.__name__)}


def _plain(path: str) -> str:
    """Return the path as OpenAPI writes it: without Starlette's converters."""
    return re.sub(r"{(\w+):\w+}", r"{\1}", path)
