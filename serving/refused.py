"""Reading what was asked, and saying what was wrong with it and what would work."""

import re
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any, TypeVar

from pydantic import ValidationError

from serving.schemas import Request


class Refused(Exception):
    """A request that is answered with a problem, and with these headers."""

    def __init__(
        self, status: int, code: str, message: str, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.headers = status, code, message, headers


Parsed = TypeVar("Parsed", bound=Request)


def parse(model: type[Parsed], body: bytes) -> Parsed:
    """Read a request's body. Raises Refused(400) with what is wrong and where."""
    try:
        return model.model_validate_json(body or b"{}")
    except ValidationError as error:
        raise _refusal(model, error) from None


def parse_query(model: type[Parsed], given: Iterable[tuple[str, str]]) -> Parsed:
    """Read the parameters of a query; a key among them is not theirs. Raises Refused(400) as `parse` does."""
    pairs = [(name, value) for name, value in given if name != "writeKey"]
    names = [name for name, _ in pairs]
    if twice := sorted({name[:100] for name in names if names.count(name) > 1}):
        raise Refused(400, "invalid_request", f"each parameter once; given again: {', '.join(twice)}")
    try:
        return model.model_validate(dict(pairs))
    except ValidationError as error:
        raise _refusal(model, error) from None


def _refusal(model: type[Request], error: ValidationError) -> Refused:
    problems = error.errors(include_url=False)
    refused = partial(Refused, 400)
    if problems[0]["type"] == "json_invalid":
        return refused("malformed_json", f"the body is not JSON: {problems[0]['ctx']['error']}")
    said = dict.fromkeys(_say(model, problem) for problem in problems[:5])
    return refused("invalid_request", "; ".join(said))


def _say(model: type[Request], problem: Any) -> str:
    """Put one of pydantic's errors into words that name the field."""
    where = re.sub(r"\.(\d+)", r"[\1]", ".".join(str(part) for part in problem["loc"]))
    if problem["type"] == "extra_forbidden":
        return f"unknown field '{where[:100]}'; known: {', '.join(model.model_fields)}"
    if problem["type"] == "value_error" and not where:  # fields that do not go together
        return str(problem["ctx"]["error"])
    if problem["type"] == "missing":
        return f"'{where}' is needed"
    if problem["type"] in ("model_type", "model_attributes_type"):
        return f"the body is to be a JSON object with: {', '.join(model.model_fields)}"
    said = str(problem["ctx"]["error"]) if problem["type"] == "value_error" else problem["msg"]
    return f"'{where}': {said[:1].lower()}{said[1:]}, not {_shorten(problem['input'])}"


def _shorten(value: object) -> str:
    if isinstance(value, list | dict):
        return f"a {'list' if isinstance(value, list) else 'object'} of {len(value)}"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"
