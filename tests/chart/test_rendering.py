"""What the real Helm renders: taken by a real API server, or refused with the value's name."""

from typing import Any

import pytest
import yaml

from openeni_lab.product import chart, manifests
from openeni_testing.helm import Helm, pod_templates

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
    "an engine for NetworkPolicies": {"networkPolicies": {"enabled": True}},
    "an engine elsewhere, without kube-proxy": {
        "kubernetesService": {"host": "api.example"},
        "networkPolicies": {
            "enabled": True,
            "namespaceOverride": chart.NAMESPACE,
            "kubernetesService": {"host": "fd00::1", "port": 443},
        },
    },
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
            "markMask": "0x0000f800",
            "metricsPort": 19442,
            "cniBinDir": "/var/lib/cni/bin",
            "cniConfDir": "/var/lib/cni/conf",
            "minReadySeconds": 0,
        }
    },
    "scheduling": {
        "operator": {"affinity": AFFINITY, "topologySpreadConstraints": [SPREAD]},
        "agent": {"affinity": AFFINITY, "nodeSelector": {"openeni": "yes"}, "tolerations": []},
    },
    "an agent without the system bus": {
        "agent": {
            "systemBus": False,
            "appArmorProfile": {"type": "RuntimeDefault"},
            "seLinuxOptions": None,
        }
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
    "labels": {"commonLabels": {"team": "network"}},
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
    ({"operator": {"orphans": True}}, ("at '/operator/orphans'", "'Delete'")),
    ({"operator": {"cloud": {"readsPerSecond": 0}}}, ("at '/operator/cloud/readsPerSecond'",)),
    ({"kubernetesService": {"port": 70000}}, ("at '/kubernetesService/port'", "maximum")),
    ({"agent": {"cniBinDir": "opt/cni"}}, ("at '/agent/cniBinDir'", "pattern")),
    ({"kubernetesService": {"host": "https://api"}}, ("at '/kubernetesService/host'", "pattern")),
    ({"operator": {"probePort": 80}}, ("at '/operator/probePort'", "minimum")),
    ({"agent": {"metricsPort": 0}}, ("at '/agent/metricsPort'", "minimum")),
    ({"agent": {"localDNS": ["dns.example"]}}, ("at '/agent/localDNS/0'", "pattern")),
    ({"agent": {"localDNS": ["999.1"]}}, ("at '/agent/localDNS/0'", "pattern")),
    ({"agent": {"serviceCIDRs": ["10.96.0.0"]}}, ("at '/agent/serviceCIDRs/0'", "pattern")),
    ({"agent": {"markMask": 2031616}}, ("at '/agent/markMask'", "want string")),
    ({"agent": {"markMask": "0x1f0000000"}}, ("at '/agent/markMask'", "maxLength")),
    ({"agent": {"localDNS": ["999.1.1.1"]}}, ("at '/agent/localDNS/0'", "pattern")),
    ({"agent": {"localDNS": ["fd00:::10"]}}, ("at '/agent/localDNS/0'", "pattern")),
    ({"agent": {"serviceCIDRs": ["10.96.0.0/99"]}}, ("at '/agent/serviceCIDRs/0'", "pattern")),
    ({"agent": {"serviceCIDRs": ["fd00::/129"]}}, ("at '/agent/serviceCIDRs/0'", "pattern")),
    ({"agent": {"markMask": "0x0000c000"}}, ("at '/agent/markMask'", "pattern")),
    ({"agent": {"markMask": "0x0"}}, ("at '/agent/markMask'", "pattern")),
    ({"kubernetesService": {"host": "api:6443"}}, ("at '/kubernetesService/host'", "pattern")),
    ({"kubernetesService": {"host": "[fd00::1]"}}, ("at '/kubernetesService/host'", "pattern")),
    ({"agent": {"image": {"repository": "/bar"}}}, ("at '/agent/image/repository'", "pattern")),
    (
        {"operator": {"probePort": 10250}},
        ("operator.probePort: the kubelet listens on port 10250",),
    ),
    ({"operator": {"probePort": 6443}}, ("operator.probePort: kube-apiserver listens on port",)),
    (
        {"namespaceOverride": "net", "networkPolicies": {"enabled": True}},
        ("networkPolicies.namespaceOverride: the sub-chart does not see", "set it here, too"),
    ),
    (
        {"kubernetesService": {"host": "10.0.0.1"}, "networkPolicies": {"enabled": True}},
        ("networkPolicies.kubernetesService.host: the sub-chart does not see",),
    ),
    (
        {"networkPolicies": {"kubernetesService": {"host": "https://api"}}},
        ("at '/networkPolicies/kubernetesService/host'", "pattern"),
    ),
    (
        {"networkPolicies": {"namespaceOverride": "Net"}},
        ("at '/networkPolicies/namespaceOverride'", "pattern"),
    ),
    ({"hooks": {"waitSeconds": 5}}, ("at '/hooks/waitSeconds'", "minimum")),
    ({"crds": {"kept": True}}, ("at '/crds'", UNKNOWN.format("kept"))),
    (
        {"operator": {"extraEnv": [{"name": "OPENENI_WORKERS", "value": "4"}]}},
        ("operator.extraEnv: OPENENI_WORKERS is set already: docs/values.md",),
    ),
)


