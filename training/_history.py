"""Who was champion when, and why: MLflow keeps no history of its aliases, so each move is a tag of the model.

A tag `history.000007` holds one JSON record; the sequence number orders them whatever the clocks said.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

PREFIX = "history."
WHY_LENGTH = 1000
METRICS_KEPT = 20


@dataclass(frozen=True)
class Move:
    """One move of the alias `champion`."""

    sequence: int
    when: str
    """The moment of the promotion as it was passed in, ISO."""
    action: Literal["promote", "rollback"]
    model: str
    before: str | None
    after: str
    why: str
    by: str
    metrics: dict[str, Any] = field(default_factory=dict)
    """The promoted version's figures on its hold-out."""

    def tag(self) -> tuple[str, str]:
        """Return the tag's key and value, within MLflow's 5,000 characters."""
        kept = dict(list(self.metrics.items())[:METRICS_KEPT])
        record = asdict(self) | {"why": self.why[:WHY_LENGTH], "metrics": kept}
        return f"{PREFIX}{self.sequence:06d}", json.dumps(record, ensure_ascii=False)


def moves(tags: Mapping[str, str]) -> list[Move]:
    """Return the moves among a model's tags, oldest first."""
    return [Move(**json.loads(tags[key])) for key in sorted(tags) if key.startswith(PREFIX)]


def earlier_champions(past: Iterable[Move]) -> list[str]:
    """Return the versions a rollback would go to, nearest first: those not rolled back from."""
    stack: list[str] = []
    for move in past:
        if move.action == "promote":
            stack.append(move.after)
            continue
        while stack and stack[-1] != move.after:
            stack.pop()
    return stack[-2::-1] if len(stack) > 1 else []
