"""Every name that two parts of openeni agree on: each string and number once."""

import hashlib
from dataclasses import dataclass
from typing import Final

GROUP: Final = "openeni.io"
VERSION: Final = "v1alpha1"
API_VERSION: Final = f"{GROUP}/{VERSION}"
CATEGORY: Final = "openeni"
BUNDLE_VERSION: Final = "0.1.0"  # of the CRDs, and so of the operator that reads them


@dataclass(frozen=True, order=True)
class Kind:
    """A kind of the Kubernetes API as its URLs name it."""

    group: str  # "" for the core group
    version: str
    plural: str
    name: str
    namespaced: bool

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version


ENIPOOLS: Final = Kind(GROUP, VERSION, "enipools", "ENIPool", namespaced=False)
ENIS: Final = Kind(GROUP, VERSION, "enis", "ENI", namespaced=False)
PODIPS: Final = Kind(GROUP, VERSION, "podips", "PodIP", namespaced=True)
PODS: Final = Kind("", "v1", "pods", "Pod", namespaced=True)
NODES: Final = Kind("", "v1", "nodes", "Node", namespaced=False)
NAMESPACES: Final = Kind("", "v1", "namespaces", "Namespace", namespaced=False)
LEASES: Final = Kind("coordination.k8s.io", "v1", "leases", "Lease", namespaced=True)
SERVICE_CIDRS: Final = Kind(
    "networking.k8s.io", "v1", "servicecidrs", "ServiceCIDR", namespaced=False
)
CRDS: Final = Kind(
    "apiextensions.k8s.io",
    "v1",
    "customresourcedefinitions",
    "CustomResourceDefinition",
    namespaced=False,
)

# Finalizers stand on our own kinds only, never on a Pod or a Node.
FINALIZER_ENIPOOL: Final = f"{GROUP}/enis"
FINALIZER_ENI: Final = f"{GROUP}/port"
FINALIZER_PODIP: Final = f"{GROUP}/datapath"

# Field managers of server-side apply: every status field has exactly one owner.
MANAGER_OPERATOR: Final = "openeni-operator"
MANAGER_AGENT: Final = "openeni-agent"

# On a CRD, by whoever installs it.
ANNOTATION_BUNDLE_VERSION: Final = f"{GROUP}/bundle-version"
LABEL_VERSION: Final = "app.kubernetes.io/version"

# On a Pod, by its author.
ANNOTATION_POOL: Final = f"{GROUP}/pool"

# On an ENI, by the operator.
LABEL_POOL: Final = f"{GROUP}/pool"
LABEL_NODE_HASH: Final = f"{GROUP}/node-hash"  # a node's name may be longer than a label's value

# On a Node, by its agent: what its kernel can do, "true" or "false". No label, no agent yet.
LABEL_VETH: Final = f"datapath.{GROUP}/veth"
LABEL_IPVLAN: Final = f"datapath.{GROUP}/ipvlan"
LABEL_MIGRATE: Final = f"{GROUP}/migrate"  # of a Node, set by people: "true"
LABEL_ZONE: Final = "topology.kubernetes.io/zone"
# On a Node, by an administrator for new ones and by the operator while its agent is silent.
TAINT_AGENT_NOT_READY: Final = f"node.{GROUP}/agent-not-ready"

# On the chart's pods: operator or agent.
LABEL_COMPONENT: Final = "app.kubernetes.io/component"

# On the node. The kernel keeps them on routes (rtm_protocol), rules (FRA_PROTOCOL) and neighbours
# (NDA_PROTOCOL); 94 is not in iproute2's rt_protos nor used by the routing daemons listed there.
PROTOCOL: Final = 94
LINK_PREFIX: Final = "oe"  # veth ends "oe<hash>", host-side slaves "oeipvl<ifindex of the ENI>"
LINK_ALIAS: Final = "openeni"
TABLE_PODS: Final = 9999  # every pod's own route on this node; looked up before everything else
TABLE_ENI_BASE: Final = 10000  # + ifindex of the ENI: its way out; the metadata service ends here
RULE_TO_POD: Final = 500  # lookup TABLE_PODS: before RULE_REPLY, whose packets may be for a pod
RULE_REPLY: Final = 550  # fwmark MARK_REPLY lookup main: NodePort replies leave where they came in
RULE_FROM_POD: Final = 600  # from <pod> lookup <ENI's table>
RULE_FROM_ENI: Final = 610  # from <primary address> lookup <ENI's table>
MARK_REPLY: Final = 0x4F450000  # "OE"; only its own bits are matched and set
MARK_MASK: Final = 0xFFFF0000
NFT_TABLE: Final = "openeni"
VETH_MAC: Final = "ee:ee:ee:ee:ee:ee"
GATEWAY_V4: Final = "169.254.1.1"
GATEWAY_V6: Final = "fe80::1"
METADATA_V4: Final = "169.254.169.254"
METADATA_V6: Final = "fe80::a9fe:a9fe"

RUN_FOLDER: Final = "/run/openeni"  # tmpfs on the node: journal, socket, queue, marker
CNI_NAME: Final = "openeni"  # of the executable, the plugin type and the network


def crd_name(kind: Kind) -> str:
    """Return the name of a kind's CustomResourceDefinition."""
    return f"{kind.plural}.{kind.group}"


def node_hash(node: str) -> str:
    """Return 8 hexadecimal digits that stand for a node in names and labels of its ENIs."""
    return hashlib.sha256(node.encode()).hexdigest()[:8]


def eni_name(pool: str, node: str, index: int) -> str:
    """Return a name that a second attempt finds again: a crash cannot make two ENIs of one."""
    return f"{pool}-{node_hash(node)}-{index}"


def port_name(cluster_id: str, eni_uid: str) -> str:
    """The crash-safe key of an ENI's port: Neutron may drop tags at creation, never the name."""
    return f"{port_prefix(cluster_id)}{eni_uid}"


def port_prefix(cluster_id: str) -> str:
    """Return the prefix of the names of all ports of one cluster."""
    return f"openeni-{cluster_id[:8]}-"


def port_tags(cluster_id: str, eni_uid: str) -> tuple[str, str]:
    """Ownership marks: a delete needs name and tags. No comma or slash (Neutron's URLs)."""
    return f"openeni-cluster={cluster_id}", f"openeni-eni={eni_uid}"


def host_link(container_id: str, interface: str) -> str:
    """Name of the node's end of a pod's veth: 15 characters at most (IFNAMSIZ).

    By sandbox, not by pod: a pod's next sandbox may be added before its last one is deleted.
    """
    return LINK_PREFIX + hashlib.sha256(f"{container_id}/{interface}".encode()).hexdigest()[:11]


def host_slave(ifindex: int) -> str:
    """Name of the host-side ipvlan slave of the ENI with this interface index."""
    return f"{LINK_PREFIX}ipvl{ifindex}"


def eni_table(ifindex: int) -> int:
    """Route table of the ENI with this interface index."""
    return TABLE_ENI_BASE + ifindex
