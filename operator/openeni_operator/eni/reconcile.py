"""Reconcile one ENI: observe, decide on the next step, take it, write the status."""

from dataclasses import dataclass, replace
from typing import Final

from openeni_crds.conditions import Reason, Type, find
from openeni_crds.eni import ENI
from openeni_crds.meta import encode
from openeni_crds.names import ENIS, FINALIZER_ENI
from openeni_crds.status.eni import PortStatus
from openeni_kube.result import Done, RequeueAfter, Result, Retry
from openeni_kube.store import ConflictError, StoreError
from openeni_operator.cause import Cause
from openeni_operator.cloud import errors
from openeni_operator.cloud.api import Cloud
from openeni_operator.cloud.call_limiter import NotYetError
from openeni_operator.eni.lifecycle import next_step
from openeni_operator.eni.observe import ENIDependencies, Observation, observe
from openeni_operator.eni.port_calls import PortCalls, cause_of
from openeni_operator.eni.port_settings import applied_settings
from openeni_operator.eni.port_status import is_recorded, mark_releasing
from openeni_operator.eni.resize import NO_RESIZE
from openeni_operator.eni.safeguards import resize_was_refused, until_resize
from openeni_operator.eni.status import current_status, desired_status, is_port_deleted
from openeni_operator.eni.steps import (
    AddAddresses,
    AddClaimedAddress,
    AttachPort,
    CreatePort,
    DeletePort,
    DetachPort,
    ForgetPort,
    Ready,
    ReleaseAddresses,
    RemoveFinalizer,
    SetQoSPolicy,
    Step,
    TagPort,
    UntagPort,
    Wait,
)
from openeni_operator.eni.tracker import PortAnswer, PortTracker, start_tracking
from openeni_operator.objects.finalizers import add_finalizer, remove_finalizer
from openeni_operator.objects.status_writer import CHANGED_SECONDS, write_status
from openeni_operator.process.transitions import record_transitions

