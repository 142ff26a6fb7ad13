"""Record an Event on a pod that gets no address, or not all else that it asks for.

The runtime's own Event repeats an ADD's error once the ADD has failed. These come earlier, when a
pod has waited for some time, and one series is all of a pod's tries that fail for one cause. They
are recorded after an ADD's answer, and a thread of the recorder's writes them: no ADD waits for
either.
"""

import time
from collections.abc import Mapping
from typing import Final

from openeni_crds.meta import ObjectMeta
from openeni_crds.names import PODS
from openeni_kube.event_series import EventType
from openeni_kube.events import Recorder
from openeni_nodeagent.attachments.granter import no_grant
from openeni_nodeagent.cluster.watches import Caches
from openeni_nodeagent.cni.call import EndedCall
from openeni_nodeagent.cni.parsing import cni_arguments
from openeni_nodeagent.cni.protocol import CNIError, Command
from openeni_nodeagent.event_reasons import VARYING, PodReason
from openeni_nodeagent.grants.grants import Grants
from openeni_nodeagent.grants.requests import Wait
from openeni_nodeagent.pod_options import unenforced

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
        """Record why an ADD has failed, or which limit it could not set.

        A failure whose cause is none of the pod's is not recorded.
        """
        if call.command != Command.ADD:
            return
        if call.error is None:
            self._note_unenforced(call.environment)
            return
        arguments = cni_arguments(call.environment)
        pod = ObjectMeta(
            name=arguments.get("K8S_POD_NAME", ""),
            namespace=arguments.get("K8S_POD_NAMESPACE", ""),
            # the runtime's: kubectl looks for a static pod's Events under it, too
            uid=arguments.get("K8S_POD_UID", ""),
        )
        if pod.name and pod.namespace:
            self._record_error(pod, call.error)

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
                enis, podips = self._caches.enis, self._caches.podips
                self._record_error(pod, no_grant(request, pool, enis, podips, self._grants))
        self._noted = long

    def _note_unenforced(self, environment: Mapping[str, str]) -> None:
        """Record which limit the datapath mode of a connected pod does not enforce, if any."""
        grant = self._grants.find(environment["CNI_CONTAINERID"], environment["CNI_IFNAME"])
        if grant is not None and (limit := unenforced(grant.bandwidth, grant.datapath_mode)):
            pod = ObjectMeta(
                name=grant.name, namespace=grant.namespace, uid=grant.attachment.pod_uid
            )
            self._record(pod, PodReason.BANDWIDTH_NOT_LIMITED, limit)

    def _record_error(self, pod: ObjectMeta, error: CNIError) -> None:
        if error.reason is not None:
            note = f"{error.message}: {error.details}".removesuffix(": ")
            self._record(pod, error.reason, note)

    def _record(self, pod: ObjectMeta, reason: PodReason, note: str) -> None:
        self._recorder.record(
            PODS,
            pod,
            EventType.WARNING,
            reason,
            note=note,
            action=ACTION,
            note_varies=reason in VARYING,
        )
