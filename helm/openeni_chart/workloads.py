"""Values of the chart's two workloads, the operator and the node agent."""

from typing import Annotated, Literal

from msgspec import UNSET, Meta, field

from openeni_chart.section import IPV4, IPV6, Free, FreeList, Section, Strings

# Hexadecimal digits of five or more bits that are next to each other.
_BITS = "1[fF]|3[eEfF]|7[cCeEfF]|[fF][8cCeEfF]|[137fF][fF]+[8cCeEfF]"
_PART = "[a-z0-9]+(([.]|_|__|-+)[a-z0-9]+)*"  # of an image's name
_NETWORK = f"^({IPV4}/(3[0-2]|[12]?[0-9])|{IPV6}/(12[0-8]|1[01][0-9]|[1-9]?[0-9]))$"
Path = Annotated[str, Meta(pattern="^/[^ ]+$")]
Seconds = Annotated[float, Meta(ge=5, le=3600)]
Rate = Annotated[float, Meta(ge=0.1, le=1000)]
LogLevel = Literal["DEBUG", "INFO", "WARNING", "ERROR"]
Orphans = Literal["Delete", "Report"]


class ComponentImage(Section, frozen=True, kw_only=True):
    """The image of one component."""

    repository: Annotated[
        str, Meta(pattern=f"^{_PART}(/{_PART})*$", description="Name of the image in the registry.")
    ]
    tag: Annotated[
        str,
        Meta(
            pattern="^[A-Za-z0-9_.-]{0,128}$",
            description="Tag; empty: the chart's appVersion. Pods are replaced only where tag or "
            "digest change: each build needs its own (docs/images.md).",
        ),
    ]
    digest: Annotated[
        str,
        Meta(
            pattern="^(sha256:[a-f0-9]{64})?$",
            description="Digest, such as `sha256:...`. It wins over the tag.",
        ),
    ]


class Component(Section, frozen=True, kw_only=True):
    """Settings that the pods of operator and agent share."""

    image: ComponentImage
    log_level: Annotated[LogLevel, Meta(description="Least severe records that are logged.")]
    priority_class_name: Annotated[
        str, Meta(description="PriorityClass of the pods; empty: the cluster's default.")
    ]
    resources: Annotated[Free, Meta(description="Requests and limits of the container.")] = UNSET
    node_selector: Annotated[Strings, Meta(description="Labels of nodes that pods may run on.")] = (
        UNSET
    )
    affinity: Annotated[Free, Meta(description="Affinity of the pods.")] = UNSET
    tolerations: Annotated[FreeList, Meta(description="Taints that pods tolerate.")] = UNSET
    pod_labels: Annotated[Strings, Meta(description="More labels of the pods.")] = UNSET
    pod_annotations: Annotated[Strings, Meta(description="Annotations of the pods.")] = UNSET
    host_aliases: Annotated[
        FreeList,
        Meta(description="More lines of the pods' /etc/hosts: the API server's name, say."),
    ] = UNSET
    extra_env: Annotated[
        FreeList,
        Meta(
            description="More environment variables. Those that the chart sets itself are refused."
        ),
    ] = UNSET
    extra_volumes: Annotated[FreeList, Meta(description="More volumes of the pods.")] = UNSET
    extra_volume_mounts: Annotated[FreeList, Meta(description="More mounts of the container.")] = (
        UNSET
    )


class CloudCalls(Section, frozen=True, kw_only=True):
    """Limits of the operator's calls, for each user or application credential in a region."""

    timeout_seconds: Annotated[
        float, Meta(ge=5, le=600, description="Time limit of one call; an attach takes longest.")
    ]
    reads_per_second: Annotated[
        Rate, Meta(description="Reading calls for each user or application credential in a region.")
    ]
    writes_per_second: Annotated[
        Rate,
        Meta(
            description="Neutron's writing calls for each user or application credential in a "
            "region."
        ),
    ]
    attaches_per_second: Annotated[
        Rate,
        Meta(
            description="Attaches to servers for each user or application credential in a region: "
            "Nova's most expensive call."
        ),
    ]


