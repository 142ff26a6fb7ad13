"""The services of the support table, as kube-proxy reads them from the API server. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Any, Final, TypeAlias

from openeni_testing.matrix.paths import (
    BULK_PORT,
    CLOSED_PORT,
    PATHS,
    TCP_PORT,
    UDP_PORT,
    HostPort,
    LateService,
    NodePort,
    Service,
    Target,
)
from openeni_testing.network import node

Json: TypeAlias = dict[str, Any]
PORTS: Final = (
    ("TCP", TCP_PORT),
    ("UDP", UDP_PORT),
    ("TCP", BULK_PORT),
    ("UDP", CLOSED_PORT),
)
LATE: Final = ("10.98.0.240/28", "fd98::f0/124")  # in the pods' own subnets
CIDRS: Final = (node.SERVICES, node.SERVICES_6)
FIRST_HOST_PORT: Final = 8000
_FIRST_NODE_PORT: Final = 30000


@dataclass(frozen=True, slots=True)
class Backend:
    """The addresses behind a service, and the node that they are on; "" for none."""

    addresses: tuple[str, ...]
    node: str = ""


def targets() -> tuple[Target, ...]:
    """Return each target of a path that is a service, once, in the declaration's order."""
    found = (path.target for path in PATHS)
    return tuple(dict.fromkeys(t for t in found if isinstance(t, Service | LateService | NodePort)))


def cluster_ip(target: Target, family: int) -> str:
    """Return the ClusterIP of a target that is a service."""
    late = isinstance(target, LateService)
    cidr = (LATE if late else CIDRS)[family == 6]
    # Not the first ones: Kubernetes has the API server and the cluster's DNS there.
    number = 1 if late else 20 + _number(target)
    return str(ip_network(cidr)[number])


def port_of(target: Target, port: int) -> int:
    """Return the port to which a client of the target sends what is for the server's `port`."""
    offset = [number for _, number in PORTS].index(port)
    if isinstance(target, NodePort):
        return _FIRST_NODE_PORT + 10 * _number(target) + offset
    return FIRST_HOST_PORT + offset if isinstance(target, HostPort) else port


def objects(
    families: Sequence[int], backends: Mapping[str, Backend], nodes: Mapping[str, Sequence[str]]
) -> dict[str, list[Json]]:
    """Return everything that kube-proxy watches, by resource; `nodes` are their addresses."""
    services = [_service(target, families) for target in targets()]
    slices = [
        _slice(target, family, backends[target.server])
        for target in targets()
        for family in families
    ]
    return {
        "nodes": [_node(name, addresses) for name, addresses in nodes.items()],
        "services": services,
        "endpointslices": slices,
        "servicecidrs": [
            {"metadata": {"name": f"cidr-{number}"}, "spec": {"cidrs": [cidr]}}
            for number, cidr in enumerate((*CIDRS, *LATE))
        ],
    }


def _number(target: Target) -> int:
    return targets().index(target)


def _service(target: Target, families: Sequence[int]) -> Json:
    addresses = [cluster_ip(target, family) for family in families]
    spec: Json = {
        "type": "ClusterIP",
        "clusterIP": addresses[0],
        "clusterIPs": addresses,
        "ipFamilies": [f"IPv{family}" for family in families],
        "sessionAffinity": "None",
        "internalTrafficPolicy": "Cluster",
        "ports": list(_service_ports(target)),
    }
    if isinstance(target, NodePort):
        policy = "Local" if target.local else "Cluster"
        spec |= {"type": "NodePort", "externalTrafficPolicy": policy}
    return {"metadata": _metadata(target), "spec": spec, "status": {"loadBalancer": {}}}


def _service_ports(target: Target) -> Iterator[Json]:
    for protocol, port in PORTS:
        given: Json = {
            "name": f"port-{port}",
            "protocol": protocol,
            "port": port,
            "targetPort": port,
        }
        if isinstance(target, NodePort):
            given["nodePort"] = port_of(target, port)
        yield given


def _slice(target: Target, family: int, backend: Backend) -> Json:
    address = next(a for a in backend.addresses if (":" in a) == (family == 6))
    endpoint: Json = {
        "addresses": [address],
        "conditions": {"ready": True, "serving": True, "terminating": False},
    }
    if backend.node:
        endpoint["nodeName"] = backend.node
    metadata = _metadata(target)
    service = metadata["name"]
    metadata |= {
        "name": f"{service}-{family}",
        "labels": {"kubernetes.io/service-name": service},
    }
    return {
        "metadata": metadata,
        "addressType": f"IPv{family}",
        "endpoints": [endpoint],
        "ports": [
            {"name": f"port-{port}", "protocol": protocol, "port": port} for protocol, port in PORTS
        ],
    }


def _node(name: str, addresses: Sequence[str]) -> Json:
    internal = [{"type": "InternalIP", "address": address} for address in addresses]
    return {"metadata": {"name": name, "uid": name}, "status": {"addresses": internal}}


def _metadata(target: Target) -> Json:
    name = f"service-{_number(target)}"
    return {"name": name, "namespace": "default", "uid": name}
