"""The CNI commands: ADD, DEL, CHECK and GC, from request to result.

A warm ADD selects the pod's pool from the caches, makes a grant (one look at the ledger, one record
of the journal), configures the kernel and replies. Nothing of it leaves the node, and two pods wait
for each other only at the ledger's lock. Calls of one container are serialized, so that a DEL never
runs during the container's ADD. An ADD that waits for an address gives up for it: a runtime that
was restarted may send the DEL while an ADD of the process before it still waits.
"""

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import Final

import msgspec

from openeni_crds.names import CNI_NAME
from openeni_kube.clock import boot_seconds
from openeni_nodeagent.attachments.add_result import add_result
from openeni_nodeagent.attachments.container_locks import ContainerLocks
from openeni_nodeagent.attachments.detacher import Detacher, pod_interface
from openeni_nodeagent.attachments.garbage_collection import stale_grants
from openeni_nodeagent.attachments.grant_errors import (
    explain_refusal,
    journal_error_as_cni_error,
    link_not_ready,
    unknown_attachment,
)
from openeni_nodeagent.attachments.granter import Granter, attachment_of
from openeni_nodeagent.cluster.cache import Cache
from openeni_nodeagent.cluster.objects import Pod, pod_with
from openeni_nodeagent.cni.call import Call, require_alive
from openeni_nodeagent.cni.previous_result import differences
from openeni_nodeagent.cni.protocol import CNIError, Code, Command, PrevResult, Request
from openeni_nodeagent.cni.results import encode_result
from openeni_nodeagent.datapath_api import (
    DatapathError,
    KernelRefusedError,
    NamespaceGoneError,
    NICMissingError,
    NodeDatapath,
    PodInterface,
    PodNetwork,
)
from openeni_nodeagent.event_reasons import PodReason
from openeni_nodeagent.grants.grant import Attachment, Grant
from openeni_nodeagent.grants.grant_log import EndReason
from openeni_nodeagent.grants.grants import Grants
from openeni_nodeagent.grants.netns_identity import identify

_NAMED_FAILURES: Final = 8  # of a GC, in its error
_CHECK_WAITS_SECONDS: Final = 1.0  # for another call of its container
_log: Final = logging.getLogger(__name__)


@dataclass(frozen=True)
class CommandDependencies:
    """The caches and callbacks that the commands read."""

    pods: Cache[Pod]
    granter: Granter
    is_link_ready: Callable[[str], bool]  # True if the last look found the ENI as planned
    pods_current: Callable[[], bool]  # True while the cache of pods is synced and up to date
    on_add_failed: Callable[[Attachment], None]  # its datapath may differ from its plan


