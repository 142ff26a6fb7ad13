"""The engine for NetworkPolicies: off by default, and with no right that it does not need."""

from typing import Any

import pytest

from openeni_lab.product.chart import CHART
from openeni_testing.helm import Helm, pod_templates

pytestmark = pytest.mark.cluster

Json = dict[str, Any]

NAME = "openeni-network-policies"


def engine(helm: Helm, **values: Any) -> dict[str, Json]:
    """Return the objects of the sub-chart by their kind."""
    rendered = helm.render({"networkPolicies": {"enabled": True, **values}})
    return {d["kind"]: d for d in rendered if d["metadata"]["name"] == NAME}


def test_by_default_there_is_none(helm: Helm) -> None:
    assert not [d for d in helm.render() if d["metadata"]["name"] == NAME]


def test_the_api_server_takes_every_object_of_it(serving: Helm) -> None:
    objects = engine(serving, image={"digest": f"sha256:{'ab' * 32}"})
    assert set(objects) == {"ServiceAccount", "ClusterRole", "ClusterRoleBinding", "DaemonSet"}
    for manifest in objects.values():
        serving.dry_run(manifest)


def test_it_reads_pods_namespaces_and_policies_and_writes_nothing(helm: Helm) -> None:
    rules = engine(helm)["ClusterRole"]["rules"]
    assert {verb for rule in rules for verb in rule["verbs"]} == {"list", "watch"}
    resources = {resource for rule in rules for resource in rule["resources"]}
    assert resources == {"pods", "namespaces", "networkpolicies"}


def test_it_has_one_capability_and_sees_nothing_of_the_node_but_its_network(helm: Helm) -> None:
    spec = engine(helm)["DaemonSet"]["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    context = container["securityContext"]
    assert context["capabilities"] == {"drop": ["ALL"], "add": ["NET_ADMIN"]}
    assert (context["readOnlyRootFilesystem"], context["allowPrivilegeEscalation"]) == (True, False)
    assert "privileged" not in context
    assert (spec["hostNetwork"], spec.get("hostPID", False)) == (True, False)
    assert (spec.get("volumes"), container.get("volumeMounts")) == (None, None)
    assert "--disable-nri=true" in container["args"]


def test_its_values_reach_it(helm: Helm) -> None:
    image = {"registry": "r.example", "repository": "engine", "tag": "v1"}
    values = {"failOpen": True, "queue": 7, "nodeSelector": {"pool": "veth"}, "image": image}
    spec = engine(helm, **values)["DaemonSet"]["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    assert container["image"] == "r.example/engine:v1"
    assert {"--fail-open=true", "--nfqueue-id=7"} <= set(container["args"])
    assert spec["nodeSelector"] == {"kubernetes.io/os": "linux", "pool": "veth"}


def test_it_is_where_the_chart_is_and_reaches_the_api_server_as_the_chart_does(
    helm: Helm,
) -> None:
    place: Json = {"namespaceOverride": "net", "kubernetesService": {"host": "fd00::1"}}
    rendered = helm.render({**place, "networkPolicies": {"enabled": True, **place}})
    objects = {d["kind"]: d for d in rendered if d["metadata"]["name"] == NAME}
    for kind in ("ServiceAccount", "DaemonSet"):
        assert objects[kind]["metadata"]["namespace"] == "net"
    assert objects["ClusterRoleBinding"]["subjects"][0]["namespace"] == "net"
    for template in pod_templates(rendered).values():
        (container,) = template["spec"]["containers"]
        env = {each["name"]: each.get("value") for each in container["env"]}
        reached = env["KUBERNETES_SERVICE_HOST"], env["KUBERNETES_SERVICE_PORT"]
        assert reached == ("fd00::1", "6443"), container["name"]


@pytest.mark.parametrize(
    ("own", "parents", "used"),
    [([], ["a"], ["a"]), ([], [{"name": "a"}], ["a"]), ([{"name": "own"}], ["a"], ["own"])],
)
def test_pull_secrets_of_a_parent_chart_are_used_where_it_has_none_of_its_own(
    helm: Helm, own: list[Json], parents: list[Any], used: list[str]
) -> None:
    given: Json = {
        "global": {"imagePullSecrets": parents},
        "networkPolicies": {"enabled": True, "image": {"pullSecrets": own}},
    }
    spec = pod_templates(helm.render(given))["engine"]["spec"]
    assert spec["imagePullSecrets"] == [{"name": name} for name in used]


def test_what_it_does_not_know_is_refused(helm: Helm) -> None:
    done = helm.try_run(
        "template",
        "openeni",
        str(CHART),
        values={"image": {"registry": "r"}, "networkPolicies": {"fail": True}},
    )
    assert done.returncode != 0
    assert "additional properties 'fail' not allowed" in done.stderr
