"""The cluster's DNS: CoreDNS as an ordinary pod, with an address of openeni's.

It becomes ready once a pool serves it; nothing in the lab waits for that. kubelets write its
address into their pods' resolv.conf.
"""

from ipaddress import ip_network
from typing import Any, Final

from openeni_lab import layout
from openeni_lab.kubernetes.api import Api
from openeni_lab.kubernetes.images import COREDNS

Json = dict[str, Any]

ADDRESS: Final = str(ip_network(layout.SERVICE_CIDR)[10])  # the conventional address
DOMAIN: Final = "cluster.local"
NAMESPACE: Final = "kube-system"
NAME: Final = "coredns"
SERVICE: Final = "kube-dns"
_LABELS: Final = {"k8s-app": SERVICE}
_RIGHTS: Final = "system:coredns"

# kubeadm's Corefile without forwarding: a lab cannot resolve names outside the cluster.
_COREFILE: Final = f"""\
{DOMAIN} in-addr.arpa ip6.arpa {{
    errors
    health
    ready
    kubernetes {DOMAIN} in-addr.arpa ip6.arpa {{
        pods insecure
    }}
    cache 5
}}
"""


def objects(pool: str = "") -> tuple[Json, ...]:
    """Return the objects to apply.

    The pod uses `pool` or, if empty, the pool whose podSelector matches.
    """
    return (
        _object("v1", "ServiceAccount", NAME),
        *_rights(),
        _object("v1", "ConfigMap", NAME, data={"Corefile": _COREFILE}),
        _object("apps/v1", "Deployment", NAME, spec=_deployment(pool)),
        _object("v1", "Service", SERVICE, spec=_service()),
    )


def ready(api: Api) -> bool:
    """Return True if a CoreDNS pod is ready."""
    found = api.get(f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments/{NAME}")
    return bool(found and found.get("status", {}).get("readyReplicas"))


def _object(version: str, kind: str, name: str, namespace: str = NAMESPACE, **rest: Any) -> Json:
    metadata = {"name": name} | ({"namespace": namespace} if namespace else {})
    return {"apiVersion": version, "kind": kind, "metadata": metadata, **rest}


def _rights() -> tuple[Json, Json]:
    group = "rbac.authorization.k8s.io"
    rules = [
        {"apiGroups": [""], "resources": ["services", "pods", "namespaces"]},
        {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"]},
    ]
    account = {"kind": "ServiceAccount", "name": NAME, "namespace": NAMESPACE}
    role = {"apiGroup": group, "kind": "ClusterRole", "name": _RIGHTS}
    return (
        _object(
            f"{group}/v1",
            "ClusterRole",
            _RIGHTS,
            "",
            rules=[rule | {"verbs": ["list", "watch"]} for rule in rules],
        ),
        _object(f"{group}/v1", "ClusterRoleBinding", _RIGHTS, "", roleRef=role, subjects=[account]),
    )


def _deployment(pool: str) -> Json:
    container = {
        "name": NAME,
        "image": COREDNS,
        "imagePullPolicy": "Never",
        "ports": [{"containerPort": 53, "protocol": protocol} for protocol in ("UDP", "TCP")],
        "readinessProbe": {"httpGet": {"path": "/ready", "port": 8181}, "periodSeconds": 1},
        "volumeMounts": [{"name": "config", "mountPath": "/etc/coredns", "readOnly": True}],
    }
    pod = {
        "serviceAccountName": NAME,
        "dnsPolicy": "Default",  # it must not be its own resolver
        "terminationGracePeriodSeconds": 0,
        "containers": [container],
        "volumes": [{"name": "config", "configMap": {"name": NAME}}],
    }
    asked = {"annotations": {"openeni.io/pool": pool}} if pool else {}
    return {
        "replicas": 1,
        "selector": {"matchLabels": _LABELS},
        "template": {"metadata": {"labels": _LABELS, **asked}, "spec": pod},
    }


def _service() -> Json:
    ports = [{"name": f"dns-{p.lower()}", "port": 53, "protocol": p} for p in ("UDP", "TCP")]
    return {"clusterIP": ADDRESS, "selector": _LABELS, "ports": ports}
