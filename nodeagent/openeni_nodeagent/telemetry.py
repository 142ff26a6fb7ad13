"""What the agent tells of its work: Events on pods and on its Node, and statistics of CNI calls."""

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from openeni_crds.meta import ObjectMeta
from openeni_crds.names import CONTROLLER_AGENT
from openeni_kube.event_series import Reporter
from openeni_kube.events import EventRecorder
from openeni_kube.store import Store
from openeni_nodeagent.attachments.pod_events import PodEvents
from openeni_nodeagent.cluster.watches import Caches
from openeni_nodeagent.cni.call import EndedCall
from openeni_nodeagent.cni.call_statistics import CallStatistics
from openeni_nodeagent.datapath_api import Repair
from openeni_nodeagent.grants.grants import Grants
from openeni_nodeagent.metrics.catalogue import CNI_SECONDS
from openeni_nodeagent.reports.repair_events import RepairEvents

STOP_SECONDS: Final = 1.0  # for queued Events to be written


class Telemetry:
    """Any thread may call everything but `start` and `stop`; nothing waits for the API server."""

    def __init__(self, store: Store, node: str, caches: Caches, grants: Grants) -> None:
        self._node = node
        self._caches = caches
        reporter = Reporter(CONTROLLER_AGENT, node)
        self.events = EventRecorder(store, time.monotonic, lambda: datetime.now(UTC), reporter)
        self.calls = CallStatistics(CNI_SECONDS.buckets)
        self.pod_events = PodEvents(self.events, caches, grants)
        self._repair_events = RepairEvents(self.events, self._node_metadata)

    def start(self) -> None:
        self.events.start()

    def stop(self) -> None:
        self.events.stop(STOP_SECONDS)

    def call_ended(self, call: EndedCall) -> None:
        """Count a call, and report an ADD that failed or does not enforce a limit of bandwidth."""
        self.calls.count(call)
        self.pod_events.note(call)

    def repaired(self, repairs: Sequence[Repair]) -> None:
        """Report what one look has repaired, if others change it again and again."""
        self._repair_events.note(repairs)

    def _node_metadata(self) -> ObjectMeta | None:
        node = self._caches.nodes.get(self._node)
        return None if node is None else node.metadata
