"""Decide which repairs are worth a line in the log.

A flush of routes on a full node is 500 repairs in one look, and a program that fights for a sysctl
is one in each look, several times a second, for as long as it runs. The metric counts them all.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from openeni_nodeagent.datapath_api import Repair

NAMED: Final = 5  # repairs of one kind, in each window
WINDOW_SECONDS: Final = 60.0


@dataclass
class _Window:
    begun: float
    named: int = 0
    counted: int = 0  # not named, nor reported in a line yet
    reported: bool = False  # it has had its line with a count


class RepairLog:
    """Pure: the caller has the clock."""

    def __init__(self) -> None:
        self._windows: dict[str, _Window] = {}  # by kind

    def lines(self, repairs: Sequence[Repair], at: float) -> list[str]:
        """Return what to log of one look's repairs, at a time in seconds that never goes back.

        What is not named is counted, in one line of each window: at once if any is named, else at
        the first look after the window, whatever that repairs.
        """
        texts: dict[str, list[str]] = defaultdict(list)
        for repair in repairs:
            texts[repair.kind].append(repair.text)
        kinds = dict.fromkeys((*texts, *self._windows))
        return [line for kind in kinds for line in self._of_kind(kind, texts[kind], at)]

    def _of_kind(self, kind: str, found: list[str], at: float) -> list[str]:
        window = self._windows.setdefault(kind, _Window(at))
        is_due = at >= window.begun + WINDOW_SECONDS
        if is_due:
            window = self._windows[kind] = _Window(at, counted=window.counted)
            if not found and not window.counted:
                del self._windows[kind]
        named = found[: NAMED - window.named]
        window.named += len(named)
        window.counted += len(found) - len(named)
        if window.reported or not window.counted or not (named or is_due):
            return named
        more, window.counted, window.reported = window.counted, 0, True
        return [*named, f"{more} more of kind {kind}"]
