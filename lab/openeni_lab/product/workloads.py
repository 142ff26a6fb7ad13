"""Manifests of the demo's pods and of their pools."""

from typing import Any, Final

Json = dict[str, Any]

WEB_IMAGE: Final = "openeni.lab/web:1"
COOL_DOWN: Final = "30s"  # the shortest allowed: the demo waits until addresses are re-used

DATAPATHS: Final[dict[str, Json]] = {
    "veth": {"mode": "Veth"},
    "ipvlan-l3s": {"mode": "IPVlan", "ipvlan": {"mode": "L3S"}},
    "ipvlan-l2": {"mode": "IPVlan", "ipvlan": {"mode": "L2"}},
    "ipvlan-l3": {"mode": "IPVlan", "ipvlan": {"mode": "L3"}},
}


def pool(name: str, *, addresses: int = 5, enis: int = 2, **spec: Any) -> Json:
    """Return an ENIPool on the lab's networks; its name selects the datapath."""
    return {
        "apiVersion": "openeni.io/v1alpha1",
        "kind": "ENIPool",
        "metadata": {"name": name},
        "spec": {
            "subnets": [{"name": "pods"}],
            "securityGroups": [{"name": "pods"}],
            "datapath": DATAPATHS.get(name, DATAPATHS["veth"]),
            "capacity": {"addressesPerENI": addresses, "maxENIsPerNode": enis},
            "coolDown": COOL_DOWN,
            **spec,
        },
    }


def deployment(name: str, pool_name: str, replicas: int) -> Json:
    """Return a Deployment of web servers over the nodes, with addresses of `pool_name`."""
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": _template(name, pool_name),
        },
    }


def stateful_set(name: str, pool_name: str, replicas: int) -> Json:
    """Return a StatefulSet with the pods of `deployment`."""
    body = deployment(name, pool_name, replicas)
    spec = body["spec"] | {"serviceName": name, "podManagementPolicy": "Parallel"}
    return body | {"kind": "StatefulSet", "spec": spec}


def service(name: str) -> Json:
    """Return a ClusterIP Service for the Deployment of the same name."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"selector": {"app": name}, "ports": [{"port": 80}]},
    }


def _template(name: str, pool_name: str) -> Json:
    container = {
        "name": "web",
        "image": WEB_IMAGE,
        "imagePullPolicy": "Never",
        "ports": [{"containerPort": 80}],
        # kubelet probes from the node, which checks the path from node to pod
        "readinessProbe": {"httpGet": {"port": 80, "path": "/"}, "periodSeconds": 1},
    }
    spread = {
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": {"app": name}},
    }
    return {
        "metadata": {"labels": {"app": name}, "annotations": {"openeni.io/pool": pool_name}},
        "spec": {
            "terminationGracePeriodSeconds": 0,
            "topologySpreadConstraints": [spread],
            "containers": [container],
        },
    }
