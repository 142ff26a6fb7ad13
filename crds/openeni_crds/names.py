"""Every name that two parts of openeni agree on: each string and number once."""

import hashlib
from dataclasses import dataclass
from functools import lru_cache
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
DEPLOYMENTS: Final = Kind("apps", "v1", "deployments", "Deployment", namespaced=True)
DAEMONSETS: Final = Kind("apps", "v1", "daemonsets", "DaemonSet", namespaced=True)
LEASES: Final = Kind("coordination.k8s.io", "v1", "leases", "Lease", namespaced=True)
EVENTS: Final = Kind("events.k8s.io", "v1", "events", "Event", namespaced=True)
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

# In an Event's reportingController: a qualified name, as of "kubernetes.io/kubelet".
CONTROLLER_OPERATOR: Final = f"{GROUP}/operator"
CONTROLLER_AGENT: Final = f"{GROUP}/agent"

# On a CRD, by whoever installs it.
ANNOTATION_BUNDLE_VERSION: Final = f"{GROUP}/bundle-version"
LABEL_VERSION: Final = "app.kubernetes.io/version"

# On a Pod, by its author.
ANNOTATION_POOL: Final = f"{GROUP}/pool"
ANNOTATION_STICKY: Final = f"{GROUP}/sticky"  # how long its address is kept when it has gone
ANNOTATION_ADDRESS: Final = f"{GROUP}/address"  # the address that it asks for

# On a PodIP that the operator watches: it is kept after its pod, or its pod asked for an address.
LABEL_RETAINED: Final = f"{GROUP}/retained"

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

# On a port in Neutron, before the cluster's id and the ENI's UID; no pool can give such tags.
TAG_PREFIX: Final = "openeni-"
TAG_CLUSTER: Final = f"{TAG_PREFIX}cluster="
TAG_ENI: Final = f"{TAG_PREFIX}eni="

# On the chart's pods: operator or agent.
LABEL_COMPONENT: Final = "app.kubernetes.io/component"
SELECTOR_OURS: Final = f"app.kubernetes.io/name=openeni,{LABEL_COMPONENT}"
SELECTOR_AGENTS: Final = f"{SELECTOR_OURS}=agent"

# On the node. The kernel keeps them on routes (rtm_protocol), rules (FRA_PROTOCOL) and neighbours
# (NDA_PROTOCOL); 94 is not in iproute2's rt_protos nor used by the routing daemons listed there.
PROTOCOL: Final = 94
LINK_PREFIX: Final = "oeni"  # of veth ends "oeni<hash>", and of an ENI's slaves on the host
LINK_ALIAS: Final = "openeni"
TABLE_PODS: Final = 9999  # the route of each veth pod on this node; looked up before all else
TABLE_L2_PODS: Final = 9998  # the same of l2 pods
TABLE_L3_PODS: Final = 9997  # and of l3s and l3 pods
TABLES_OF_PODS: Final = (TABLE_PODS, TABLE_L2_PODS, TABLE_L3_PODS)
TABLE_ENI_BASE: Final = 10000  # + ifindex of the ENI: its way out; also the group of its veth ends
RULE_ANSWER_V6: Final = 480  # `from <primary address> iif lo oif <ENI>` lookup TABLE_L3_PODS
RULE_FROM_L3_POD: Final = 490  # `iif lo oif <ENI>`, as an l3s or l3 pod sends: ENI's table
RULE_TO_POD: Final = 500  # lookup TABLE_PODS: before RULE_REPLY, whose packets may be for a pod
RULE_TO_SUBNET: Final = 505  # veth: to <subnet> fwmark <ENI's mark>: ENI's table
RULE_TO_L2_POD: Final = 510  # lookup TABLE_L2_PODS
RULE_FROM_VETH_POD: Final = 515  # fwmark <ENI's mark>: ENI's table
RULE_TO_L3_POD: Final = 520  # lookup TABLE_L3_PODS
RULE_REPLY: Final = 550  # fwmark <reply> lookup main: NodePort replies leave where they came in
RULE_FROM_POD: Final = 600  # ipvlan: fwmark <ENI's mark>: ENI's table
RULE_FROM_ENI: Final = 610  # from <primary address> lookup <ENI's table>
RULE_WAY_BACK: Final = 32800  # from <subnet> lookup <ENI's table>, where main has no route
# Default of OPENENI_MARK_MASK. Bits 14 and 15 are kube-proxy's; Calico takes 16 to 31 by default.
MARK_MASK: Final = 0x001F0000
MARK_BITS: Final = 5  # at least: one value for replies, 30 for ENIs
NFT_TABLE: Final = "openeni"
VETH_MAC: Final = "ee:ee:ee:ee:ee:ee"
GATEWAY_V4: Final = "169.254.1.1"
GATEWAY_V6: Final = "fe80::1"  # of veth pods, on a link of their own
GATEWAY_V6_L2: Final = "fe80::ecee:eeff:feee:eeee"  # by VETH_MAC: fe80::1 may be the router's
METADATA_V4: Final = "169.254.169.254"
METADATA_V6: Final = "fe80::a9fe:a9fe"

