"""What the real Helm renders: taken by a real API server, or refused with the value's name."""

from typing import Any

import pytest
import yaml

from openeni_lab.kubernetes.api import ApiError
from openeni_lab.product import chart, manifests
from openeni_testing.helm import Helm
from openeni_testing.objects import unique

pytestmark = pytest.mark.cluster

Json = dict[str, Any]

DIGEST = f"sha256:{'ab' * 32}"
EXTRA: Json = {
    "extraEnv": [
        {"name": "HTTPS_PROXY", "value": "http://proxy.example:3128"},
        {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "proxy", "key": "token"}}},
    ],
    "extraVolumes": [{"name": "extra", "configMap": {"name": "extra"}}],
    "extraVolumeMounts": [{"name": "extra", "mountPath": "/extra", "readOnly": True}],
    "hostAliases": [{"ip": "192.0.2.1", "hostnames": ["keystone.example"]}],
    "podLabels": {"team": "network"},
    "podAnnotations": {"example.com/scrape": "no"},
}
AFFINITY: Json = {
    "nodeAffinity": {
        "requiredDuringSchedulingIgnoredDuringExecution": {
            "nodeSelectorTerms": [
                {"matchExpressions": [{"key": "type", "operator": "NotIn", "values": ["virtual"]}]}
            ]
        }
    }
}
SPREAD: Json = {
    "maxSkew": 1,
    "topologyKey": "topology.kubernetes.io/zone",
    "whenUnsatisfiable": "ScheduleAnyway",
    "labelSelector": {"matchLabels": {"app.kubernetes.io/component": "operator"}},
}
SETS: dict[str, Json] = {
    "defaults": {},
    "digests": {"operator": {"image": {"digest": DIGEST}}, "agent": {"image": {"digest": DIGEST}}},
    "tags and pull secrets": {
        "image": {"pullPolicy": "Always", "pullSecrets": [{"name": "pull"}]},
        "agent": {"image": {"repository": "net/agent", "tag": "v2_x.1"}},
    },
    "an API server without kube-proxy": {"kubernetesService": {"host": "fd00::1", "port": 443}},
    "everything extra": {"operator": EXTRA, "agent": EXTRA},
    "the operator's settings": {
        "operator": {
            "logLevel": "DEBUG",
            "workers": 64,
            "resyncSeconds": 7.5,
            "probePort": 19441,
            "cloud": {"timeoutSeconds": 30, "readsPerSecond": 0.5, "writesPerSecond": 1000},
        }
    },
    "the agent's settings": {
        "agent": {
            "localDNS": ["169.254.20.10", "fd00::10"],
            "serviceCIDRs": ["10.96.0.0/12", "fd00:1::/112"],
            "cniBinDir": "/var/lib/cni/bin",
            "cniConfDir": "/var/lib/cni/conf",
            "minReadySeconds": 0,
        }
    },
    "scheduling": {
        "operator": {"affinity": AFFINITY, "topologySpreadConstraints": [SPREAD]},
        "agent": {"affinity": AFFINITY, "nodeSelector": {"openeni": "yes"}, "tolerations": []},
    },
    "updates on delete": {"agent": {"updateStrategy": {"type": "OnDelete", "rollingUpdate": None}}},
    "as little as possible": {
        part: {
            "resources": None,
            "nodeSelector": None,
            "affinity": None,
            "tolerations": None,
            "priorityClassName": "",
        }
        for part in ("operator", "agent")
    },
    "labels": {"commonLabels": {"team": "network", "app.kubernetes.io/part-of": "platform"}},
    "a part of another chart": {"enabled": True, "global": {"registry": "r.example"}},
    "no CRDs": {"crds": {"enabled": False}},
    "CRDs that go with the release": {"crds": {"keep": False}},
    "another Secret, nobody in an emergency": {
        "clouds": {"secretName": "clouds"},
        "admission": {"emergencyGroup": ""},
    },
}
UNKNOWN = "additional properties '{}' not allowed"
REFUSED: tuple[tuple[Json, tuple[str, ...]], ...] = (
    ({"operater": {"workers": 4}}, (UNKNOWN.format("operater"),)),
    ({"agent": {"resorces": {}}}, ("at '/agent'", UNKNOWN.format("resorces"))),
    ({"operator": {"replicas": 9}}, ("at '/operator/replicas'", "maximum")),
    ({"image": {"repository": "openeni"}}, ("at '/image'", UNKNOWN.format("repository"))),
    ({"image": {"registry": ""}}, ("image.registry: no image of openeni is published yet",)),
    ({"image": {"registry": "https://r.example/"}}, ("at '/image/registry'", "pattern")),
    ({"agent": {"image": {"digest": "sha256:12"}}}, ("at '/agent/image/digest'", "pattern")),
    ({"operator": {"workers": 0}}, ("at '/operator/workers'", "minimum")),
    ({"operator": {"workers": "4"}}, ("at '/operator/workers'", "want integer")),
    ({"operator": {"workers": None}}, ("at '/operator'", "missing property 'workers'")),
    ({"operator": {"logLevel": "TRACE"}}, ("at '/operator/logLevel'", "'DEBUG'")),
    ({"operator": {"cloud": {"readsPerSecond": 0}}}, ("at '/operator/cloud/readsPerSecond'",)),
    ({"kubernetesService": {"port": 70000}}, ("at '/kubernetesService/port'", "maximum")),
    ({"agent": {"cniBinDir": "opt/cni"}}, ("at '/agent/cniBinDir'", "pattern")),
    ({"kubernetesService": {"host": "https://api"}}, ("at '/kubernetesService/host'", "pattern")),
    ({"operator": {"probePort": 80}}, ("at '/operator/probePort'", "minimum")),
    ({"agent": {"localDNS": ["dns.example"]}}, ("at '/agent/localDNS/0'", "pattern")),
    ({"agent": {"localDNS": ["999.1"]}}, ("at '/agent/localDNS/0'", "pattern")),
    ({"agent": {"serviceCIDRs": ["10.96.0.0"]}}, ("at '/agent/serviceCIDRs/0'", "pattern")),
    ({"crds": {"kept": True}}, ("at '/crds'", UNKNOWN.format("kept"))),
    (
        {"operator": {"extraEnv": [{"name": "OPENENI_WORKERS", "value": "4"}]}},
        ("operator.extraEnv: OPENENI_WORKERS is set already: docs/values.md",),
    ),
)


