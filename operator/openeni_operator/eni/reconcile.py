"""One ENI: observe the cloud, ask the rules for the next step, do that one step, say what is so."""

from dataclasses import dataclass
from typing import Final

from openeni_crds.conditions import Reason, Type, find
from openeni_crds.eni import ENI
from openeni_crds.meta import Json, encode
from openeni_crds.names import (
    API_VERSION,
    ENIS,
    FINALIZER_ENI,
    MANAGER_OPERATOR,
    port_name,
    port_tags,
)
from openeni_kube.result import Done, Invalid, RequeueAfter, Result, Retry
from openeni_kube.store import StoreError
from openeni_operator.cloud import errors
from openeni_operator.cloud.api import Cloud, NewPort
from openeni_operator.eni.lifecycle import (
    Attach,
    CreatePort,
    DeletePort,
    Detach,
    Forget,
    Gone,
    Pause,
    Ready,
    Step,
    TagPort,
    next_step,
)
from openeni_operator.eni.memory import Memory, first_sight
from openeni_operator.eni.observe import Sight, World, observe
from openeni_operator.eni.status import Trouble, present_status, wanted_status
from openeni_operator.finalizers import without_finalizer

# What libvirt's driver says when the guest's bus has no slot left (nova.exception).
NO_SLOT: Final = "Failed to attach network adapter device"
LOOK_NOW: Final = RequeueAfter(0, "to see what came of it")


