"""The chart's values, typed: every key with its bounds and one sentence about it."""

from typing import Annotated, Literal

from msgspec import UNSET, Meta, UnsetType, field

from openeni_chart.network_policies import NetworkPolicies
from openeni_chart.section import (
    NAMESPACE,
    Free,
    FreeList,
    KubernetesService,
    Section,
    Strings,
)
from openeni_chart.workloads import Agent, Operator

Interval = Annotated[str, Meta(pattern="^([0-9]+[hms]){1,3}$")]  # as Prometheus writes it


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
        Meta(
            description="Secrets to pull with, in the namespace of operator and agents: "
            "`[{name: ...}]`."
        ),
    ] = UNSET


class Clouds(Section, frozen=True, kw_only=True):
    """OpenStack credentials; only pods of the operator and of `helm test` mount them."""

    secret_name: Annotated[
        str,
        Meta(
            pattern="^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$",
            description="Secret whose key `clouds.yaml` holds the entries that ENIPools name in "
            "`spec.cloud`. Other keys, such as a CA's `ca.crt`, are beside it in "
            "/run/secrets/openstack.",
        ),
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


class Hooks(Section, frozen=True, kw_only=True):
    """What `helm uninstall` and `helm test` run, the latter in two pods: readiness, preflight."""

    wait_seconds: Annotated[
        int,
        Meta(
            ge=10,
            le=86400,
            description="How long they wait for what must happen before they fail. Helm itself "
            "waits for its `--timeout`, 5m by default: give it a minute more than this.",
        ),
    ]


class PodMonitor(Section, frozen=True, kw_only=True):
    """PodMonitors of operator and agents, by which the Prometheus Operator finds the metrics."""

    enabled: Annotated[
        bool,
        Meta(
            description="Install two PodMonitors. Their CRD, of the Prometheus Operator, must be "
            "there."
        ),
    ]
    interval: Annotated[
        Interval,
        Meta(
            description="How often Prometheus asks for the metrics. The alerts look back two "
            "minutes: with them at most `1m`.",
        ),
    ]
    labels: Annotated[
        Strings,
        Meta(description="More labels of both: by which your Prometheus selects PodMonitors."),
    ] = UNSET


class Rules(Section, frozen=True, kw_only=True):
    """A PrometheusRule with the alerts."""

    enabled: Annotated[
        bool,
        Meta(
            description="Install a PrometheusRule with the alerts of docs/metrics.md. Its CRD, of "
            "the Prometheus Operator, must be there."
        ),
    ]
    labels: Annotated[
        Strings,
        Meta(description="More labels of it: those by which your Prometheus selects rules."),
    ] = UNSET
    docs_url: Annotated[
        str,
        Meta(
            pattern="^(https?://[^ ]+)?$",
            description="Address at which you keep a copy of docs/. Each alert then has a "
            "`runbook_url` in it; empty: none has.",
        ),
    ] = field(name="docsURL")


class Dashboards(Section, frozen=True, kw_only=True):
    """ConfigMaps with dashboards for Grafana (docs/dashboards.md)."""

    enabled: Annotated[
        bool,
        Meta(
            description="Install a ConfigMap for each dashboard of docs/dashboards.md, which the "
            "sidecar of Grafana's chart finds by its labels."
        ),
    ]
    labels: Annotated[
        Strings,
        Meta(description="More labels of both: those by which the sidecar finds dashboards."),
    ] = UNSET
    annotations: Annotated[Strings, Meta(description="More annotations of both.")] = UNSET
    folder: Annotated[
        str,
        Meta(
            description="Grafana's folder for them, as the annotation `grafana_folder`, which the "
            "sidecar follows where its `folderAnnotation` says so. Empty: no such annotation."
        ),
    ]


class Metrics(Section, frozen=True, kw_only=True):
    """Metrics of operator and agents (docs/metrics.md)."""

    enabled: Annotated[
        bool,
        Meta(
            description="Serve them at /metrics, the operator's on `operator.probePort` and the "
            "agents' on `agent.metricsPort`. Everybody who can reach a node's address can read "
            "them: they name pools, clouds and subnets, and hold no secret."
        ),
    ]
    pod_monitor: PodMonitor
    rules: Rules
    dashboards: Dashboards


class _OfCRDs(Section, frozen=True, kw_only=True):
    keep: Annotated[
        bool,
        Meta(
            description="Keep the CRDs, and so every ENIPool, ENI and PodIP, when the release is "
            "uninstalled or `crds.enabled` becomes false. Without it both delete every pool."
        ),
    ]
    global_: Annotated[Free, Meta(description="Set by Helm.")] = field(name="global", default=UNSET)


class CRDChart(_OfCRDs, frozen=True, kw_only=True):
    """Values of the chart openeni-crds."""

    enabled: Annotated[bool | UnsetType, Meta(description="Read by a chart that has it.")] = UNSET


class Crds(_OfCRDs, frozen=True, kw_only=True):
    """The sub-chart openeni-crds."""

    enabled: Annotated[bool, Meta(description="Install and upgrade the CRDs with this release.")]


class Values(Section, frozen=True, kw_only=True):
    """Values of the chart openeni."""

    image: Images
    namespace_override: Annotated[
        str,
        Meta(
            pattern=NAMESPACE,
            description="Namespace of operator and agents, which must exist; empty: the release's. "
            "For a chart that has this one as a sub-chart: openeni's namespace should hold nothing "
            "else (docs/api.md).",
        ),
    ]
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
    hooks: Hooks
    metrics: Metrics
    crds: Crds
    network_policies: NetworkPolicies
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
            "and `imagePullSecrets` are read where `image.registry` and `image.pullSecrets` are "
            "empty."
        ),
    ] = field(name="global", default=UNSET)
