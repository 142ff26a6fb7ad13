"""Decide which failures of reconciles are worth a line in the log. Pure: see `now`.

In an outage a thousand keys fail in the same way, each again and again. A problem is logged when it
is new for its key, and now and then while it lasts. Of many keys with the same problem a few are
named, and the others counted in one line.
"""

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

K = TypeVar("K", bound=Hashable)

NAMED_KEYS: Final = 3  # with the same problem, within WINDOW_SECONDS
WINDOW_SECONDS: Final = 60.0  # between two lines that count keys with the same problem
REPEAT_SECONDS: Final = 600.0  # of a problem that lasts: the last half hour of a log shows it
MAX_TEXT: Final = 500  # characters


@dataclass(frozen=True)
class _Known:
    """A problem that a key has."""

    text: str  # without what varies
    at: float  # when it was logged, or counted


@dataclass
class _Window(Generic[K]):
    """Keys with problems whose texts differ in names and numbers alone, since `begun`."""

    begun: float
    named: set[K] = field(default_factory=set[K])
    counted: set[K] = field(default_factory=set[K])
    example: str = ""  # a key that was counted, and its text


class ProblemLog(Generic[K]):
    """Remember which problems were logged lately.

    `now` is in seconds on any clock that never goes back.
    """

    def __init__(self) -> None:
        self._known: dict[K, _Known] = {}
        self._windows: dict[str, _Window[K]] = {}  # in the order in which they began

    def text_for(self, key: K, problem: str, now: float) -> str:
        """Return the text to log for this key; "" if the problem is known, or counted."""
        text = _shorten(problem)
        same, known = _mask(text), self._known.get(key)
        if known is not None and known.text == same and now < known.at + REPEAT_SECONDS:
            return ""
        self._known[key] = _Known(same, now)
        window = self._windows.setdefault(same, _Window(now))
        if key in window.named or len(window.named) < NAMED_KEYS:
            window.named.add(key)  # once: a key that fails now and then must not hide the others
            return text
        window.counted.add(key)
        window.example = f"{key}: {text}"
        return ""

    def forget(self, key: K) -> None:
        """Forget the problem of a key that has none any more."""
        self._known.pop(key, None)

    def take_counts(self, now: float) -> list[str]:
        """Return the lines that count keys, for each window that is over, once."""
        lines: list[str] = []
        for problem, window in list(self._windows.items()):
            if now < window.begun + WINDOW_SECONDS:
                break
            del self._windows[problem]
            if window.counted:
                lines.append(
                    f"... and {len(window.counted)} more objects failed in the same way within a "
                    f"minute, such as {window.example}"
                )
        return lines


def _mask(text: str) -> str:
    """Return the text without words that have a digit: IDs, addresses, times, most names."""
    words = text.split()
    return " ".join("*" if any(map(str.isdigit, word)) else word for word in words)


def _shorten(problem: str) -> str:
    """Return a text that may be a megabyte as one that a line can hold."""
    if len(problem) <= MAX_TEXT:
        return problem
    return f"{problem[:MAX_TEXT]}... ({len(problem)} characters)"
