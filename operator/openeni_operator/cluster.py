"""What the operator reads of Nodes and Pods: few facts, so that heartbeats change nothing."""

from dataclasses import dataclass
from typing import Any, Final

from openeni_crds.enipool import Mode
from openeni_crds.meta import Json
from openeni_crds.names import LABEL_IPVLAN, LABEL_VETH, LABEL_ZONE
from openeni_crds.selection import NodeTraits, PodTraits, server_of

_SUFFIXES: Final = {"": 1, "k": 1000}


@dataclass(frozen=True)
class Node:
    name: str
    labels: dict[str, str]
    server_id: str  # "" for a node that is no OpenStack server
    pods: int  # how many it may run

    @property
    def zone(self) -> str:
        return self.labels.get(LABEL_ZONE, "")

    @property
    def traits(self) -> NodeTraits:
        """Return what decides which pools serve the node."""
        return NodeTraits(self.labels, self.server_id)

    def is_other_than(self, server_id: str) -> bool:
        """Whether it is another server by now; a node that does not say yet may be the same."""
        return self.server_id not in {"", server_id}

    def can(self, mode: Mode) -> bool | None:
        """Whether its kernel has the datapath, as its agent says; None: no agent has said yet."""
        said = self.labels.get(LABEL_VETH if mode is Mode.VETH else LABEL_IPVLAN)
        return None if said is None else said == "true"


@dataclass(frozen=True)
class WaitingPod:
    """A pod that is bound to a node and may still want an address."""

    uid: str
    namespace: str
    node: str
    labels: dict[str, str]
    annotations: dict[str, str]
    wants: bool  # neither hostNetwork nor served nor going

    def traits(self, namespace_labels: dict[str, str]) -> PodTraits:
        """Return what decides the pod's pool."""
        return PodTraits(self.namespace, self.labels, self.annotations, namespace_labels)


def node_of(body: Json) -> Node:
    metadata: Json = body["metadata"]
    allocatable: Json = body.get("status", {}).get("allocatable", {})
    return Node(
        metadata["name"],
        dict(metadata.get("labels") or {}),
        server_of(body.get("spec", {}).get("providerID", "")),
        _count(allocatable.get("pods", "110")),
    )


def pod_of(body: Json) -> WaitingPod:
    metadata: Json = body["metadata"]
    spec: Json = body.get("spec", {})
    status: Json = body.get("status", {})
    return WaitingPod(
        metadata.get("uid", ""),
        metadata.get("namespace", ""),
        spec.get("nodeName", ""),
        dict(metadata.get("labels") or {}),
        dict(metadata.get("annotations") or {}),
        wants=not (
            spec.get("hostNetwork")
            or status.get("podIP")
            or metadata.get("deletionTimestamp")
            or status.get("phase", "Pending") != "Pending"
        ),
    )


def _count(quantity: Any) -> int:
    """A Kubernetes quantity of whole things: "110" or, rarely, "1k"."""
    text = str(quantity)
    number = text.rstrip("k")
    return int(number) * _SUFFIXES[text[len(number) :]] if number.isdigit() else 0
