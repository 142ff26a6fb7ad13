"""Where the operator's pods may run, and which of them a drain may take."""

from typing import Any

import pytest

from openeni_lab.product import chart
from openeni_testing.helm import Helm

pytestmark = pytest.mark.cluster

Json = dict[str, Any]

OWN = {"app.kubernetes.io/name": "openeni", "app.kubernetes.io/component": "operator"}


def objects(helm: Helm, kind: str, values: Json) -> list[Json]:
    """Return the rendered objects of a kind that are the operator's."""
    documents = chart.render(helm.program, {"operator": values}, hooks=True)
    return [d for d in documents if d["kind"] == kind and "agent" not in d["metadata"]["name"]]


def pod_spec(helm: Helm, kind: str, values: Json) -> Json:
    (found,) = objects(helm, kind, values)
    spec: Json = found["spec"]["template"]["spec"]
    return spec


def test_a_spread_without_a_selector_is_about_the_operators_own_pods(helm: Helm) -> None:
    bare = {"maxSkew": 2, "topologyKey": "rack", "whenUnsatisfiable": "DoNotSchedule"}
    whole = {**bare, "labelSelector": {"matchLabels": {"team": "network"}}}
    given: Json = {"topologySpreadConstraints": [bare, whole]}
    first, second = pod_spec(helm, "Deployment", given)["topologySpreadConstraints"]
    assert first == {**bare, "labelSelector": {"matchLabels": OWN}}
    assert second == whole
    default = pod_spec(helm, "Deployment", {})["topologySpreadConstraints"]
    assert all(constraint["labelSelector"]["matchLabels"] == OWN for constraint in default)


def test_the_uninstall_job_runs_where_the_operator_may(helm: Helm) -> None:
    preferred: list[Json] = [{"weight": 1, "preference": {"matchExpressions": []}}]
    placed: Json = {
        "nodeSelector": {"kubernetes.io/arch": "amd64"},
        "affinity": {
            "nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": preferred}
        },
        "tolerations": [{"key": "ours", "operator": "Exists"}],
        "hostAliases": [{"ip": "192.0.2.9", "hostnames": ["api.example"]}],
    }
    job, operator = (pod_spec(helm, kind, placed) for kind in ("Job", "Deployment"))
    assert "podAntiAffinity" in operator["affinity"]
    del operator["affinity"]["podAntiAffinity"]  # the Job may run beside the operator
    assert {key: job[key] for key in placed} == {key: operator[key] for key in placed}


def test_a_drain_may_take_one_pod_of_the_operator_at_a_time(helm: Helm) -> None:
    (budget,) = objects(helm, "PodDisruptionBudget", {})
    (deployment,) = objects(helm, "Deployment", {})
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert budget["spec"]["maxUnavailable"] == 1
    assert budget["spec"]["selector"]["matchLabels"].items() <= labels.items()
