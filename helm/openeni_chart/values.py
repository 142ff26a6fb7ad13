"""The chart's values, typed: every key with its bounds and one sentence about it.

Defaults stand in values.yaml alone. What has no default here is required, so that a value set to
null is refused by its name; maps and lists may be null, which is how Helm clears a default.
"""

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType, field

_ADDRESS = "([0-9]{1,3}([.][0-9]{1,3}){3}|[0-9a-fA-F:.]*:[0-9a-fA-F:.]*)"
# Values of Kubernetes' own types: the API server checks them.
Free = dict[str, Any] | UnsetType
FreeList = list[dict[str, Any]] | UnsetType
Strings = dict[str, str] | UnsetType
Path = Annotated[str, Meta(pattern="^/[^ ]+$")]
Seconds = Annotated[float, Meta(ge=5, le=3600)]
Rate = Annotated[float, Meta(ge=0.1, le=1000)]
LogLevel = Literal["DEBUG", "INFO", "WARNING", "ERROR"]


class Section(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, rename="camel"):
    """A map of values: a key that is not listed is refused."""


class Images(Section, frozen=True, kw_only=True):
    """Settings that both images share."""

    registry: Annotated[
        str,
        Meta(
            pattern="^([^ /@]+(/[^ /@]+)*)?$",
            description="Registry, and path in it, that holds the images. No image is published "
            "yet: it must be set.",
        ),
    ]
    pull_policy: Annotated[
        Literal["Always", "IfNotPresent", "Never"],
        Meta(description="When kubelets pull the images."),
    ]
    pull_secrets: Annotated[
        FreeList,
        Meta(description="Secrets of the release's namespace to pull with: `[{name: ...}]`."),
    ] = UNSET


class ComponentImage(Section, frozen=True, kw_only=True):
    """The image of one component."""

    repository: Annotated[
        str, Meta(pattern="^[^ :@]+$", description="Name of the image in the registry.")
    ]
    tag: Annotated[
        str,
        Meta(pattern="^[A-Za-z0-9_.-]{0,128}$", description="Tag; empty: the chart's appVersion."),
    ]
    digest: Annotated[
        str,
        Meta(
            pattern="^(sha256:[a-f0-9]{64})?$",
            description="Digest, such as `sha256:...`. It wins over the tag.",
        ),
    ]


class Clouds(Section, frozen=True, kw_only=True):
    """OpenStack credentials; only the operator mounts them."""

    secret_name: Annotated[
        str,
        Meta(
            pattern="^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$",
            description="Secret whose key `clouds.yaml` holds the entries that ENIPools name in "
            "`spec.cloud`. Other keys, such as a CA's `ca.crt`, are beside it in "
            "/run/secrets/openstack.",
        ),
    ]


class KubernetesService(Section, frozen=True, kw_only=True):
    """The API server as operator and agent reach it."""

    host: Annotated[
        str,
        Meta(
            pattern="^[^ /]*$",
            description="Name or address of the API server. Empty: the Service `kubernetes`, "
            "which needs kube-proxy or a replacement of it on every node.",
        ),
    ]
    port: Annotated[int, Meta(ge=1, le=65535, description="Its port; used when `host` is set.")]


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
        FreeList, Meta(description="More lines of the pods' /etc/hosts: Keystone's name, say.")
    ] = UNSET
    extra_env: Annotated[
        FreeList,
        Meta(
            description="More environment variables. Those that the chart sets itself are refused. "
            "`HTTPS_PROXY` is the operator's way to the cloud; the API server is reached without."
        ),
    ] = UNSET
    extra_volumes: Annotated[FreeList, Meta(description="More volumes of the pods.")] = UNSET
    extra_volume_mounts: Annotated[FreeList, Meta(description="More mounts of the container.")] = (
        UNSET
    )


