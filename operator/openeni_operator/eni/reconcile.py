"""Reconcile one ENI: observe, decide on the next step, take it, write the status."""

from dataclasses import dataclass
from typing import Final

from openeni_crds.conditions import Reason, Type, find
from openeni_crds.eni import ENI
from openeni_crds.meta import encode
from openeni_crds.names import ENIS, FINALIZER_ENI, port_name, port_tags
from openeni_kube.result import Blocked, Done, RequeueAfter, Result, Retry
from openeni_kube.store import StoreError
from openeni_operator.cause import Cause
from openeni_operator.cloud import errors
from openeni_operator.cloud.api import Cloud, NewPort
from openeni_operator.eni.lifecycle import (
    AttachPort,
    CreatePort,
    DeletePort,
    DetachPort,
    ForgetPort,
    Ready,
    RemoveFinalizer,
    Step,
    TagPort,
    Wait,
    next_step,
)
from openeni_operator.eni.observe import ENIDependencies, Observation, observe
from openeni_operator.eni.status import current_status, desired_status
from openeni_operator.eni.tracker import PortTracker, start_tracking
from openeni_operator.finalizers import remove_finalizer
from openeni_operator.status_writer import write_status

# The message of libvirt's driver when the guest's bus has no free slot (nova.exception).
NO_SLOT: Final = "Failed to attach network adapter device"
FORGOTTEN_SECONDS: Final = 2.0  # a pause: should the port stay in the status, this is no busy loop
OBSERVE_AGAIN: Final = RequeueAfter(0, "observe the result of the step")


class ENIReconciler:
    """Called with an ENI's name by the work queue, which never runs one key twice at once."""

    def __init__(self, deps: ENIDependencies) -> None:
        self._deps = deps
        self._trackers: dict[str, PortTracker] = {}

    def __call__(self, name: str) -> Result:
        eni = self._deps.state.eni(name)
        if eni is None:
            self._trackers.pop(name, None)
            return Done()
        if FINALIZER_ENI not in eni.metadata.finalizers:
            return Blocked(
                f"the ENI has no finalizer {FINALIZER_ENI}, so its port could leak; restore it"
            )
        tracker = self._trackers.get(name)
        if tracker is None or tracker.uid != eni.metadata.uid:
            tracker = self._trackers[name] = start_tracking(eni, self._deps.clock())
        try:
            return _ENIReconcile(self._deps, eni, tracker).run()
        except StoreError as error:
            return Retry(str(error))