def rendered(helm: Helm, values: Json) -> list[Json]:
    return list(chart.render(helm.program, values))


def pods(documents: list[Json]) -> dict[str, Json]:
    """Return the pod template of each workload by its container's name."""
    found = [d["spec"]["template"] for d in documents if d["kind"] in chart.WORKLOADS]
    return {template["spec"]["containers"][0]["name"]: template for template in found}


@pytest.fixture(scope="module")
def serving(helm: Helm) -> Helm:
    """An API server with the release's namespace."""
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": chart.NAMESPACE}}
    helm.api.apply([body])
    return helm


def test_helm_finds_nothing_to_complain_of(helm: Helm) -> None:
    for folder in (chart.CHART, chart.CHART / "charts" / "openeni-crds"):
        helm.run("lint", "--strict", str(folder), "--set=image.registry=registry.example")


@pytest.mark.parametrize("values", SETS.values(), ids=SETS)
def test_the_api_server_takes_every_object_and_every_field_of_it(
    serving: Helm, values: Json
) -> None:
    for manifest in rendered(serving, values):
        serving.dry_run(manifest)


@pytest.mark.parametrize(("values", "words"), REFUSED, ids=[str(v) for v, _ in REFUSED])
def test_what_cannot_work_is_refused_with_the_values_name(
    helm: Helm, values: Json, words: tuple[str, ...]
) -> None:
    with pytest.raises(chart.ChartError) as refused:
        rendered(helm, values)
    for word in words:
        assert word in str(refused.value)


def test_an_image_is_named_by_its_digest_before_its_tag(helm: Helm) -> None:
    image = {"tag": "v2", "digest": DIGEST}
    found = pods(rendered(helm, {"operator": {"image": image}, "agent": {"image": {"tag": "v2"}}}))
    images = {name: pod["spec"]["containers"][0]["image"] for name, pod in found.items()}
    assert images == {
        "operator": f"{chart.REGISTRY}/openeni-operator@{DIGEST}",
        "agent": f"{chart.REGISTRY}/openeni-agent:v2",
    }


def test_a_registry_of_a_parent_chart_is_used_where_the_chart_has_none_of_its_own(
    helm: Helm,
) -> None:
    given: Json = {"global": {"imageRegistry": "parent.example/x"}}
    for own, used in (("", "parent.example/x"), ("own.example", "own.example")):
        found = pods(rendered(helm, {**given, "image": {"registry": own}}))
        images = {template["spec"]["containers"][0]["image"] for template in found.values()}
        assert {image.rpartition("/")[0] for image in images} == {used}


