"""Log to stdout, one line for each record: `time level logger message key=value ...`.

The fields of `extra` become key=value pairs; a traceback is folded into its record's line.
Libraries that log HTTP headers and bodies stay at WARNING whatever the log level is, so that no
token gets into the log.
"""

import json
import logging
import re
import sys
import time
from typing import Final, TextIO

_STANDARD: Final = frozenset(logging.makeLogRecord({}).__dict__) | {
    "message",
    "asctime",
    "taskName",
}
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")  # a terminal would obey them
_CAPPED_LOGGERS: Final = (
    "aiohttp",
    "asyncio",
    "keystoneauth",
    "kopf",
    "kubernetes",
    "openstack",
    "stevedore",
    "urllib3",
)


class LineFormatter(logging.Formatter):
    """Format a record as one line."""

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802
        return time.strftime(datefmt or "%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))

    def format(self, record: logging.LogRecord) -> str:
        at = self.formatTime(record)
        text = f"{at}.{int(record.msecs):03d}Z {record.levelname} {record.name} "
        text += record.getMessage()
        for key, value in record.__dict__.items():
            if key not in _STANDARD:
                text += f" {key}={_quoted(value)}"
        if record.exc_info:
            text += f" exception={_quoted(self.formatException(record.exc_info))}"
        return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def configure(level: str, stream: TextIO | None = None) -> None:
    """Send all log records to the stream, else to stdout."""
    handler = logging.StreamHandler(stream or sys.stdout)
    handler.setFormatter(LineFormatter())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    logging.captureWarnings(capture=True)
    logging.getLogger("py.warnings").setLevel(logging.ERROR)  # deprecations inside libraries
    for name in _CAPPED_LOGGERS:
        logging.getLogger(name).setLevel(logging.WARNING)


def _quoted(value: object) -> str:
    text = f"{value:.3f}" if isinstance(value, float) else str(value)
    return text if text and not any(c in text for c in ' "=\n') else json.dumps(text)
