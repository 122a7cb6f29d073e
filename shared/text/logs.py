"""What a service logs: lines for people, or one JSON object a line for programs that gather logs."""

import json
import logging
import os
import sys
from datetime import UTC, datetime
from typing import Any

from shared.text.printable import PrintableFormatter, printable

FORMAT = "WARDROUND_LOG"
"""Environment variable: `json`, or anything else for text; the service's own processes have it too."""

_TEXT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
_QUIET = ("httpx", "uvicorn")  # they log every request, and all nonsense that anybody sends
_ABOUT = "about"


def about(**fields: Any) -> dict[str, dict[str, Any]]:
    """Return, as `extra` of a line of the log, what it is about: of JSON these are keys of their own.

    Args:
        fields: Such as `run`, `site`, `round`, `reason`; those without a value are left out.
    """
    return {_ABOUT: {key: value for key, value in fields.items() if value not in (None, "")}}


def log_to_stderr() -> None:
    """Send what is logged, from INFO on, to standard error, as the environment asks; escaped either way."""
    stream = logging.StreamHandler(sys.stderr)
    stream.setLevel(logging.INFO)  # Flower hands on what it has for its developers, too
    as_json = os.environ.get(FORMAT, "").lower() == "json"
    stream.setFormatter(_JsonFormatter() if as_json else PrintableFormatter(_TEXT))
    logging.basicConfig(handlers=[stream], level=logging.INFO, force=True)
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line of JSON; a traceback is in `traceback`."""
        moment = datetime.fromtimestamp(record.created, UTC)
        line: dict[str, Any] = {
            "time": moment.isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": printable(record.getMessage()),
            **getattr(record, _ABOUT, {}),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)