def test_labels_of_the_user_never_replace_the_charts(helm: Helm) -> None:
    documents = rendered(helm, SETS["labels"])
    mine = [d for d in documents if d["kind"] != "CustomResourceDefinition"]
    labels = [d["metadata"]["labels"] for d in mine]
    labels += [pod["metadata"]["labels"] for pod in pods(documents).values()]
    assert {label["team"] for label in labels} == {"network"}
    assert {label["app.kubernetes.io/part-of"] for label in labels} == {"openeni"}


def test_annotations_of_the_user_are_on_every_object_beside_the_charts(helm: Helm) -> None:
    given = {"example.org/owner": "network"}
    documents = chart.render(helm.program, {"commonAnnotations": given}, hooks=True)
    plain = {chart_key(d): annotations(d) for d in chart.render(helm.program, {}, hooks=True)}
    for document in documents:
        own = {} if document["kind"] == "CustomResourceDefinition" else given
        assert annotations(document) == plain[chart_key(document)] | own


def annotations(document: Json) -> Json:
    found: Json = document["metadata"].get("annotations", {})
    return found


def chart_key(document: Json) -> tuple[str, str]:
    return document["kind"], document["metadata"]["name"]


def test_each_variable_reaches_its_container(helm: Helm) -> None:
    names = ("an API server without kube-proxy", "everything extra")
    for pod in pods(rendered(helm, {k: v for n in names for k, v in SETS[n].items()})).values():
        env = {e["name"]: e.get("value") for e in pod["spec"]["containers"][0]["env"]}
        assert env["KUBERNETES_SERVICE_HOST"] == "fd00::1"
        assert env["KUBERNETES_SERVICE_PORT"] == "443"
        assert env["HTTPS_PROXY"] == "http://proxy.example:3128"


def test_the_manifests_for_people_without_helm_are_what_the_chart_renders(helm: Helm) -> None:
    assert manifests.files(helm.program).differing() == []


def test_the_api_server_takes_the_manifests_for_people_without_helm(serving: Helm) -> None:
    for manifest in yaml.safe_load_all(manifests.manifests(serving.program)):
        if manifest:
            serving.dry_run(manifest)


def hook(helm: Helm, values: Json | None = None) -> Json:
    """Return the Job that `helm uninstall` runs first."""
    (job,) = (d for d in chart.render(helm.program, values, hooks=True) if d["kind"] == "Job")
    return job


def test_the_hook_is_a_job_that_the_api_server_takes(serving: Helm) -> None:
    job = hook(serving, {"kubernetesService": {"host": "10.0.0.1"}})
    assert job["metadata"]["annotations"]["helm.sh/hook"] == "pre-delete"
    serving.dry_run(job)
    template = job["spec"]["template"]["spec"]
    (container,) = template["containers"]
    (operator,) = pods(rendered(serving, {}))["operator"]["spec"]["containers"]
    assert container["image"] == operator["image"]
    assert {e["name"]: e["value"] for e in container["env"]} == {
        "KUBERNETES_SERVICE_HOST": "10.0.0.1",
        "KUBERNETES_SERVICE_PORT": "6443",
    }
    assert template["serviceAccountName"] == "openeni-operator"
    assert "Job" not in {d["kind"] for d in rendered(serving, {})}


@pytest.mark.parametrize("which", ["operator", "hook"])
def test_of_the_restricted_standard_only_what_the_hosts_network_breaks_is_broken(
    helm: Helm, which: str
) -> None:
    operator = pods(rendered(helm, {}))["operator"]
    template = operator if which == "operator" else hook(helm)["spec"]["template"]
    namespace = unique("restricted")
    standard = {f"pod-security.kubernetes.io/{m}": "restricted" for m in ("enforce", "warn")}
    metadata = {"name": namespace, "labels": standard}
    place = {"name": "openeni-operator", "namespace": namespace}
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": place}
    helm.api.apply([{"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}, account])
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": place,
        "spec": template["spec"],
    }
    with pytest.raises(ApiError, match="violates PodSecurity") as refused:
        helm.api.request("POST", f"/api/v1/namespaces/{namespace}/pods?dryRun=All", pod)
    complaints = str(refused.value).partition('"restricted:latest": ')[2]
    rules = [part.partition(" (")[0] for part in complaints.split("), ")]
    assert rules == ["host namespaces"]
