"""Record an Event on a pod that gets no address, with the cause as its reason.

The runtime's own Event repeats an ADD's error once the ADD has failed. These come earlier, when a
pod has waited for some time, and one series is all of a pod's tries that fail for one cause. A
thread of the recorder's writes them: no ADD waits for the API server.
"""

import time
from typing import Final

from openeni_crds.meta import ObjectMeta
from openeni_crds.names import PODS
from openeni_kube.event_series import EventType
from openeni_kube.events import Recorder
from openeni_nodeagent.attachments.granter import no_grant
from openeni_nodeagent.cluster.watches import Caches
from openeni_nodeagent.cni.call import EndedCall
from openeni_nodeagent.cni.protocol import CNIError, Command, cni_arguments
from openeni_nodeagent.event_reasons import VARYING
from openeni_nodeagent.grants.grants import Grants
from openeni_nodeagent.grants.requests import Wait

ACTION: Final = "AssignAddress"
WAIT_SECONDS: Final = 10.0  # an ENI that is on its way has usually come by then
LOOK_SECONDS: Final = 5.0  # between two looks at who waits


class PodEvents:
    """Any thread may call `note`, one calls `note_waits`."""

    def __init__(self, recorder: Recorder, caches: Caches, grants: Grants) -> None:
        self._recorder = recorder
        self._caches = caches
        self._grants = grants
        self._noted = frozenset[Wait]()

    def note(self, call: EndedCall) -> None:
        """Record why an ADD has failed, unless its cause is none of the pod's."""
        if call.command != Command.ADD or call.error is None:
            return
        arguments = cni_arguments(call.environment)
        pod = ObjectMeta(
            name=arguments.get("K8S_POD_NAME", ""),
            namespace=arguments.get("K8S_POD_NAMESPACE", ""),
            # the runtime's: kubectl looks for a static pod's Events under it, too
            uid=arguments.get("K8S_POD_UID", ""),
        )
        if pod.name and pod.namespace:
            self._record(pod, call.error)

    def note_waits(self) -> None:
        """Record, once for each ADD, why it has been waiting for so long."""
        now = time.monotonic()
        long = frozenset(wait for wait in self._grants.waits() if now - wait.since >= WAIT_SECONDS)
        for wait in long - self._noted:
            request = wait.request
            pool = self._caches.pools.get(request.pool)
            if pool is not None:
                pod = ObjectMeta(
                    name=request.name,
                    namespace=request.namespace,
                    uid=request.attachment.pod_uid,
                )
                caches = self._caches
                self._record(pod, no_grant(request, pool, caches.enis, caches.podips, self._grants))
        self._noted = long

    def _record(self, pod: ObjectMeta, error: CNIError) -> None:
        if error.reason is None:
            return
        self._recorder.record(
            PODS,
            pod,
            EventType.WARNING,
            error.reason,
            note=f"{error.message}: {error.details}".removesuffix(": "),
            action=ACTION,
            note_varies=error.reason in VARYING,
        )
