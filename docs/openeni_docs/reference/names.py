"""Render docs/reference/names.md: annotations, labels, taint, finalizers, and marks in Neutron."""

from typing import Final

from openeni_crds import names
from openeni_docs.markdown import code, table

_HEADER: Final = """\
# Annotations, labels, taint, finalizers and tags

Made from crds/openeni_crds/names.py and docs/openeni_docs/reference/names.py by `make generate`;
change it there. These names are [API](../api.md#versions), but for the tags and names of ports.

"""
_TAGS: Final = """
## In Neutron

How a person or a script finds the ports of a cluster. Names and tags of ports may change with a
release; `kubectl get eni -o wide` has each port's ID.

"""
_TAINT: Final = (
    "`NoSchedule`: openeni cannot start pods on a new node yet (set by people), or the node's "
    "agent has not been ready for a minute"
)
_KUBERNETES: Final = (
    (
        f"annotation {code(names.ANNOTATION_POOL)}",
        "Pod",
        "its author",
        "the ENIPool that serves it",
    ),
    (
        f"annotation {code(names.ANNOTATION_STICKY)}",
        "Pod",
        "its author",
        "how long its address is [kept](../sticky.md) when it has gone",
    ),
    (
        f"annotation {code(names.ANNOTATION_ADDRESS)}",
        "Pod",
        "its author",
        "the [address that it asks for](../sticky.md)",
    ),
    (
        f"label {code(names.LABEL_RETAINED)}",
        "PodIP",
        "agent",
        "it outlives its pod, or its pod asked for an address by name",
    ),
    (f"label {code(names.LABEL_POOL)}", "ENI", "operator", "its pool"),
    (
        f"label {code(names.LABEL_NODE_HASH)}",
        "ENI",
        "operator",
        "8 digits of the SHA-256 of its node's name, which may be longer than a label",
    ),
    (
        f"labels {code(names.LABEL_VETH)}, {code(names.LABEL_IPVLAN)}",
        "Node",
        "agent",
        "`true` or `false`: whether the kernel has the datapath; there while there is a pool",
    ),
    (
        f"label {code(names.LABEL_MIGRATE)}",
        "Node",
        "people",
        "`true`: openeni takes the place of [another CNI plugin](../migration.md)",
    ),
    (
        f"label {code(names.LABEL_ZONE)}",
        "Node",
        "cloud controller manager",
        "the zone that `subnets[].zone` of a pool is compared with",
    ),
    (
        f"taint {code(names.TAINT_AGENT_NOT_READY)}",
        "Node",
        "operator, or people",
        _TAINT,
    ),
    (f"finalizer {code(names.FINALIZER_ENIPOOL)}", "ENIPool", "operator", "its ENIs are not gone"),
    (f"finalizer {code(names.FINALIZER_ENI)}", "ENI", "operator", "its port is not gone"),
    (
        f"finalizer {code(names.FINALIZER_PODIP)}",
        "PodIP",
        "agent",
        "the pod's datapath is not gone",
    ),
    (
        f"annotation {code(names.ANNOTATION_BUNDLE_VERSION)}",
        "CRD",
        "whoever installs it",
        "its release, with a digest of what it defines",
    ),
    (f"label {code(names.LABEL_VERSION)}", "CRD, objects of the chart", "Helm", "the release"),
    (
        f"label {code(names.LABEL_COMPONENT)}",
        "pods of the chart",
        "Helm",
        "`operator` or `agent`",
    ),
)
_NEUTRON: Final = (
    (
        code("openeni-<cluster>-<UID of the ENI>"),
        "name of a port",
        "the first 8 digits of the cluster's ID stand in it",
    ),
    (
        code(f"{names.TAG_CLUSTER}<ID>"),
        "tag of a port",
        "the cluster: the UID of its namespace kube-system",
    ),
    (code(f"{names.TAG_ENI}<UID>"), "tag of a port", "the ENI"),
)


def page() -> str:
    """Return docs/reference/names.md."""
    kubernetes = table(("name", "on", "set by", "meaning"), _KUBERNETES)
    neutron = table(("name", "is", "meaning"), _NEUTRON)
    return f"{_HEADER}## In Kubernetes\n\n{kubernetes}{_TAGS}{neutron}"
