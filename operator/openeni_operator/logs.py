"""Logs: one line each on stdout, as `time level logger message key=value ...`.

Whatever the code passes as `extra` becomes key=value; the text of an exception is folded into its
line. Libraries that log headers and bodies are held at WARNING, whatever level is asked for: a
token must not get into a log.
"""

import json
import logging
import sys
import time
from typing import Final

_STANDARD: Final = frozenset(logging.makeLogRecord({}).__dict__) | {
    "message",
    "asctime",
    "taskName",
}
_TALKATIVE: Final = (
    "aiohttp",
    "asyncio",
    "keystoneauth",
    "kopf",
    "kubernetes",
    "openstack",
    "stevedore",
    "urllib3",
)


class Lines(logging.Formatter):
    """Formats one record as one line."""

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802
        return time.strftime(datefmt or "%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))

    def format(self, record: logging.LogRecord) -> str:
        at = self.formatTime(record)
        text = f"{at}.{int(record.msecs):03d}Z {record.levelname} {record.name} "
        text += record.getMessage()
        for key, value in record.__dict__.items():
            if key not in _STANDARD:
                text += f" {key}={_shown(value)}"
        if record.exc_info:
            text += f" exception={_shown(self.formatException(record.exc_info))}"
        return text.replace("\n", " ")


def set_up(level: str) -> None:
    """Send everything to stdout as lines."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(Lines())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    logging.captureWarnings(capture=True)
    logging.getLogger("py.warnings").setLevel(logging.ERROR)  # of libraries, about themselves
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(logging.WARNING)


def _shown(value: object) -> str:
    text = f"{value:.3f}" if isinstance(value, float) else str(value)
    return text if text and not any(c in text for c in ' "=\n') else json.dumps(text)
