"""The Prometheus Operator's kinds that the chart needs for its metrics, without their schemas.

Their operator does not run in the lab: with these kinds openeni is installed with its metrics on,
for people and tests to look at. A test's Prometheus takes its configuration from them.
"""

from typing import Any, Final

Json = dict[str, Any]

GROUP: Final = "monitoring.coreos.com"
VERSION: Final = "v1"
PATH: Final = f"/apis/{GROUP}/{VERSION}"
_KINDS: Final = {"PodMonitor": "podmonitors", "PrometheusRule": "prometheusrules"}


def crds() -> list[Json]:
    """Return a CustomResourceDefinition for each kind; any object is valid."""
    return [_crd(kind, plural) for kind, plural in _KINDS.items()]


def are_served(resources: Json | None) -> bool:
    """Return True if the answer to PATH, None if there is none, has all kinds."""
    served = {resource["kind"] for resource in (resources or {}).get("resources", ())}
    return served >= _KINDS.keys()


def _crd(kind: str, plural: str) -> Json:
    anything = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {
        "name": VERSION,
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": anything},
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "names": {"kind": kind, "plural": plural, "singular": kind.lower()},
            "scope": "Namespaced",
            "versions": [version],
        },
    }
