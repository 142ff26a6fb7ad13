"""Pass grants that began, were connected or ended on to what depends on them: status, PodIP, log.

All that was noted is passed on together, up to a moment later, when a single ADD has been answered:
in a burst a thread that wakes for each grant takes its time from the ADDs that follow.
"""

from collections import deque
from collections.abc import Callable
from typing import Final

from openeni_kube.result import Done, Result
from openeni_nodeagent.grants.grant import Grant
from openeni_nodeagent.grants.grant_log import GrantLog
from openeni_nodeagent.grants.grants import Grants
from openeni_nodeagent.looks.datapath_reconciler import SOON_SECONDS
from openeni_nodeagent.requeues import COALESCE_SECONDS, Requeues

NOTED: Final = "noted"  # the one key of the queues `grants` and `grant-log`
ANSWERED_SECONDS: Final = 0.02  # after the first that is noted: its ADD has been answered


class GrantEvents:
    """Any thread may call `note`; work queues call the rest."""

    def __init__(
        self,
        grants: Grants,
        log: GrantLog,
        requeues: Requeues,
        note_use: Callable[[str], None],
    ) -> None:
        """`note_use` is called with the ENI of each grant."""
        self._grants = grants
        self._log = log
        self._requeues = requeues
        self._queues = requeues.queues
        self._note_use = note_use
        self._noted: deque[Grant] = deque()

    def note(self, grant: Grant) -> None:
        """Have a grant passed on; wakes one thread, if any."""
        self._noted.append(grant)
        self._queues["grants"].add(NOTED, ANSWERED_SECONDS)

    def pass_on(self, _: str) -> Result:
        """Enqueue what depends on the grants that were noted."""
        while self._noted:
            grant = self._noted[0]
            self._note_use(grant.eni)
            self._queues["podips"].add(grant.pod_key)
            self._queues["eni-status"].add(grant.eni, COALESCE_SECONDS)
            self._noted.popleft()  # not before: what fails is tried again
        self._queues["grant-log"].add(NOTED)
        seconds = self._grants.seconds_to_look()
        if seconds is not None:
            self._requeues.look(max(SOON_SECONDS, seconds))
        return Done()

    def flush(self, _: str) -> Result:
        """Write the log of grants: in a thread of its own, since the log may not be read."""
        self._log.flush()
        return Done()