@dataclass(frozen=True)
class _ENIReconcile:
    """One reconcile of one ENI."""

    deps: ENIDependencies
    eni: ENI
    tracker: PortTracker

    def run(self) -> Result:
        observation: Observation | None = None
        try:
            cloud = self.deps.cloud(self.eni.spec.cloud)
            observation = observe(self.deps, cloud, self.eni, self.tracker)
            mismatch = observation.mismatch
            if mismatch is not None:
                self._write_status(observation, mismatch)
                return RequeueAfter(errors.RETRY_SLOWLY, mismatch.message)
            step = next_step(observation.facts)
            result = self._take_local_step(observation, step)
            return result or self._take_cloud_step(cloud, observation, step)
        except errors.CloudError as error:
            self._write_status(observation, cause_of(error))
            return Retry(error.message, error.retry_after)

    def _take_local_step(self, observation: Observation, step: Step) -> Result | None:
        """Take a step that changes nothing in the cloud; return None for any other."""
        match step:
            case Ready():
                self._write_status(observation, None)
                return Done()
            case RemoveFinalizer():
                remove_finalizer(self.deps.store, ENIS, self.eni.metadata, FINALIZER_ENI)
                return Done()
            case Wait(reason, message, after):
                failure = self.tracker.attach_failure if reason is Reason.ATTACH_UNKNOWN else None
                self._write_status(observation, failure or Cause(reason, message))
                return RequeueAfter(after, message)
            case ForgetPort():
                cause = Cause(Reason.PORT_LOST, "the port was lost; creating another")
                self._write_status(Observation(observation.facts, None), cause)
                self.deps.port_lost(self.eni.spec.node_name)
                return RequeueAfter(FORGOTTEN_SECONDS, cause.message)
            case _:
                return None

    def _take_cloud_step(self, cloud: Cloud, observation: Observation, step: Step) -> Result:
        """Make exactly one changing call to the cloud."""
        match step:
            case CreatePort():
                self._check_server(cloud)
                self._record_attempt(observation)
                self._create(cloud)
            case TagPort(port):
                cloud.tag_port(port, port_tags(self.deps.cluster_id, self.eni.metadata.uid))
            case DeletePort(port):
                cloud.delete_port(port)
                self.tracker.deleted_port = port
            case AttachPort(port):
                self._attach(cloud, port)
            case DetachPort(port):
                self._detach(cloud, port)
            case _:
                raise AssertionError(step)
        return OBSERVE_AGAIN

    def _record_attempt(self, observation: Observation) -> None:
        """Write PortReady before the first POST, so that a restart knows one may have been sent."""
        if find(self.eni.status.conditions, Type.PORT_READY) is None:
            self._write_status(observation, None)

    def _create(self, cloud: Cloud) -> None:
        spec = self.eni.spec
        wanted = NewPort(
            name=port_name(self.deps.cluster_id, self.eni.metadata.uid),
            network_id=spec.network_id,
            subnet_ids=spec.subnet_ids,
            count=spec.address_count + 1,  # and the primary address
            security_group_ids=spec.security_group_ids,
            tags=port_tags(self.deps.cluster_id, self.eni.metadata.uid),
        )
        self.tracker.create_requested = self.deps.clock()
        try:
            cloud.create_port(wanted)
        except errors.OutcomeUnknownError:
            raise
        except errors.QuotaExceededError as error:
            self.tracker.create_requested = None
            raise errors.QuotaExceededError(error.message + quota_hint(cloud)) from None
        except Exception:
            self.tracker.create_requested = None  # rejected, or not sent: nothing to await
            raise

    def _check_server(self, cloud: Cloud) -> None:
        """Raise ServerNotFoundError rather than create a port for no server."""
        spec = self.eni.spec
        if not cloud.server_exists(spec.server_id):
            raise ServerNotFoundError(
                f"cloud {spec.cloud!r}: server {spec.server_id} of node {spec.node_name} is not in "
                "this project or region; correct the pool's spec.cloud or its credentials"
            )

    def _attach(self, cloud: Cloud, port: str) -> None:
        self.tracker.attach_requested = self.deps.clock()
        try:
            cloud.attach(self.eni.spec.server_id, port)
        except errors.OutcomeUnknownError as error:
            self.tracker.attach_failure = cause_of(error)
            raise
        except Exception:
            self.tracker.attach_requested = None  # rejected, or not sent: no outcome to await
            raise

    def _detach(self, cloud: Cloud, port: str) -> None:
        self.tracker.detach_requested, self.tracker.detaching_port = self.deps.clock(), port
        try:
            cloud.detach(self.eni.spec.server_id, port)
        except errors.OutcomeUnknownError:
            raise
        except Exception:
            self.tracker.detach_requested = None
            raise

    def _write_status(self, observation: Observation | None, cause: Cause | None) -> None:
        """Write the status if it has changed."""
        observed = observation.observed_port if observation else None
        desired = desired_status(self.eni, observed, cause, self.deps.now())
        if desired != current_status(self.eni):
            metadata, status = self.eni.metadata, encode(desired)
            write_status(self.deps.store, self.deps.state, ENIS, metadata, status)


class ServerNotFoundError(errors.ResourceNotFoundError):
    """The node's server is not in the project and region of the credentials."""

    reason = Reason.SERVER_NOT_FOUND
    retry_after = errors.RETRY_SLOWLY


def quota_hint(cloud: Cloud) -> str:
    """Return the port quota as the end of a message; "" if the cloud does not return it."""
    try:
        limit = cloud.port_quota()
    except errors.CloudError:
        return ""
    return f" (the project's port quota is {limit})" if limit >= 0 else ""


def cause_of(error: errors.CloudError) -> Cause:
    """Return the cause that a cloud error is for the ENI's conditions."""
    if NO_SLOT in error.message:
        return Cause(
            Reason.NO_HOTPLUG_SLOT,
            f"{error.message}: the server may have no slot for another NIC; lower "
            "spec.capacity.maxENIsPerNode of the pool, or give the flavor more slots",
        )
    return Cause(error.reason, error.message)
