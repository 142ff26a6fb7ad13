"""Make the calls to the cloud that change an ENI's port, and track what came of them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from openeni_crds.conditions import Reason
from openeni_crds.eni import ENI
from openeni_crds.names import port_name, port_tags
from openeni_crds.status.eni import PortSubnet
from openeni_operator.cause import Cause
from openeni_operator.cloud import errors
from openeni_operator.cloud.api import Cloud, FixedIP, NewPort, Port
from openeni_operator.cloud.call_limiter import NotYetError
from openeni_operator.cloud.unassignable import role_of
from openeni_operator.eni.observe import ENIDependencies
from openeni_operator.eni.resize import is_answered, with_more, without
from openeni_operator.eni.steps import (
    AddAddresses,
    AddClaimedAddress,
    AttachPort,
    ConfirmPort,
    DeletePort,
    DetachPort,
    ReleaseAddresses,
    SetQoSPolicy,
    SetSecurityGroups,
    Step,
    TagPort,
    UntagPort,
)
from openeni_operator.eni.tracker import CERTAIN_REFUSALS, PortAnswer, PortTracker

GATEWAY_SECONDS: Final = 60.0  # for which a subnet is believed to have the gateway that it had
# The message of libvirt's driver when the guest's bus has no free slot (nova.exception).
NO_SLOT: Final = "Failed to attach network adapter device"
PASSING: Final = (errors.ThrottledError, errors.CloudUnreachableError)  # met by every call


class ServerNotFoundError(errors.ResourceNotFoundError):
    """The node's server is not in the project and region of the credentials."""

    reason = Reason.SERVER_NOT_FOUND
    retry_after = errors.RETRY_SLOWLY