FORGOTTEN_SECONDS: Final = 2.0  # a pause: should the port stay in the status, this is no busy loop
MAX_REPEAT_SECONDS: Final = 300.0  # between steps that are done and do not show
CERTAIN_REPEATS: Final = 3  # of a step: what does not show by then is not just late
BRIEF_SECONDS: Final = 10.0  # a shorter wait is not worth the write that reports it
ATTACH_SECONDS: Final = 1.0  # that an attached port takes to become ACTIVE, at least


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
        tracker = self._trackers.get(name)
        if tracker is None or tracker.uid != eni.metadata.uid:
            tracker = self._trackers[name] = start_tracking(eni, self._deps.clock())
            tracker.known_absent = self._deps.created.take(eni.metadata.uid)
        try:
            if FINALIZER_ENI not in eni.metadata.finalizers and not eni.metadata.deleting:
                return self._restore_finalizer(eni)
            return _ENIReconcile(self._deps, eni, tracker).run()
        except ConflictError:
            return RequeueAfter(CHANGED_SECONDS, "it has changed meanwhile")
        except StoreError as error:
            return Retry(str(error))

    def _restore_finalizer(self, eni: ENI) -> Result:
        """Restore what somebody has removed: without it the ENI's port would outlive the ENI."""
        body = add_finalizer(self._deps.store, ENIS, eni.metadata, FINALIZER_ENI)
        self._deps.state.put(ENIS, body, only_update=True)
        return RequeueAfter(0, "its finalizer was restored")


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
            if observation.fault is not None and not observation.facts.ports:
                self._write_status(observation, None)  # it is not known which port is the ENI's
                return RequeueAfter(errors.RETRY_SLOWLY, observation.fault.message)
            if observation.facts.resize == NO_RESIZE:
                self.tracker.end_resize()
            step = next_step(observation.facts)
            self.tracker.note_next(step)
            result = self._take_local_step(cloud, observation, step)
            return result or self._take_cloud_step(cloud, observation, step)
        except errors.CloudError as error:
            self._write_status(observation, cause_of(error, self.tracker.attach_refusals))
            return Retry(error.message, error.retry_after)
        except NotYetError as error:
            if observation is not None and error.seconds >= BRIEF_SECONDS:
                self._write_status(observation, Cause(Reason.THROTTLED, error.reason))
            return RequeueAfter(error.seconds, error.reason)

    def _take_local_step(self, cloud: Cloud, observation: Observation, step: Step) -> Result | None:
        """Take a step that changes nothing in the cloud; return None for any other."""
        match step:
            case Ready():
                self._write_status(observation, None)
                self.tracker.last_step, self.tracker.repeated = None, 0
                fault = observation.fault
                if fault is not None:
                    return RequeueAfter(errors.RETRY_SLOWLY, fault.message)
                until = until_resize(observation.facts)
                return RequeueAfter(*until) if until else Done()
            case RemoveFinalizer():
                remove_finalizer(self.deps.store, ENIS, self.eni.metadata, FINALIZER_ENI)
                return Done()
            case Wait(reason, message, after):
                failure = self.tracker.attach_failure if reason is Reason.ATTACH_UNKNOWN else None
                if not self._is_brief(observation, step):
                    self._write_status(observation, failure or Cause(reason, message))
                if reason is Reason.WAITING_FOR_NIC:
                    self._keep_look(cloud, observation)
                self.tracker.last_step = None
                return RequeueAfter(after, message)
            case ForgetPort():
                cause = Cause(Reason.PORT_LOST, "the port was lost; creating another")
                self._write_status(Observation(observation.facts, None), cause)
                return RequeueAfter(FORGOTTEN_SECONDS, cause.message)
            case _:
                return None

    def _is_brief(self, observation: Observation, step: Wait) -> bool:
        """Return True if the wait is for what a cloud does within moments, and nothing is new."""
        requested = observation.facts.elapsed.attach_requested
        return (
            step.reason is Reason.WAITING_FOR_ATTACH
            and requested is not None
            and requested < BRIEF_SECONDS
            and is_recorded(self.eni, observation.port)
        )

    def _keep_look(self, cloud: Cloud, observation: Observation) -> None:
        """Keep what was seen of a port that the cloud is done with: the agent's report follows."""
        port, now = observation.facts.port, self.deps.clock()
        if port is not None and self.tracker.answered_port(now, cloud.place) is None:
            self.tracker.answer = PortAnswer(port, now, cloud.place)

    def _take_cloud_step(self, cloud: Cloud, observation: Observation, step: Step) -> Result:
        """Make exactly one changing call to the cloud."""
        pool = self.deps.state.pool(self.eni.spec.pool_name)
        if pool is not None and pool.spec.paused:
            cause = Cause(
                Reason.PAUSED,
                f"spec.paused of ENIPool {pool.name} is true: the operator makes no change in the "
                "cloud; set it to false to continue",
            )
            self._write_status(observation, cause)
            return Done()
        answered = self.tracker.answered_port(self.deps.clock(), cloud.place) is not None
        resizes = isinstance(step, ReleaseAddresses | AddAddresses | AddClaimedAddress)
        if answered and not resizes and not is_recorded(self.eni, observation.port):
            self._write_status(observation, None)  # else a list that lags would hide the port
        if step != self.tracker.last_step:
            answer = self.tracker.answer
            try:
                self._call(cloud, observation, step)
            except errors.CloudError as error:
                hinders = not (resizes or resize_was_refused(observation.facts))
                self.tracker.refuse_step(step, cause_of(error), hinders=hinders)
                raise
            except NotYetError:  # nothing was sent: what was seen still holds
                self.tracker.answer = answer
                if isinstance(step, CreatePort):
                    self.tracker.known_absent = self.deps.clock()
                raise
            self.tracker.last_step = step
            return RequeueAfter(ATTACH_SECONDS if isinstance(step, AttachPort) else 0)
        self.tracker.last_step = None
        self.tracker.repeated += 1
        pause = min(MAX_REPEAT_SECONDS, 2.0 ** min(30, self.tracker.repeated))
        message = f"the cloud accepted {type(step).__name__} and does not show it"
        if self.tracker.repeated >= CERTAIN_REPEATS:
            self.tracker.hindrance = Cause(Reason.UNEXPECTED_RESPONSE, message)
            self._write_status(observation, self.tracker.hindrance)
        return Retry(message, pause)

    def _call(self, cloud: Cloud, observation: Observation, step: Step) -> None:
        """Record what is to be found again after a restart, then make the call."""
        self.tracker.answer = self.tracker.known_absent = None
        calls = PortCalls(self.deps, cloud, self.eni, self.tracker, observation.facts.port)
        match step:
            case CreatePort():
                calls.check_server()
                calls.create(lambda: self._record_attempt(observation))
                return
            case TagPort() | UntagPort() | SetQoSPolicy():
                self._record_attempt(observation)
            case ReleaseAddresses(_, addresses) if observation.port is not None:
                leaving = mark_releasing(observation.port, addresses)
                self._record_resize(replace(observation, port=leaving))
            case AddAddresses() | AddClaimedAddress():
                self._record_resize(observation)
            case DeletePort(port):
                self._record_deletion(observation, port)
            case _:
                pass
        calls.make(step)
        facts = observation.facts
        if len(facts.ports) > 1:
            self.tracker.answer = None  # it is about one of them: look at all
        if isinstance(step, DetachPort) and not self.eni.metadata.deleting:
            detached = replace(facts, elapsed=self.tracker.elapsed(self.deps.clock()))
            self._write_status(replace(observation, facts=detached), None)

    def _record_attempt(self, observation: Observation) -> None:
        """Write what is about to be requested, so that a restart knows that it may have been.

        Before the first POST that is PortReady; before any that gives the port tags or a QoS
        policy, these.
        """
        self.tracker.settings_requested = self.deps.clock()
        status = self.eni.status
        first = find(status.conditions, Type.PORT_READY) is None
        if first or applied_settings(self.eni, None) != status.applied:
            self._write_status(observation, None)

    def _record_resize(self, observation: Observation) -> None:
        """Write the port as it was observed, and which addresses leave it, before it is changed.

        Raises ConflictError if the ENI is not as it was observed: the pool may have withdrawn its
        request, or an address that the ENI was to lose may have come back, to be granted. From then
        on a change of the port's present revision, however late, takes nothing that is granted.
        """
        self._write_status(observation, None, exactly=True)

    def _record_deletion(self, observation: Observation, port: str) -> None:
        """Write it before the DELETE, so that after a restart the missing port is no loss."""
        if port == observation.facts.recorded_port and not is_port_deleted(self.eni):
            going = Cause(Reason.DELETING_PORT, "the port is being deleted")
            self._write_status(replace(observation, fault=going), going)

    def _write_status(
        self, observation: Observation | None, cause: Cause | None, *, exactly: bool = False
    ) -> None:
        """Write the status if it has changed, perhaps for the second time in this reconcile.

        With `exactly`, write it in any case, to the version of the ENI that was observed alone.
        """
        latest = None if exactly else self.deps.state.eni(self.eni.name)
        eni = latest if latest and latest.metadata.uid == self.eni.metadata.uid else self.eni
        observed = observation.observed_port if observation else None
        if observed is not None:
            hindrance, inactive = self.tracker.hindrance, observed.inactive
            paused = cause if cause is not None and cause.reason is Reason.PAUSED else None
            observed = replace(
                observed,
                resize_failure=hindrance or self.tracker.resize_failure,
                # Why an inactive port is not attached anew comes before what it waits for.
                inactive=inactive and (paused or hindrance or inactive),
            )
        desired = desired_status(eni, observed, cause, self.deps.now())
        if desired == current_status(eni) and not exactly:
            return
        before, metadata, status = eni.status, eni.metadata, encode(desired)
        write_status(self.deps.store, self.deps.state, ENIS, metadata, status, exactly=exactly)
        conditions = before.conditions, desired.conditions
        record_transitions(self.deps.recorder, ENIS, metadata, *conditions)
        if concerns_pods(eni, desired.port):
            self.deps.addresses_changed(eni.spec.node_name)


def concerns_pods(eni: ENI, port: PortStatus | None) -> bool:
    """Return True if pods may lose an address with this port, or get back what they had lost."""
    before = eni.status.port
    if before is None:
        # its agent reports on an ENI before it grants an address of it
        return eni.status.node is not None and bool(addresses_of(port))
    has = addresses_of(port)
    gone = addresses_of(before) - has.union(port.releasing if port else ())
    return bool(gone) or not has.isdisjoint(before.lost)


def addresses_of(port: PortStatus | None) -> frozenset[str]:
    """Return the addresses for pods."""
    return frozenset(port.addresses) if port else frozenset()