class ENIReconciler:
    """Called by the queue with an ENI's name, never twice at once for the same one."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._memories: dict[str, Memory] = {}

    def __call__(self, name: str) -> Result:
        eni = self._world.mirror.eni(name)
        if eni is None:
            self._memories.pop(name, None)
            return Done()
        if FINALIZER_ENI not in eni.metadata.finalizers:
            return Invalid(f"no finalizer {FINALIZER_ENI}: its port's end would go unseen")
        memory = self._memories.get(name)
        if memory is None or memory.uid != eni.metadata.uid:
            memory = self._memories[name] = first_sight(eni, self._world.clock())
        try:
            return self._turn(_Turn(self._world, eni, memory))
        except StoreError as error:
            return Retry(str(error))

    def _turn(self, turn: "_Turn") -> Result:
        sight: Sight | None = None
        try:
            cloud = self._world.cloud(turn.eni.spec.cloud)
            sight = observe(self._world, cloud, turn.eni, turn.memory)
            if sight.unfit is not None:
                turn.say(sight, sight.unfit)
                return RequeueAfter(errors.SLOW, sight.unfit.message)
            step = next_step(sight.facts)
            return turn.rest(sight, step) or turn.order(cloud, sight, step)
        except errors.CloudError as error:
            turn.say(sight, trouble_of(error))
            return Retry(error.message, error.after)


@dataclass(frozen=True)
class _Turn:
    """One look at one ENI, and what follows from it."""

    world: World
    eni: ENI
    memory: Memory

    def rest(self, sight: Sight, step: Step) -> Result | None:
        """What needs no order to the cloud; None for a step that does."""
        match step:
            case Ready():
                self.say(sight, None)
                return Done()
            case Gone():
                without_finalizer(self.world.store, ENIS, self.eni.metadata, FINALIZER_ENI)
                return Done()
            case Pause(reason, message, after):
                known = self.memory.attach_trouble if reason is Reason.ATTACH_UNKNOWN else None
                self.say(sight, known or Trouble(reason, message))
                return RequeueAfter(after, message)
            case Forget():
                trouble = Trouble(Reason.PORT_LOST, "the port was lost; making another")
                self.say(Sight(sight.facts, None), trouble)
                self.world.lost(self.eni.spec.node_name)
                return LOOK_NOW
            case _:
                return None

    def order(self, cloud: Cloud, sight: Sight, step: Step) -> Result:
        """Exactly one order to the cloud."""
        match step:
            case CreatePort():
                self._see_server(cloud)
                self._announce(sight)
                self._create(cloud)
            case TagPort(port):
                cloud.tag_port(port, port_tags(self.world.cluster_id, self.eni.metadata.uid))
            case DeletePort(port):
                cloud.delete_port(port)
            case Attach(port):
                self._attach(cloud, port)
            case Detach(port):
                self._detach(cloud, port)
            case _:
                raise AssertionError(step)
        return LOOK_NOW

    def _announce(self, sight: Sight) -> None:
        """Before the first POST: who comes after a crash must know that there was one."""
        if find(self.eni.status.conditions, Type.PORT_READY) is None:
            self.say(sight, None)

    def _create(self, cloud: Cloud) -> None:
        spec = self.eni.spec
        wanted = NewPort(
            name=port_name(self.world.cluster_id, self.eni.metadata.uid),
            network_id=spec.network_id,
            subnet_ids=spec.subnet_ids,
            count=spec.address_count + 1,  # and the primary
            security_group_ids=spec.security_group_ids,
            tags=port_tags(self.world.cluster_id, self.eni.metadata.uid),
        )
        try:
            cloud.create_port(wanted)
        except errors.OutcomeUnknownError:
            self.memory.create_unknown = self.world.clock()
            raise
        except errors.QuotaExceededError as error:
            raise errors.QuotaExceededError(error.message + quota_of(cloud)) from None

    def _see_server(self, cloud: Cloud) -> None:
        """No port is made for a server that is not there."""
        spec = self.eni.spec
        try:
            cloud.server(spec.server_id)
        except errors.NotFoundError as error:
            raise ServerNotFoundError(
                f"{error.message}: server {spec.server_id} of node {spec.node_name} is not in "
                "this project or region; correct the pool's spec.cloud or its credentials"
            ) from None

    def _attach(self, cloud: Cloud, port: str) -> None:
        self.memory.attach_asked = self.world.clock()
        try:
            cloud.attach(self.eni.spec.server_id, port)
        except errors.OutcomeUnknownError as error:
            self.memory.attach_trouble = trouble_of(error)
            raise
        except errors.CloudError:
            self.memory.attach_asked = None  # refused: nothing to wait for
            raise

    def _detach(self, cloud: Cloud, port: str) -> None:
        self.memory.detach_asked, self.memory.detaching = self.world.clock(), port
        try:
            cloud.detach(self.eni.spec.server_id, port)
        except errors.OutcomeUnknownError:
            raise
        except errors.CloudError:
            self.memory.detach_asked = None
            raise

    def say(self, sight: Sight | None, trouble: Trouble | None) -> None:
        """Write the status, if it differs from what stands there."""
        seen = sight.seen if sight else None
        wanted = wanted_status(self.eni, seen, trouble, self.world.now())
        if wanted == present_status(self.eni):
            return
        body: Json = {
            "apiVersion": API_VERSION,
            "kind": ENIS.name,
            "metadata": {"name": self.eni.name, "uid": self.eni.metadata.uid},
            "status": encode(wanted),
        }
        written = self.world.store.apply(ENIS, body, manager=MANAGER_OPERATOR, subresource="status")
        self.world.mirror.put(ENIS, written, known=True)


class ServerNotFoundError(errors.NotFoundError):
    """The node's server is not where the credentials lead."""

    reason = Reason.SERVER_NOT_FOUND
    after = errors.SLOW


def quota_of(cloud: Cloud) -> str:
    """The limit as the end of a sentence, "" where the cloud does not tell it."""
    try:
        limit = cloud.port_quota().limit
    except errors.CloudError:
        return ""
    return f" (the project may have {limit})" if limit >= 0 else ""


def trouble_of(error: errors.CloudError) -> Trouble:
    """Say what an error means for the ENI."""
    if NO_SLOT in error.message:
        return Trouble(
            Reason.NO_HOTPLUG_SLOT,
            f"{error.message}: the server may have no slot for another NIC; lower "
            "spec.capacity.maxENIsPerNode of the pool, or give the flavor more slots",
        )
    return Trouble(error.reason, error.message)