class CloudCalls(Section, frozen=True, kw_only=True):
    """Limits of the operator's calls to each cloud."""

    timeout_seconds: Annotated[
        float, Meta(ge=5, le=600, description="Time limit of one call; an attach takes longest.")
    ]
    reads_per_second: Annotated[Rate, Meta(description="Reading calls to each cloud.")]
    writes_per_second: Annotated[Rate, Meta(description="Neutron's writing calls to each cloud.")]
    attaches_per_second: Annotated[
        Rate, Meta(description="Attaches to servers in each cloud: Nova's most expensive call.")
    ]


class Operator(Component, frozen=True, kw_only=True):
    """The operator: a Deployment."""

    replicas: Annotated[
        int,
        Meta(
            ge=0,
            le=5,
            description="Pods. One of them leads; another takes over within 20 s if its node is "
            "lost. No two run on one node, so there must be as many nodes for them.",
        ),
    ]
    workers: Annotated[int, Meta(ge=1, le=64, description="Objects that are reconciled at once.")]
    resync_seconds: Annotated[
        Seconds, Meta(description="Every object is reconciled again this often.")
    ]
    probe_port: Annotated[
        int, Meta(ge=1024, le=65535, description="Port of its probes, on the node's network.")
    ]
    cloud: CloudCalls
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
        Path, Meta(description="Folder on the node where the runtime looks for CNI executables.")
    ]
    cni_conf_dir: Annotated[
        Path,
        Meta(description="Folder on the node where the runtime looks for its CNI configuration."),
    ]
    local_dns: Annotated[
        list[Annotated[str, Meta(pattern=f"^{_ADDRESS}$")]],
        Meta(
            description="Node-local addresses that pods must reach through the node: a DNS "
            "cache's, say."
        ),
    ] = field(name="localDNS")
    service_cidrs: Annotated[
        list[Annotated[str, Meta(pattern=f"^{_ADDRESS}/[0-9]{{1,3}}$")]],
        Meta(description="The cluster's service networks. Empty: its ServiceCIDR objects."),
    ] = field(name="serviceCIDRs")
    update_strategy: Annotated[Free, Meta(description="How an upgrade goes from node to node.")] = (
        UNSET
    )
    min_ready_seconds: Annotated[
        int,
        Meta(ge=0, le=3600, description="How long a new pod must run before the next is replaced."),
    ]


class Admission(Section, frozen=True, kw_only=True):
    """Policies: ENIs, PodIPs and the status of ENIPools are openeni's own to write."""

    emergency_group: Annotated[
        str,
        Meta(
            description="Members of this group may write them, too, to put things right by hand: "
            "take off a finalizer when the cloud is gone, say. Empty: nobody. Clients authenticate "
            "as system:masters with kubeadm's super-admin.conf; its admin.conf is in "
            "kubeadm:cluster-admins."
        ),
    ]


class Crds(Section, frozen=True, kw_only=True):
    """The sub-chart openeni-crds."""

    enabled: Annotated[bool, Meta(description="Install and upgrade the CRDs with this release.")]
    keep: Annotated[
        bool,
        Meta(
            description="Keep the CRDs, and so every ENIPool, ENI and PodIP, when the release is "
            "uninstalled or `crds.enabled` becomes false. Without it both delete every pool."
        ),
    ]
    global_: Annotated[Free, Meta(description="Set by Helm.")] = field(name="global", default=UNSET)


class Values(Section, frozen=True, kw_only=True):
    """Values of the chart openeni."""

    image: Images
    common_labels: Annotated[
        Strings, Meta(description="More labels of every object but the CRDs.")
    ] = UNSET
    common_annotations: Annotated[
        Strings, Meta(description="Annotations of every object but the CRDs and the pods.")
    ] = UNSET
    clouds: Clouds
    kubernetes_service: KubernetesService
    operator: Operator
    agent: Agent
    admission: Admission
    crds: Crds
    enabled: Annotated[
        bool | UnsetType,
        Meta(
            description="For the condition of a chart that has this one as a sub-chart; not read."
        ),
    ] = UNSET
    global_: Annotated[
        Free,
        Meta(
            description="Set by a chart that has this one as a sub-chart. Of it, `imageRegistry` "
            "is read where `image.registry` is empty."
        ),
    ] = field(name="global", default=UNSET)
