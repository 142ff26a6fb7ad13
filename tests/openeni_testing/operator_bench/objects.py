"""Objects of the benchmark's clusters: nodes, one pool, PodIPs and pods. Pure."""

from collections.abc import Iterator
from typing import Final

from openeni_crds.datapath_mode import DatapathMode
from openeni_crds.eni import ENI
from openeni_crds.meta import Json
from openeni_crds.names import ANNOTATION_POOL, API_VERSION, ENIPOOLS, LABEL_VETH, PODIPS, Kind

SERVICE_ACCOUNTS: Final = Kind("", "v1", "serviceaccounts", "ServiceAccount", namespaced=True)
POOL: Final = "pods"
CLOUD_NAME: Final = "pods"  # of the subnet and the security group
CALL_SECONDS: Final = 0.15  # of each call to the cloud
NAMESPACE: Final = "default"
ENIS_PER_NODE: Final = 4
ADDRESSES_PER_ENI: Final = 15
PODIPS_PER_NODE: Final = 50


def node_name(index: int) -> str:
    return f"node-{index:04}"


def pods_on(eni: str) -> int:
    """Return how many PodIPs there are of the ENI, whose name ends with its index on the node."""
    index = int(eni.rpartition("-")[2])
    return PODIPS_PER_NODE // ENIS_PER_NODE + (index < PODIPS_PER_NODE % ENIS_PER_NODE)


def service_account_body() -> Json:
    """Return the account that pods need, which no controller creates here."""
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": "default", "namespace": NAMESPACE},
    }


def node_body(index: int, server: str) -> Json:
    """Return a node for exactly as many pods as its ENIs serve, so that it never wants more."""
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": node_name(index), "labels": {LABEL_VETH: "true"}},
        "spec": {"providerID": f"openstack:///{server}"},
        "status": {"allocatable": {"pods": str(ENIS_PER_NODE * ADDRESSES_PER_ENI)}},
    }


def pool_body() -> Json:
    return {
        "apiVersion": API_VERSION,
        "kind": ENIPOOLS.name,
        "metadata": {"name": POOL},
        "spec": {
            "subnets": [{"name": CLOUD_NAME}],
            "securityGroups": [{"name": CLOUD_NAME}],
            "datapath": {"mode": "Veth"},
            "podSelector": {},
            "capacity": {
                "addressesPerENI": ADDRESSES_PER_ENI,
                "maxENIsPerNode": ENIS_PER_NODE,
                "minAvailable": ENIS_PER_NODE * ADDRESSES_PER_ENI,
            },
        },
    }


def podip_bodies(eni: ENI) -> Iterator[Json]:
    """Yield the PodIPs of the pods that the agent reports for the ENI."""
    assert eni.status.port is not None
    for number, address in enumerate(eni.status.port.addresses[: pods_on(eni.name)]):
        name = f"{eni.name}-{number}"
        yield {
            "apiVersion": API_VERSION,
            "kind": PODIPS.name,
            "metadata": {"name": name, "namespace": NAMESPACE},
            "spec": {
                "podUID": f"uid-{name}",
                "nodeName": eni.spec.node_name,
                "containerID": f"container-{name}",
                "eniName": eni.name,
                "poolName": POOL,
                "address": address,
                "datapathMode": DatapathMode.VETH,
            },
        }


def pod_body(number: int, node: str) -> Json:
    """Return a pod that is bound to a node and, without a kubelet, stays Pending."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": f"pod-{number}",
            "namespace": NAMESPACE,
            "annotations": {ANNOTATION_POOL: POOL},
        },
        "spec": {
            "nodeName": node,
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": 0,
            "containers": [{"name": "main", "image": "none"}],
        },
    }
