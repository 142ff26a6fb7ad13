"""What decides where the addresses of a watched PodIP shall be."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from openeni_crds.eni import ENI
from openeni_crds.enipool import ENIPool
from openeni_crds.podip import PodIP
from openeni_operator.cause import Cause
from openeni_operator.podip.plan import agent_has_seen, is_without_pod


@dataclass(frozen=True)
class Waiter:
    """The pod of the PodIP's name that waits for an address."""

    node: str
    pool: str  # that serves it; "" if none does
    wishes: bool = True  # it keeps its address, or asks for one of the PodIP's by name
    by_name: bool = False


@dataclass(frozen=True)
class PlacementFacts:
    """A watched PodIP, and what decides about it."""

    podip: PodIP
    pool: ENIPool | None
    pool_gone: bool  # or it is being deleted
    enis: Mapping[str, tuple[ENI, ...]]  # by address: those whose port has it
    on_node: tuple[ENI, ...] = ()  # ENIs of the pool on the target node
    current: ENI | None = None  # that in the PodIP's spec
    waiter: Waiter | None = None
    node_gone: bool = False  # the PodIP's node
    node_exists: bool = True
    retained_seconds: float | None = None  # since the condition Retained is True
    rivals: Mapping[str, str] | None = (
        None  # address -> another pod that has it, or claims it first
    )
    refused: Callable[[str, str], Cause | None] = lambda _eni, _address: None

    @property
    def node(self) -> str:
        """The node that shall have the addresses."""
        return self.waiter.node if self.waiter is not None else self.podip.spec.node_name

    @property
    def released(self) -> bool:
        """Return True if no pod has the addresses, by the agent of the node in the present spec.

        It keeps them for the next pod of the name from then on, also those that are still to come.
        """
        return self.node_gone or (is_without_pod(self.podip) and agent_has_seen(self.podip))
