"""The fields of Nodes and Pods that the operator uses.

Everything else is dropped, so that a kubelet's heartbeat or another controller's annotation is not
a change.
"""

from dataclasses import dataclass
from typing import Any, Final

from openeni_crds.enipool import Mode
from openeni_crds.meta import Json
from openeni_crds.names import (
    ANNOTATION_ADDRESS,
    ANNOTATION_POOL,
    ANNOTATION_STICKY,
    LABEL_IPVLAN,
    LABEL_VETH,
    LABEL_ZONE,
    TAINT_AGENT_NOT_READY,
)
from openeni_crds.selection import NodeTraits, PodTraits, server_of

_SUFFIXES: Final = {"": 1, "k": 1000}
_ANNOTATIONS: Final = frozenset({ANNOTATION_ADDRESS, ANNOTATION_POOL, ANNOTATION_STICKY})


@dataclass(frozen=True)
class Node:
    name: str
    labels: dict[str, str]
    server_id: str  # "" if the node is not an OpenStack server
    max_pods: int  # status.allocatable.pods
    tainted_since: str = ""  # RFC 3339; "" if it does not have openeni's taint
    cordoned: bool = False

    @property
    def agent_taint(self) -> bool:
        """Return True if it has openeni's taint."""
        return bool(self.tainted_since)

    @property
    def zone(self) -> str:
        return self.labels.get(LABEL_ZONE, "")

    @property
    def traits(self) -> NodeTraits:
        """The properties that decide which pools serve the node."""
        return NodeTraits(self.labels, self.server_id)

    def is_other_server(self, server_id: str) -> bool:
        """Return True if the node's server is known and is not `server_id`.

        A Node without a providerID may still be the same server.
        """
        return self.server_id not in {"", server_id}

    def supports(self, mode: Mode) -> bool | None:
        """Return the agent's report on its kernel's datapath; None before there is a report."""
        label = self.labels.get(LABEL_VETH if mode is Mode.VETH else LABEL_IPVLAN)
        return None if label is None else label == "true"


@dataclass(frozen=True)
class WaitingPod:
    """A pod that is bound to a node and may still need an address."""

    uid: str
    namespace: str
    node: str
    labels: dict[str, str]
    annotations: dict[str, str]  # openeni's own
    waits_for_address: bool  # not hostNetwork, no address yet, not terminating
    name: str = ""

    @property
    def key(self) -> str:
        return f"{self.namespace}/{self.name}"

    def traits(self, namespace_labels: dict[str, str]) -> PodTraits:
        """Return the properties that decide the pod's pool."""
        return PodTraits(self.namespace, self.labels, self.annotations, namespace_labels)


def parse_node(body: Json) -> Node:
    metadata: Json = body["metadata"]
    allocatable: Json = body.get("status", {}).get("allocatable", {})
    return Node(
        metadata["name"],
        dict(metadata.get("labels") or {}),
        server_of(body.get("spec", {}).get("providerID", "")),
        _parse_count(allocatable.get("pods", "110")),
        _tainted_since(body),
        bool(body.get("spec", {}).get("unschedulable")),
    )


def _tainted_since(body: Json) -> str:
    """Return the taint's time, else the Node's: its kubelet registers a new node with the taint."""
    taints: list[Json] = body.get("spec", {}).get("taints") or []
    added = [t.get("timeAdded", "") for t in taints if t["key"] == TAINT_AGENT_NOT_READY]
    if not added:
        return ""
    return added[0] or body["metadata"].get("creationTimestamp") or "unknown"


def parse_pod(body: Json) -> WaitingPod:
    metadata: Json = body["metadata"]
    spec: Json = body.get("spec", {})
    status: Json = body.get("status", {})
    annotations: dict[str, str] = metadata.get("annotations") or {}
    return WaitingPod(
        metadata.get("uid", ""),
        metadata.get("namespace", ""),
        spec.get("nodeName", ""),
        dict(metadata.get("labels") or {}),
        {name: value for name, value in annotations.items() if name in _ANNOTATIONS},
        waits_for_address=not (
            spec.get("hostNetwork")
            or status.get("podIP")
            or metadata.get("deletionTimestamp")
            or status.get("phase", "Pending") != "Pending"
        ),
        name=metadata.get("name", ""),
    )


def is_alive(pod: Json) -> bool:
    """Return whether a pod has not ended, and is not being deleted."""
    ended = pod.get("status", {}).get("phase") in {"Succeeded", "Failed"}
    return not (ended or pod["metadata"].get("deletionTimestamp"))


def is_ready(pod: Json) -> bool:
    """Return whether a pod is ready, and not being deleted."""
    if pod["metadata"].get("deletionTimestamp"):
        return False
    conditions = pod.get("status", {}).get("conditions", ())
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def _parse_count(quantity: Any) -> int:
    """Parse a Kubernetes quantity of whole items ("110", rarely "1k"); 0 if it is neither."""
    text = str(quantity)
    number = text.rstrip("k")
    return int(number) * _SUFFIXES[text[len(number) :]] if number.isdigit() else 0