class CNICommands:
    """Handles every command but VERSION, which the executable answers itself."""

    def __init__(
        self,
        grants: Grants,
        datapath: NodeDatapath,
        locks: ContainerLocks,
        detacher: Detacher,
        dependencies: CommandDependencies,
    ) -> None:
        self._grants = grants
        self._datapath = datapath
        self._locks = locks
        self._detacher = detacher
        self._dependencies = dependencies

    @journal_error_as_cni_error
    def handle(self, call: Call) -> bytes:
        """Return the body of the answer. Raises CNIError, StoppingError."""
        match call.request.command:
            case Command.ADD:
                asked_at = boot_seconds()  # a DEL that comes while it waits for the lock is later
                with self._locked(call):
                    require_alive(call.alive)  # else a DEL may have been queued since
                    return self._add(call, asked_at)
            case Command.DEL:
                request = call.request
                ending = self._locks.ending(request.container_id)
                with ending, self._locked(call), call.stopwatch.phase("datapath"):
                    require_alive(call.alive)  # else it is in the queue, which knows its time
                    self._detacher.delete(request.container_id, request.interface, request.netns)
            case Command.CHECK:
                # The specification has no CHECK during an ADD, which may wait for minutes.
                soon = min(call.deadline, time.monotonic() + _CHECK_WAITS_SECONDS)
                with self._locks.locked(call.request.container_id, soon):
                    self._check(call.request)
            case Command.GC:
                self._gc(call)
            case Command.STATUS:
                pass  # only an older executable asks: any answer means that the agent is there
        return b""

    def _locked(self, call: Call) -> AbstractContextManager[None]:
        return self._locks.locked(call.request.container_id, call.deadline)

    def _add(self, call: Call, asked_at: float) -> bytes:
        request = call.request
        with call.stopwatch.phase("grant"):
            known = self._known_grant(request, asked_at)
            grant = known or self._dependencies.granter.make_grant(
                self._unless_ending(call), asked_at
            )
        try:
            pod_network = self._connect(call, grant, is_new=known is None)
            call.stopwatch.include(pod_network.phases)
            with call.stopwatch.phase("record"):
                self._grants.mark_connected(grant, pod_network)
        finally:
            call.deferred.append(partial(self._grants.notify, grant))
        return encode_result(request.config.cni_version, add_result(request, grant, pod_network))

    def _unless_ending(self, call: Call) -> Call:
        """Return the call as one that is also over once its container is to end."""
        container_id = call.request.container_id
        return msgspec.structs.replace(
            call, alive=lambda: call.alive() and not self._locks.is_ending(container_id)
        )

    def _known_grant(self, request: Request, asked_at: float) -> Grant | None:
        """Return the container's grant from an earlier ADD, with namespace and time of this one.

        The time is recorded once this ADD has succeeded: if it fails, a queued DEL ends the grant.
        """
        known = self._grants.find(request.container_id, request.interface)
        if known is None or known.attachment != attachment_of(request):
            return None
        netns_id = identify(request.netns)
        self._grants.require_free_interface(known.attachment, netns_id)
        there = (known.netns, known.netns_id) == (request.netns, netns_id)
        if netns_id is not None and not there:
            if known.netns_id not in {None, netns_id}:
                self._detacher.move(known)
            known = self._grants.move(known, request.netns, netns_id)
        return msgspec.structs.replace(known, asked_at=asked_at)

    def _connect(self, call: Call, grant: Grant, *, is_new: bool) -> PodNetwork:
        """Build the datapath. Raises CNIError; a new grant ends then, if nothing of it is left.

        A known grant stays, whatever the error: it may be in the kernel since an earlier ADD.
        """
        facts = self._grants.facts_of(grant)
        if facts is None or not self._dependencies.is_link_ready(facts.name):
            if is_new:
                self._grants.end_grant(grant, EndReason.ADD_FAILED, used=False)
            raise link_not_ready(grant.eni)
        pod = pod_interface(grant, facts)
        try:
            pod_network = self._build(pod, grant, call.request.netns, is_new=is_new)
        except CNIError:
            if is_new:
                self._grants.end_grant(grant, EndReason.ADD_FAILED, used=False)
            else:
                self._dependencies.on_add_failed(grant.attachment)
            raise
        except DatapathError as error:
            self._dependencies.on_add_failed(grant.attachment)
            if error.left_behind:
                _log.warning(
                    "%s keeps its grant: what ADD built of it could not be removed from the kernel",
                    ", ".join(grant.addresses),
                )
            elif is_new:
                self._grants.end_grant(grant, EndReason.ADD_FAILED, used=False)
            passes = isinstance(error, NICMissingError) or (
                isinstance(error, NamespaceGoneError) and not is_new
            )
            raise CNIError(
                Code.TRY_AGAIN if passes else Code.IO,
                f"the datapath of {grant.addresses[0]} cannot be built",
                explain_refusal(error, grant.attachment, self._grants.all()),
                reason=_reason(error),
            ) from None
        call.deferred.append(partial(self._finish_add, pod))
        return pod_network

    def _finish_add(self, pod: PodInterface) -> None:
        """Finish the ADD, unless a DEL has come since: another pod may have its addresses."""
        grant = self._grants.find(pod.container_id, pod.interface)
        if grant is not None and grant.addresses == pod.addresses:
            self._datapath.finish_add(pod)

    def _build(self, pod: PodInterface, grant: Grant, netns: str, *, is_new: bool) -> PodNetwork:
        """Build the datapath; where the kernel refuses it, once more without others' links."""
        if is_new:
            self._detacher.finish_before(grant)
        try:
            return self._datapath.add(pod, netns)
        except KernelRefusedError as refusal:
            if refusal.left_behind or not self._detacher.finish_others(grant):
                raise
        return self._datapath.add(pod, netns)

    def _check(self, request: Request) -> None:
        grant = self._grants.find(request.container_id, request.interface)
        if grant is None:
            self._detacher.require_explained(request.container_id)
            raise unknown_attachment(attachment_of(request), self._grants.all())
        facts = self._grants.facts_of(grant)
        if facts is None or not self._dependencies.is_link_ready(facts.name):
            raise link_not_ready(grant.eni)
        pod, previous = pod_interface(grant, facts), request.config.prev_result or PrevResult()
        try:
            expected = add_result(request, grant, self._datapath.network(pod))
            found = (
                *differences(previous, expected),
                *self._datapath.check(pod, request.netns),
            )
        except NamespaceGoneError as error:
            # Not UNKNOWN_CONTAINER: that would say that no DEL is needed.
            raise CNIError(
                Code.UNHEALTHY,
                f"the network namespace of {grant.addresses[0]} is gone; its DEL is still to come",
                str(error),
            ) from None
        except DatapathError as error:
            raise CNIError(Code.IO, str(error)) from None
        if found:
            raise CNIError(
                Code.UNHEALTHY, "the pod's network differs from its plan", "; ".join(found)
            )

    def _gc(self, call: Call) -> None:
        """End the grants that the runtime and the API server no longer know. Raises CNIError.

        One that cannot be ended keeps none of the others. The list is that of one network, and no
        grant says which one it is of: another network's list does not have what ours has. Nor does
        one of a runtime that has given up have the containers that it has started since.
        """
        request = call.request
        if request.config.name != CNI_NAME:
            return
        pods = self._dependencies.pods
        if not self._dependencies.pods_current():
            raise CNIError(Code.TRY_AGAIN, "the agent's list of this node's pods is not up to date")
        failures: list[CNIError] = []
        for grant in stale_grants(
            self._grants.all(),
            request.config.attachments or (),
            lambda grant: pods.get(_pod_of(grant)) is not None,
            boot_seconds(),
        ):
            require_alive(call.alive)
            container_id = grant.attachment.container_id
            _log.warning(
                "GC: ending the grant of container %s, which the runtime lacks", container_id
            )
            try:
                self._detacher.end(grant, EndReason.GARBAGE_COLLECTED)
            except CNIError as error:
                failures.append(error)
        if failures:
            raise _joined(failures)


def _pod_of(grant: Grant) -> str:
    return pod_with(grant.attachment.pod_uid, grant.pod_key)


def _reason(error: DatapathError) -> PodReason | None:
    """Return the reason of the pod's Event; None where its sandbox has ended meanwhile."""
    if isinstance(error, NamespaceGoneError):
        return None
    is_missing = isinstance(error, NICMissingError)
    return PodReason.NO_ENI_READY if is_missing else PodReason.DATAPATH_FAILED


def _joined(failures: Sequence[CNIError]) -> CNIError:
    """Return one error that counts the failures and names the first of them."""
    texts = [f"{error.message}: {error.details}".removesuffix(": ") for error in failures]
    more = len(texts) - _NAMED_FAILURES
    named = texts[:_NAMED_FAILURES] + ([f"and {more} more"] if more > 0 else [])
    return CNIError(
        failures[0].code, f"{len(failures)} grants could not be ended", "; ".join(named)
    )
