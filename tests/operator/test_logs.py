"""One record is one line, and nothing in it reaches a terminal as a command."""

import logging

import pytest

from openeni_operator.process.logs import LineFormatter


@pytest.mark.parametrize(
    "text", ["two\nlines", "\x1b]0;title\x07", "back\rforth", "\x9b2J", "tab\there", "\x00"]
)
def test_control_characters_are_escaped(text: str) -> None:
    record = logging.LogRecord("openeni", logging.INFO, __file__, 1, "%s", (text,), None)
    record.key = text
    assert LineFormatter().format(record).isprintable()