RUN_FOLDER: Final = "/run/openeni"  # tmpfs on the node: journal, socket, queue, marker
CNI_NAME: Final = "openeni"  # of the executable, the plugin type and the network


def crd_name(kind: Kind) -> str:
    """Return the name of a kind's CustomResourceDefinition."""
    return f"{kind.plural}.{kind.group}"


def crd_version(digest: str) -> str:
    """Return the version of a CRD: its release's, and the digest of what it defines."""
    return f"{BUNDLE_VERSION}+{digest}"


def node_hash(node: str) -> str:
    """Return 8 hexadecimal digits that stand for a node in names and labels of its ENIs."""
    return hashlib.sha256(node.encode()).hexdigest()[:8]


def eni_name(pool: str, node: str, index: int) -> str:
    """Return a name that a second attempt finds again: a crash cannot make two ENIs of one."""
    return f"{pool}-{node_hash(node)}-{index}"


def port_name(cluster_id: str, eni_uid: str) -> str:
    """Return the name of an ENI's port, by which it is found after a crash.

    Neutron may drop tags at creation, never the name.
    """
    return f"{port_prefix(cluster_id)}{eni_uid}"


def port_prefix(cluster_id: str) -> str:
    """Return the prefix of the names of all ports of one cluster."""
    return f"openeni-{cluster_id[:8]}-"


_REMEMBERED: Final = 1024  # pods, for whose links an ADD and each look ask several times


def port_tags(cluster_id: str, eni_uid: str) -> tuple[str, str]:
    """Return the marks of an ENI's port: a delete needs them and the name.

    They have no comma or slash: they are part of Neutron's URLs.
    """
    return cluster_tag(cluster_id), f"{TAG_ENI}{eni_uid}"


def cluster_tag(cluster_id: str) -> str:
    """Return the tag of all ports of one cluster."""
    return f"{TAG_CLUSTER}{cluster_id}"


@lru_cache(maxsize=_REMEMBERED)
def host_link(container_id: str, interface: str) -> str:
    """Return the name of the node's end of a pod's veth: 15 characters at most (IFNAMSIZ).

    By sandbox, not by pod: a pod's next sandbox may be added before its last one is deleted.
    """
    return LINK_PREFIX + hashlib.sha256(f"{container_id}/{interface}".encode()).hexdigest()[:11]


def host_slave(ifindex: int) -> str:
    """Return the name of the host-side ipvlan slave of the ENI with this interface index."""
    return f"{LINK_PREFIX}-{ifindex}"


def reserving_slave(ifindex: int) -> str:
    """Return the name of the slave that keeps that ENI's own addresses from its pods."""
    return f"{LINK_PREFIX}_{ifindex}"


def eni_table(ifindex: int) -> int:
    """Return the route table of the ENI with this interface index."""
    return TABLE_ENI_BASE + ifindex
