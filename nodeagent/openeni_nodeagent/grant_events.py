"""Pass grants that began, were connected or ended on to what depends on them: status, PodIP, log.

Level-based: a grant's ENI and pod are the key of a work queue, so that a burst is passed on once
for each pod. It is due a moment later, when the ADD has been answered.
"""

from collections.abc import Callable
from typing import Final

from openeni_kube.result import Done, Result
from openeni_nodeagent.datapath_reconciler import SOON_SECONDS
from openeni_nodeagent.grants.grant_log import GrantLog
from openeni_nodeagent.grants.grants import Grants
from openeni_nodeagent.grants.ledger import Grant
from openeni_nodeagent.reports.podip_publisher import key_of
from openeni_nodeagent.requeues import COALESCE_SECONDS, Requeues

ANSWERED_SECONDS: Final = 0.02  # after a grant changed: its ADD has been answered


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

    def note(self, grant: Grant) -> None:
        """Have a grant passed on; wakes one thread."""
        self._queues["grants"].add(f"{grant.eni} {key_of(grant)}", ANSWERED_SECONDS)

    def pass_on(self, key: str) -> Result:
        """Enqueue what depends on the grants of an ENI and a pod."""
        eni, _, podip = key.partition(" ")
        self._note_use(eni)
        self._queues["podips"].add(podip)
        self._queues["eni-status"].add(eni, COALESCE_SECONDS)
        self._queues["grant-log"].add("")
        seconds = self._grants.seconds_to_look()
        if seconds is not None:
            self._requeues.look(max(SOON_SECONDS, seconds))
        return Done()

    def flush(self, _: str) -> Result:
        """Write the log of grants: in a thread of its own, since the log may not be read."""
        self._log.flush()
        return Done()
