"""Values of the sub-chart openeni-network-policies: an engine for pods of datapath mode Veth."""

from typing import Annotated, Literal

from msgspec import UNSET, Meta, UnsetType, field

from openeni_chart.section import (
    NAMESPACE,
    Free,
    FreeList,
    KubernetesService,
    Section,
    Strings,
)
from openeni_chart.workloads import ComponentImage


class EngineImage(ComponentImage, frozen=True, kw_only=True):
    """The image of the engine, which others publish."""

    registry: Annotated[
        str,
        Meta(
            pattern="^[^ /@]+(/[^ /@]+)*$",
            description="Registry, and path in it, that holds the image.",
        ),
    ]
    tag: Annotated[str, Meta(pattern="^[A-Za-z0-9_.-]{1,128}$", description="Tag of the image.")]
    pull_policy: Annotated[
        Literal["Always", "IfNotPresent", "Never"],
        Meta(description="When kubelets pull the image."),
    ]
    pull_secrets: Annotated[
        FreeList,
        Meta(
            description="Secrets to pull with, in the engine's namespace. Empty: a "
            "parent chart's `global.imagePullSecrets`."
        ),
    ] = UNSET


class _Engine(Section, frozen=True, kw_only=True):
    image: EngineImage
    namespace_override: Annotated[
        str,
        Meta(
            pattern=NAMESPACE,
            description="Namespace of the engine, which must exist and permit privileged pods; "
            "empty: the release's. Required where the chart's own is set.",
        ),
    ]
    kubernetes_service: KubernetesService
    fail_open: Annotated[
        bool,
        Meta(
            description="Let packets pass while no engine runs on the node. Otherwise those of "
            "pods that a policy selects are dropped, until it runs again."
        ),
    ]
    queue: Annotated[
        int, Meta(ge=0, le=65535, description="Number of the node's queue (NFQUEUE) that it reads.")
    ]
    metrics_port: Annotated[
        int,
        Meta(ge=1024, le=65535, description="Port of its metrics, on the node's loopback alone."),
    ]
    verbosity: Annotated[
        int, Meta(ge=0, le=10, description="How much it logs; from 2 on, each packet.")
    ]
    resources: Annotated[Free, Meta(description="Requests and limits of the container.")] = UNSET
    priority_class_name: Annotated[
        str, Meta(description="PriorityClass of the pods; empty: the cluster's default.")
    ]
    node_selector: Annotated[Strings, Meta(description="Labels of nodes that get an engine.")] = (
        UNSET
    )
    affinity: Annotated[Free, Meta(description="Affinity of the pods.")] = UNSET
    tolerations: Annotated[FreeList, Meta(description="Taints that the pods tolerate.")] = UNSET
    global_: Annotated[Free, Meta(description="Set by Helm.")] = field(name="global", default=UNSET)


class NetworkPoliciesChart(_Engine, frozen=True, kw_only=True):
    """Values of the chart openeni-network-policies."""

    enabled: Annotated[bool | UnsetType, Meta(description="Read by a chart that has it.")] = UNSET


class NetworkPolicies(_Engine, frozen=True, kw_only=True):
    """The sub-chart openeni-network-policies."""

    enabled: Annotated[
        bool,
        Meta(
            description="Install an engine for NetworkPolicies. They hold for pods of mode "
            "Veth, and for no others: docs/network-policy.md."
        ),
    ]
