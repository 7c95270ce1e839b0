"""Log lines as JSON: one object a line, with the same keys wherever the same is told."""

import json
import logging
import sys
import time
from typing import Any


class JsonLines(logging.Formatter):
    """time, level, event, and whatever stands in `extra={"data": {...}}`."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line: dict[str, Any] = {
            "time": f"{moment}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "event": record.getMessage(),
        }
        data = getattr(record, "data", None)
        if isinstance(data, dict):
            line |= data
        if record.exc_info:
            line["trace"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def set_up(level: str) -> None:
    """Send everything to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)


def say(level: int, event: str, **data: object) -> None:
    """Log an event with its data."""
    logging.getLogger("overcommitd").log(level, event, extra={"data": data})
