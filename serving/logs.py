"""Logs as JSON, a line each: what happened, with the id of the answer it is about, and no contact's id."""

import json
import logging
import sys
from datetime import UTC, datetime

FIELDS = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
"""What every record has; whatever else `extra` put there is written too."""
OURS = "nextbest"


class JsonLines(logging.Formatter):
    """One JSON object a record: time, level, logger, message, the fields of `extra`, and the exception."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **{name: value for name, value in vars(record).items() if name not in FIELDS},
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


def configure(level: str) -> None:
    """Write our logs to stdout as JSON, and give the handlers of other libraries that form."""
    lines = JsonLines()
    for name in ("", "bentoml", "uvicorn", "uvicorn.error"):
        for handler in logging.getLogger(name).handlers:
            handler.setFormatter(lines)
    ours = logging.getLogger(OURS)
    ours.setLevel(level.upper())
    ours.propagate = False
    ours.handlers = [logging.StreamHandler(sys.stdout)]
    ours.handlers[0].setFormatter(lines)
