"""The indexes of the cluster state: all are updated together, at each change of an object. Pure."""

from typing import Any, TypeVar

from openeni_crds.eni import ENI
from openeni_crds.enipool import ENIPool
from openeni_crds.podip import PodIP
from openeni_operator.core_objects import Node, WaitingPod
from openeni_operator.index.addresses import AddressIndex
from openeni_operator.index.changes import ChangeLog
from openeni_operator.index.groups import Groups

T = TypeVar("T")


class ClusterIndex:
    """Not safe for several threads: the cluster state locks."""

    def __init__(self) -> None:
        self.enis_by_pool: Groups[ENI] = Groups()
        self.enis_by_node: Groups[ENI] = Groups()
        self.waiting_by_node: Groups[WaitingPod] = Groups()  # those that wait for an address
        self.addresses = AddressIndex()
        self.changes = ChangeLog()
        # By name, for the nodes that a PodIP is about.
        self._nodes_of_enis: dict[str, str] = {}
        self._nodes_of_pods: dict[str, str] = {}
        self._podips: dict[str, PodIP] = {}

    def replace(self, before: Any, after: Any) -> None:
        """Replace an object by its newer version; None if it did not, or does not, exist."""
        self._replace_eni(_of_type(ENI, before), _of_type(ENI, after))
        self._replace_podip(_of_type(PodIP, before), _of_type(PodIP, after))
        self._replace_pod(_of_type(WaitingPod, before), _of_type(WaitingPod, after))
        if before != after:
            self._note(before, after)

    def _replace_eni(self, before: ENI | None, after: ENI | None) -> None:
        self.addresses.replace_eni(before, after)
        if before is not None:
            self.enis_by_pool.discard(before.spec.pool_name, before.name)
            self.enis_by_node.discard(before.spec.node_name, before.name)
            del self._nodes_of_enis[before.name]
        if after is not None:
            self.enis_by_pool.put(after.spec.pool_name, after.name, after)
            self.enis_by_node.put(after.spec.node_name, after.name, after)
            self._nodes_of_enis[after.name] = after.spec.node_name

    def _replace_podip(self, before: PodIP | None, after: PodIP | None) -> None:
        self.addresses.replace_podip(before, after)
        if before is not None:
            del self._podips[before.key]
        if after is not None:
            self._podips[after.key] = after

    def _replace_pod(self, before: WaitingPod | None, after: WaitingPod | None) -> None:
        if before is not None:
            self.waiting_by_node.discard(before.node, before.key)
            del self._nodes_of_pods[before.key]
        if after is not None:
            self._nodes_of_pods[after.key] = after.node
            if after.waits_for_address:
                self.waiting_by_node.put(after.node, after.key, after)

    def _note(self, before: Any, after: Any) -> None:
        """Note the nodes for which the plans of pools may have changed."""
        sides = [side for side in (before, after) if side is not None]
        match sides[-1]:
            case ENIPool():
                # its status is written by its own reconcile
                if len(sides) == 1 or _plan_inputs(before) != _plan_inputs(after):
                    self.changes.note(everything=True)
            case ENI(name=name):
                self.changes.note(nodes=[eni.spec.node_name for eni in sides], eni=name)
            case Node(name=name):
                self.changes.note(nodes=[name])
            case WaitingPod(key=key):
                claim = self._podips.get(key)
                claimed = self._nodes_of(claim) if claim is not None else set[str]()
                self.changes.note(nodes=claimed.union(pod.node for pod in sides))
            case PodIP():
                self.changes.note(nodes=set[str]().union(*map(self._nodes_of, sides)))
            case _:  # the labels of a namespace
                self.changes.note(everything=True)

    def _nodes_of(self, podip: PodIP) -> set[str]:
        """Return the PodIP's node, its pod's, and those that have its addresses."""
        enis = {n for a in podip.spec.addresses for n in self.addresses.enis_with(a)}
        enis.add(podip.spec.eni_name)
        return {
            podip.spec.node_name,
            self._nodes_of_pods.get(podip.key, ""),
            *(self._nodes_of_enis.get(name, "") for name in enis),
        }


def _of_type(type_: type[T], value: Any) -> T | None:
    return value if isinstance(value, type_) else None


def _plan_inputs(pool: ENIPool) -> object:
    return pool.metadata.uid, pool.metadata.deletion_timestamp, pool.spec
