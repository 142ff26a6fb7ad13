"""Detach containers: remove the datapath of a grant, then end the grant.

A grant whose datapath could not be removed stays, for the runtime's next DEL or the repair.
"""

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from openeni_crds.names import host_link
from openeni_kube.result import Done, RequeueAfter, Result, Retry
from openeni_nodeagent.attachments.container_locks import ContainerLocks
from openeni_nodeagent.attachments.grant_errors import journal_error_as_cni_error
from openeni_nodeagent.attachments.unfinished import Unfinished, namespace_of
from openeni_nodeagent.cni.call import StoppingError
from openeni_nodeagent.cni.protocol import CNIError, Code
from openeni_nodeagent.datapath_api import (
    DatapathError,
    ENIFacts,
    NodeDatapath,
    PodInterface,
)
from openeni_nodeagent.grants.grant import Grant
from openeni_nodeagent.grants.grant_log import EndReason
from openeni_nodeagent.grants.grants import Grants
from openeni_nodeagent.grants.netns_identity import identify, leads_to_pod

BUSY_SECONDS: Final = 0.1  # another call of the container still runs
# For an ADD that has its own container's lock: two that wait for each other must end.
OTHER_CALL_SECONDS: Final = 2.0


class Detacher:
    """Safe for several threads. `delete` and `move` need the container's lock held.

    The others take it, `finish_before` and `finish_others` those of other containers.
    """

    def __init__(
        self,
        grants: Grants,
        datapath: NodeDatapath,
        locks: ContainerLocks,
        *,
        repaired: Callable[[], bool],
        on_disconnected: Callable[[str], None],
    ) -> None:
        """`repaired` returns True once journal, kernel and PodIPs have been compared.

        `on_disconnected` is called with a key for `finish`.
        """
        self._grants = grants
        self._datapath = datapath
        self._locks = locks
        self._repaired = repaired
        self._on_disconnected = on_disconnected
        self._unfinished: dict[str, Unfinished] = {}  # changed with the container's lock alone

    def delete(self, container_id: str, interface: str, netns: str) -> None:
        """End a container's grant; done if it has none. Raises CNIError."""
        grant = self._grants.find(container_id, interface)
        if grant is None:
            self.require_explained(container_id)
            return
        self._end(grant, netns, EndReason.DELETED)

    @journal_error_as_cni_error
    def replay(self, container_id: str, interface: str, netns: str, queued: float) -> None:
        """Run a DEL that the executable queued at `queued` (boot clock) while no agent answered.

        A grant whose last ADD came later is kept. Raises CNIError.
        """
        with self._locks.locked(container_id):
            grant = self._grants.find(container_id, interface)
            if grant is None or (grant.asked_at or grant.at) <= queued:
                known = grant is not None and leads_to_pod(netns, grant)
                self.delete(container_id, interface, netns if known else "")

    @journal_error_as_cni_error
    def end(self, grant: Grant, reason: EndReason) -> None:
        """End this grant, unless it has changed meanwhile. Raises CNIError."""
        with self._locks.locked(grant.attachment.container_id):
            if self._grants.find(*grant.key) == grant:
                self._end(grant, "", reason)

    def _end(self, grant: Grant, netns: str, reason: EndReason) -> None:
        self._disconnect(grant, netns)
        self._grants.end_grant(grant, reason)

    def move(self, grant: Grant) -> None:
        """Remove all of a grant's datapath: its container gets another namespace. Raises CNIError.

        Two slaves on one NIC cannot have one address, so nothing of it is left for later.
        """
        if (facts := self._grants.facts_of(grant)) is None:
            return
        pod = pod_interface(grant, facts)
        try:
            self._datapath.delete(pod)
            self._remove(pod, namespace_of(grant, ""))
        except DatapathError as error:
            raise _cannot_remove(grant, error) from None

    def _disconnect(self, grant: Grant, netns: str) -> None:
        """Remove the host's part of a grant's datapath; the links go later. Raises CNIError."""
        facts = self._grants.facts_of(grant)
        if facts is None:  # a look at the node finds what is left
            return
        try:
            left = Unfinished.of(grant, facts, netns)  # first: a runtime may not wait for the rest
        except OSError as error:
            raise _cannot_remove(grant, error) from None
        try:
            self._datapath.delete(pod_interface(grant, facts))
        except DatapathError as error:
            left.close()
            raise _cannot_remove(grant, error) from None
        key = _key(grant)
        self._forget(key)
        self._unfinished[key] = left
        self._on_disconnected(key)

    def finish(self, key: str) -> Result:
        """Remove the links of a container whose grant has ended, unless it has one again.

        The runtime usually removes the namespace, and the links with it, after its DEL.
        """
        if (found := self._unfinished.get(key)) is None:
            return Done()
        container_id = found.grant.attachment.container_id
        try:
            with self._locks.locked(container_id):
                self._finish(key)
        except StoppingError:
            return Done()
        except CNIError:
            return RequeueAfter(BUSY_SECONDS)
        except DatapathError as error:
            return Retry(f"links of container {container_id} cannot be removed: {error}")
        return Done()

    def finish_before(self, grant: Grant) -> None:
        """Remove the links that would be in the way of a new grant's, before they are built.

        That is what its attachment has left, wherever, what others have left in its namespace, and
        what has one of its addresses: a pod's next sandbox gets a kept one before any look. The
        caller has the lock of the grant's container. Raises CNIError, StoppingError.
        """
        if (own := self._unfinished.get(_key(grant))) is not None:
            try:
                self._remove_links(own)
            except DatapathError as error:
                raise _cannot_remove(own.grant, error) from None
            self._forget(_key(grant))
        for left in tuple(self._unfinished.values()):
            if left.is_beside(grant) or left.shares_address(grant):
                self._finish_other(left.grant, grant)

    def finish_others(self, grant: Grant) -> bool:
        """Remove the links that other attachments have left in the namespace of a grant.

        An interface of the same name would be in its way. No path may lead to it any more. Returns
        False if nothing is left. The caller has the lock of the grant's container. Raises CNIError,
        StoppingError.
        """
        if grant.netns_id is None:
            return False
        others = [
            left.grant
            for key, left in tuple(self._unfinished.items())
            if left.grant.netns_id == grant.netns_id and key != _key(grant)
        ]
        for left in others:
            self._finish_other(left, grant)
        return bool(others)

    def _finish_other(self, left: Grant, grant: Grant) -> None:
        """Do the work of `finish` for the sake of another grant. Raises CNIError, StoppingError."""
        container_id = left.attachment.container_id
        try:
            if container_id == grant.attachment.container_id:
                self._finish(_key(left))
            else:
                with self._locks.locked(container_id, time.monotonic() + OTHER_CALL_SECONDS):
                    self._finish(_key(left))
        except DatapathError as error:
            raise _cannot_remove(left, error) from None

    def _finish(self, key: str) -> None:
        """Remove what is left, unless the attachment has a grant. Raises DatapathError."""
        if (found := self._unfinished.get(key)) is None:
            return
        if self._grants.find(*found.grant.key) is None:
            self._remove_links(found)
        self._forget(key)

    def _remove_links(self, left: Unfinished) -> None:
        self._remove(pod_interface(left.grant, left.facts), left.path)

    def _remove(self, pod: PodInterface, netns: str) -> None:
        """Remove a pod's links, but not what else has a grant of their ENI in their namespace.

        Of grants whose namespace is not known, those of its container alone are there: others may
        have left their addresses to the pod.
        """
        there = identify(netns)

        def is_there(grant: Grant) -> bool:
            if grant.netns_id is None:
                return grant.attachment.container_id == pod.container_id
            return grant.netns_id == there

        beside = filter(is_there, self._grants.all())
        of_eni = (g for g in beside if (f := self._grants.facts_of(g)) and f.mac == pod.eni.mac)
        kept = {address for grant in of_eni for address in grant.addresses}
        self._datapath.finish_delete(pod, netns, kept.difference(pod.addresses))

    def _forget(self, key: str) -> None:
        if (left := self._unfinished.pop(key, None)) is not None:
            left.close()

    def stop(self) -> None:
        """Hold no namespace any longer; what a call still works at ends with the process."""
        for key, left in tuple(self._unfinished.items()):
            with (
                suppress(CNIError, StoppingError),
                self._locks.locked(left.grant.attachment.container_id),
            ):
                self._forget(key)

    def unfinished_links(self) -> frozenset[str]:
        """Return the names of the links on the node that `finish` has still to remove."""
        return frozenset(host_link(*left.grant.key) for left in tuple(self._unfinished.values()))

    def require_explained(self, container_id: str) -> None:
        """Raise CNIError while a repair may still find a grant for a container without one.

        This concerns the time after a journal was lost. UNKNOWN_CONTAINER would be wrong then: it
        tells the runtime that no DEL is needed.
        """
        unexplained = self._grants.unexplained()
        if unexplained and not self._repaired():
            raise CNIError(
                Code.TRY_AGAIN,
                f"it is not known yet if container {container_id} has an address",
                f"in the kernel without a grant: {', '.join(sorted(unexplained))}",
            )


def _key(grant: Grant) -> str:
    return "/".join(grant.key)


def _cannot_remove(grant: Grant, error: DatapathError | OSError) -> CNIError:
    return CNIError(Code.IO, f"the datapath of {grant.addresses[0]} cannot be removed", str(error))


def pod_interface(grant: Grant, eni: ENIFacts) -> PodInterface:
    """Return what the datapath needs to know of a grant."""
    attachment = grant.attachment
    return PodInterface(
        attachment.pod_uid,
        attachment.container_id,
        attachment.interface,
        grant.addresses,
        grant.mtu,
        eni,
        grant.host_ports,
        grant.bandwidth,
    )