@dataclass(frozen=True)
class PortCalls:
    """The calls of one reconcile."""

    deps: ENIDependencies
    cloud: Cloud
    eni: ENI
    tracker: PortTracker
    port: Port | None  # as it was observed

    def make(self, step: Step) -> None:
        """Make the one call of any step but CreatePort. Raises CloudError and NotYetError."""
        match step:
            case DeletePort(port):
                self.cloud.delete_port(port)
                self.tracker.port_deleted(port)
            case AttachPort(port):
                self._attach(port)
            case DetachPort(port):
                self._detach(port)
            case _ if self.port is not None:
                self._change_fixed_ips(self.port, step)
            case _:
                self._change_settings(step)

    def _change_fixed_ips(self, port: Port, step: Step) -> None:
        match step:
            case ConfirmPort():
                self._confirm(port)
            case ReleaseAddresses(_, addresses):
                self._resize(port, without(port, addresses))
            case AddAddresses(_, subnets):
                self._resize(port, with_more(port, subnets))
            case AddClaimedAddress(_, subnet, address):
                self._check_assignable(address)
                self._resize(port, (*port.fixed_ips, FixedIP(subnet, address)), claimed=address)
            case _:
                self._change_settings(step)

    def _change_settings(self, step: Step) -> None:
        match step:
            case TagPort(port, tag):
                self.cloud.tag_port(port, tag)
            case UntagPort(port, tag):
                self.cloud.untag_port(port, tag)
            case SetSecurityGroups():
                self._set_security_groups(step)
            case SetQoSPolicy(port, policy):
                self.cloud.set_qos_policy(port, policy)
            case _:
                raise AssertionError(step)

    def _set_security_groups(self, step: SetSecurityGroups) -> None:
        """Set the groups; if port security is denied, say what the network's owner can run."""
        groups, enable = self.eni.spec.security_group_ids, step.enable_port_security
        try:
            self.cloud.set_security_groups(step.port, groups, enable_port_security=enable)
        except errors.DeniedError as error:
            if not enable:
                raise
            # with the groups: a port that has port security and no group drops everything
            options = " ".join(f"--security-group {group}" for group in groups)
            raise errors.DeniedError(
                f"{error.message}; or have the network's owner or an admin run openstack port set "
                f"--enable-port-security {options} {step.port}"
            ) from None

    def check_server(self) -> None:
        """Raise ServerNotFoundError rather than create a port for no server."""
        spec = self.eni.spec
        if not self.deps.reads.server_was_seen(spec.cloud, self.cloud, spec.server_id):
            raise ServerNotFoundError(
                f"cloud {spec.cloud!r}: server {spec.server_id} of node {spec.node_name} is not in "
                "this project or region; correct the pool's spec.cloud or its credentials"
            )

    def create(self, record: Callable[[], None]) -> None:
        """Create the port; `record` that it is requested as soon as the request may be sent."""
        spec = self.eni.spec
        wanted = NewPort(
            name=port_name(self.deps.cluster_id, self.eni.metadata.uid),
            network_id=spec.network_id,
            subnet_ids=spec.subnet_ids,
            count=spec.address_count + 1,  # and the primary address
            security_group_ids=spec.security_group_ids,
            tags=(*port_tags(self.deps.cluster_id, self.eni.metadata.uid), *spec.port_tags),
            qos_policy_id=spec.qos_policy_id,
        )
        now, place = self.deps.clock(), self.cloud.place
        self.tracker.create_requested, self.tracker.created = now, ""
        try:
            port = self.cloud.create_port(wanted, record)
            self.tracker.port_created(port, now, place)
        except errors.OutcomeUnknownError:
            raise
        except errors.QuotaExceededError as error:
            self.tracker.create_requested = None
            told = errors.QuotaExceededError(error.message + self._quota_hint())
            told.retry_after = error.retry_after
            raise told from None
        except Exception:
            self.tracker.create_requested = None  # rejected, or not sent: nothing to await
            raise

    def _quota_hint(self) -> str:
        """Return the port quota as the end of a message; "" if the cloud does not return it."""
        try:
            limit = self.deps.reads.port_quota(self.eni.spec.cloud, self.cloud).limit
        except (errors.CloudError, NotYetError):
            return ""
        return f" (the project's port quota is {limit})" if limit >= 0 else ""

    def _resize(self, port: Port, wanted: tuple[FixedIP, ...], *, claimed: str = "") -> None:
        """Give the port these fixed IPs, if it is as it was observed; the answer has the new ones.

        Others read the port anew: a failure says nothing about what it has now. The refusal of an
        address that was `claimed` by name does not hold up other changes of addresses.
        """
        tracker, now, place = self.tracker, self.deps.clock(), self.cloud.place
        tracker.resize_requested, tracker.resize_revision = now, port.revision
        try:
            found = self.cloud.set_fixed_ips(port.id, wanted, port.revision)
        except errors.OutcomeUnknownError as error:
            tracker.resize_failure = cause_of(error)
            raise
        except errors.RevisionConflictError as error:
            tracker.conflict_of_resize(cause_of(error))
            raise
        except errors.CloudError as error:
            tracker.resize_requested = None
            if not claimed:
                tracker.refuse_resize(now, cause_of(error))
            elif not isinstance(error, PASSING) and not _blames_another(error, port):
                self.deps.claim_refusals.note(self.eni.name, claimed, cause_of(error))
            raise
        except Exception:
            tracker.resize_requested = None  # not sent
            raise
        tracker.resize_requested = None
        if not is_answered(wanted, found):
            conflict = errors.RevisionConflictError(
                f"port {port.id} has other fixed IPs than were asked for, since somebody else has "
                "changed it at the same time; the operator looks again: if it lasts, find out who"
            )
            tracker.conflict_of_resize(cause_of(conflict))
            raise conflict
        tracker.resize_conflicts = 0
        tracker.answer = PortAnswer(found, now, place)

    def _check_assignable(self, address: str) -> None:
        """Raise ResourceConflictError for the gateway of a subnet, as Neutron has it now.

        ENI.status has the one from when the port was created. A failed read refuses no address: a
        pod that keeps it would lose it.
        """
        spec, since = self.eni.spec, self.deps.clock() - GATEWAY_SECONDS
        found = self.deps.reads.network(spec.cloud, self.cloud, spec.network_id, since)
        subnets = (PortSubnet(s.id, s.cidr, s.gateway) for s in found.subnets.values())
        role = role_of(address, subnets)
        if role:
            refusal = errors.ResourceConflictError(f"{address} is {role}, which no pod gets")
            self.deps.claim_refusals.note(self.eni.name, address, cause_of(refusal))
            raise refusal

    def _confirm(self, port: Port) -> None:
        """Have Neutron compare the port with the newest one, which the answer has.

        Raises StaleReadError if that is newer: then it is waited out again.
        """
        tracker, now, place = self.tracker, self.deps.clock(), self.cloud.place
        try:
            found = self.cloud.set_fixed_ips(port.id, port.fixed_ips, port.revision)
        except errors.OutcomeUnknownError:
            tracker.resize_requested, tracker.resize_revision = now, port.revision
            raise
        except errors.RevisionConflictError:
            tracker.behind_since = now
            raise errors.StaleReadError(
                f"Neutron has shown revision {port.revision} of port {port.id} for long, which is "
                "not its newest: a node of its database is behind; looking again"
            ) from None
        tracker.confirmed_revision, tracker.answer = found.revision, PortAnswer(found, now, place)

    def _attach(self, port: str) -> None:
        self.tracker.attach_requested = self.deps.clock()
        try:
            self.cloud.attach(self.eni.spec.server_id, port)
        except errors.OutcomeUnknownError as error:
            self.tracker.attach_refusals += NO_SLOT in error.message
            self.tracker.attach_failure = cause_of(error, self.tracker.attach_refusals)
            raise
        except Exception:
            self.tracker.attach_requested = None  # rejected, or not sent: no outcome to await
            raise

    def _detach(self, port: str) -> None:
        tracker = self.tracker
        before = tracker.detaches if tracker.detaching_port == port else 0
        tracker.detach_requested, tracker.detaching_port = self.deps.clock(), port
        tracker.detaches = before + 1
        anew, attached_at = not self.eni.metadata.deleting, tracker.attach_requested
        tracker.reattachments += anew
        tracker.attach_requested = None  # it has been seen attached: nothing is to be waited for
        try:
            self.cloud.detach(self.eni.spec.server_id, port)
        except errors.OutcomeUnknownError:
            raise
        except Exception:
            tracker.detach_requested, tracker.detaches = None, before
            tracker.reattachments -= anew
            tracker.attach_requested = attached_at
            raise


def _blames_another(error: errors.CloudError, port: Port) -> bool:
    """Return True if the error names an address that the port had, and lost to another port."""
    words = {word.rstrip(".,") for word in error.message.split()}
    return not words.isdisjoint(fixed.address for fixed in port.fixed_ips)


def cause_of(error: errors.CloudError, attach_refusals: int = 0) -> Cause:
    """Return the cause that a cloud error is for the ENI's conditions.

    Nova's message for a server without a slot has other causes, too: it counts when it comes again.
    """
    if NO_SLOT in error.message and attach_refusals >= CERTAIN_REFUSALS:
        return Cause(
            Reason.NO_HOTPLUG_SLOT,
            f"{error.message}: the server may have no slot for another NIC; lower "
            "spec.capacity.maxENIsPerNode of the pool, or give the flavor more slots",
        )
    return Cause(error.reason, error.message)
