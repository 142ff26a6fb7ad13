"""The agent's periodic tasks: run queued DELs, compact the journal, note pods that wait for long.

A work queue calls `run` with a task's name; the result says when the task is due again.
"""

import logging
from pathlib import Path
from typing import Final

from openeni_kube.result import RequeueAfter, Result, Retry
from openeni_nodeagent.attachments import del_queue, pod_events
from openeni_nodeagent.attachments.detacher import Detacher
from openeni_nodeagent.attachments.pod_events import PodEvents
from openeni_nodeagent.grants.grants import Grants

DEL_QUEUE: Final = "del-queue"
JOURNAL: Final = "journal"
WAITS: Final = "waits"
COMPACT_SECONDS: Final = 60.0
_log: Final = logging.getLogger(__name__)


class PeriodicTasks:
    """One thread calls `run`."""

    def __init__(
        self, grants: Grants, detacher: Detacher, queue: Path, pod_events: PodEvents
    ) -> None:
        self._grants = grants
        self._pod_events = pod_events
        self._detacher = detacher
        self._queue = queue
        self._tasks = {
            DEL_QUEUE: self._replay,
            JOURNAL: self._compact,
            WAITS: self._note_waits,
        }

    def run(self, name: str) -> Result:
        """Run one task."""
        return self._tasks[name]()

    def _replay(self) -> Result:
        del_queue.replay(self._queue, self._detacher)
        return RequeueAfter(del_queue.REPLAY_PERIOD_SECONDS)

    def _note_waits(self) -> Result:
        self._pod_events.note_waits()
        return RequeueAfter(pod_events.LOOK_SECONDS)

    def _compact(self) -> Result:
        try:
            if self._grants.compact():
                _log.warning("somebody removed or changed the journal: it was written anew")
        except OSError as error:
            return Retry(f"the journal cannot be compacted: {error}")
        return RequeueAfter(COMPACT_SECONDS)
