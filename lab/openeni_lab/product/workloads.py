"""The demo's pods, and the pools they ask for: manifests as values."""

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
    """An ENIPool on the lab's networks, named after its datapath unless `spec` says otherwise."""
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
    """Web servers spread over the nodes, each with an address of `pool_name`."""
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
    """As `deployment`, with stable names."""
    body = deployment(name, pool_name, replicas)
    spec = body["spec"] | {"serviceName": name, "podManagementPolicy": "Parallel"}
    return body | {"kind": "StatefulSet", "spec": spec}


def service(name: str) -> Json:
    """A ClusterIP in front of a deployment of the same name."""
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
        # kubelet asks from the node: the path node to pod, all the time
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


def bound_pod(name: str, pool_name: str, node: str) -> Json:
    """A Pod on a node without the scheduler's help, for nodes that have no kubelet."""
    template = _template(pool_name, pool_name)
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {**template["metadata"], "name": name, "namespace": "default"},
        "spec": {"nodeName": node, "containers": template["spec"]["containers"]},
    }