def test_helm_finds_nothing_to_complain_of(helm: Helm) -> None:
    helm.run("lint", "--strict", str(chart.CHART), "--set=image.registry=registry.example")
    helm.run("lint", "--strict", str(chart.CHART / "charts" / "openeni-crds"))


@pytest.mark.parametrize("values", SETS.values(), ids=SETS)
def test_the_api_server_takes_every_object_and_every_field_of_it(
    serving: Helm, values: Json
) -> None:
    for manifest in serving.render(values):
        serving.dry_run(manifest)


@pytest.mark.parametrize(("values", "words"), REFUSED, ids=[str(v) for v, _ in REFUSED])
def test_what_cannot_work_is_refused_with_the_values_name(
    helm: Helm, values: Json, words: tuple[str, ...]
) -> None:
    with pytest.raises(chart.ChartError) as refused:
        helm.render(values)
    for word in words:
        assert word in str(refused.value)


def test_an_image_is_named_by_its_digest_before_its_tag(helm: Helm) -> None:
    image = {"tag": "v2", "digest": DIGEST}
    found = pod_templates(
        helm.render({"operator": {"image": image}, "agent": {"image": {"tag": "v2"}}})
    )
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
        found = pod_templates(helm.render({**given, "image": {"registry": own}}))
        images = {template["spec"]["containers"][0]["image"] for template in found.values()}
        assert {image.rpartition("/")[0] for image in images} == {used}


@pytest.mark.parametrize(
    ("own", "parents", "used"),
    [
        ([], [{"name": "a"}, {"name": "b"}], ["a", "b"]),
        ([], ["a", "b"], ["a", "b"]),  # as many parent charts have them
        ([{"name": "own"}], ["a"], ["own"]),
    ],
)
def test_pull_secrets_of_a_parent_chart_are_used_where_the_chart_has_none_of_its_own(
    helm: Helm, own: list[Json], parents: list[Any], used: list[str]
) -> None:
    given: Json = {"global": {"imagePullSecrets": parents}, "image": {"pullSecrets": own}}
    for template in pod_templates(helm.render(given)).values():
        assert template["spec"]["imagePullSecrets"] == [{"name": name} for name in used]


def test_the_operators_scratch_space_keeps_no_node_from_being_scaled_down(helm: Helm) -> None:
    key = "cluster-autoscaler.kubernetes.io/safe-to-evict-local-volumes"
    operator = pod_templates(helm.render())["operator"]
    scratch = [v["name"] for v in operator["spec"]["volumes"] if "emptyDir" in v]
    assert operator["metadata"]["annotations"] == {key: ",".join(scratch)}
    given: Json = {"operator": {"podAnnotations": {"a": "b", key: "tmp,more"}}}
    changed = pod_templates(helm.render(given))["operator"]
    assert changed["metadata"]["annotations"] == {"a": "b", key: "tmp,more"}


def test_the_chart_of_the_crds_refuses_what_it_does_not_know(helm: Helm) -> None:
    alone = str(chart.CHART / "charts" / "openeni-crds")
    assert helm.run("template", "crds", alone, values={"keep": False})
    refused = helm.try_run("template", "crds", alone, values={"kept": False})
    assert UNKNOWN.format("kept") in refused.stderr


def test_each_variable_reaches_its_container(helm: Helm) -> None:
    names = ("an API server without kube-proxy", "everything extra")
    for pod in pod_templates(
        helm.render({k: v for n in names for k, v in SETS[n].items()})
    ).values():
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