class Operator(Component, frozen=True, kw_only=True):
    """The operator: a Deployment."""

    replicas: Annotated[
        int,
        Meta(
            ge=0,
            le=5,
            description="Pods. One of them leads; another takes over within 20 s if its node is "
            "lost. No two run on one node, so there must be as many nodes for them: in a cluster "
            "of a single node set 1, since a second pod would stay Pending.",
        ),
    ]
    workers: Annotated[
        int,
        Meta(
            ge=1,
            le=64,
            description="Objects of one cloud that are reconciled at once, at least: with higher "
            "operator.cloud limits it is one for each two calls a second, up to 64.",
        ),
    ]
    resync_seconds: Annotated[
        Seconds, Meta(description="Every object is reconciled again this often.")
    ]
    orphans: Annotated[Orphans, Meta(description="Policy on orphaned ports: docs/orphans.md.")]
    probe_port: Annotated[
        int, Meta(ge=1024, le=65535, description="Port of its probes, on the node's network.")
    ]
    cloud: CloudCalls
    host_aliases: Annotated[
        FreeList, Meta(description="More lines of the pods' /etc/hosts: Keystone's name, say.")
    ] = UNSET
    extra_env: Annotated[
        FreeList,
        Meta(
            description="More environment variables. Those that the chart sets itself are refused. "
            "`HTTPS_PROXY` is the way to the cloud; the API server is reached without."
        ),
    ] = UNSET
    topology_spread_constraints: Annotated[
        FreeList,
        Meta(
            description="How pods spread over nodes and zones. An entry without a labelSelector is "
            "about the operator's own pods."
        ),
    ] = UNSET


class Agent(Component, frozen=True, kw_only=True):
    """The node agent: a DaemonSet."""

    node_selector: Annotated[
        Strings,
        Meta(
            description="Labels of nodes that get an agent. A node that loses its agent is cleaned "
            "by nobody: before you narrow this, or `agent.affinity`, follow docs/migration.md, "
            "Taking the agent off a node."
        ),
    ] = UNSET
    affinity: Annotated[
        Free,
        Meta(
            description="Affinity of the pods. The default keeps them off the nodes of "
            "virtual-kubelet, which are no machines."
        ),
    ] = UNSET
    cni_bin_dir: Annotated[
        Path,
        Meta(
            description="Folder on the node where the runtime looks for CNI executables. After a "
            "change remove the file `openeni` from the old one yourself."
        ),
    ]
    cni_conf_dir: Annotated[
        Path,
        Meta(
            description="Folder on the node where the runtime looks for its CNI configuration. "
            "After a change remove the file `10-openeni.conflist` from the old one yourself."
        ),
    ]
    local_dns: Annotated[
        list[Annotated[str, Meta(pattern=f"^({IPV4}|{IPV6})$")]],
        Meta(
            description="Node-local addresses that pods must reach through the node: a DNS "
            "cache's, say."
        ),
    ] = field(name="localDNS")
    service_cidrs: Annotated[
        list[Annotated[str, Meta(pattern=_NETWORK)]],
        Meta(description="The cluster's service networks. Empty: its ServiceCIDR objects."),
    ] = field(name="serviceCIDRs")
    mark_mask: Annotated[
        str,
        Meta(
            pattern=f"^0x0*({_BITS})0*$",
            max_length=10,
            description="Bits of a packet's mark, and of conntrack's, that are openeni's: five or "
            "more, next to each other, that nothing else on the node uses. kube-proxy has "
            "0x0000c000, Tailscale 0x00ff0000; Calico takes 0xffff0000 unless its "
            "`iptablesMarkMask` says otherwise. Five bits do for 30 ENIs of a node.",
        ),
    ]
    flow_offload: Annotated[
        bool,
        Meta(
            description="Whether established IPv4 flows of `Veth` pods bypass the node's network "
            "stack, by nftables flowtables (Linux 5.19 or newer). `false` where a firewall on the "
            "nodes has to see each of their packets, or has to end connections that it allowed "
            "earlier."
        ),
    ]
    metrics_port: Annotated[
        int,
        Meta(
            ge=1024,
            le=65535,
            description="Port of its metrics, on the node's network; open with "
            "`metrics.enabled` alone. Prometheus has to reach it on every node, and pods need "
            "not.",
        ),
    ]
    system_bus: Annotated[
        bool,
        Meta(
            description="Whether the agent may ask NetworkManager and networkd, over the node's "
            "system bus, to reload their configuration. Without it they leave alone what is "
            "plugged in from then on, and after a reboot of the node not before they are restarted."
        ),
    ]
    app_armor_profile: Annotated[
        Free,
        Meta(
            description="AppArmor profile of the container. The runtime's default does not let it "
            "use the system bus: set it along with `agent.systemBus: false` only."
        ),
    ] = UNSET
    se_linux_options: Annotated[
        Free,
        Meta(
            description="SELinux context of the container. `container_t` may write to no folder of "
            "the node. Nodes without SELinux ignore it."
        ),
    ] = UNSET
    update_strategy: Annotated[Free, Meta(description="How an upgrade goes from node to node.")] = (
        UNSET
    )
    min_ready_seconds: Annotated[
        int,
        Meta(ge=0, le=3600, description="How long a new pod must run before the next is replaced."),
    ]
