"""Count and log what looks have repaired, and tell of it."""

import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final

from openeni_nodeagent.datapath_api import Repair
from openeni_nodeagent.reports.repair_log import RepairLog

_log: Final = logging.getLogger(__name__)


class RepairNotes:
    """The thread that looks calls `note`; any thread may read the counts."""

    def __init__(self, tell: Callable[[Sequence[Repair]], None]) -> None:
        self.counts: Counter[str] = Counter()  # by kind, since the process started
        self._log = RepairLog()
        self._tell = tell

    def note(self, repairs: Sequence[Repair]) -> None:
        """Note what one look has repaired, also if that is nothing."""
        self.counts.update(repair.kind for repair in repairs)
        for line in self._log.lines(repairs, time.monotonic()):
            _log.warning("repaired: %s", line)
        self._tell(repairs)
