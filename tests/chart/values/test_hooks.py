"""What Helm runs itself: the pre-delete hook of `helm uninstall`, and `helm test`."""

from typing import Any

import pytest

from openeni_lab.kubernetes.api import ApiError
from openeni_testing.helm import Helm, pod_templates
from openeni_testing.objects import unique

pytestmark = pytest.mark.cluster

Json = dict[str, Any]

DIGEST = f"sha256:{'ab' * 32}"


HOOKS = {"openeni-uninstall": "Job", "openeni-test": "Pod", "openeni-preflight": "Pod"}


def hook(helm: Helm, name: str, values: Json | None = None) -> Json:
    """Return what Helm runs itself under a name."""
    documents = helm.render(values, hooks=True)
    (found,) = (d for d in documents if annotations(d).get("helm.sh/hook") and name_of(d) == name)
    return found


def name_of(document: Json) -> str:
    return str(document["metadata"]["name"])


def annotations(document: Json) -> Json:
    found: Json = document["metadata"].get("annotations", {})
    return found


def hook_pod(helm: Helm, name: str, values: Json | None = None) -> Json:
    """Return the spec of the pod that Helm runs, or has a Job run."""
    spec: Json = hook(helm, name, values)["spec"]
    return spec["template"]["spec"] if "template" in spec else spec


@pytest.mark.parametrize(("name", "kind"), HOOKS.items())
@pytest.mark.parametrize("resources", [{"requests": {"cpu": "7m"}}, None])
def test_what_helm_runs_is_taken_by_the_api_server_and_runs_as_the_operator_does(
    serving: Helm, name: str, kind: str, resources: Json | None
) -> None:
    given: Json = {
        "kubernetesService": {"host": "10.0.0.1"},
        "operator": {"image": {"digest": DIGEST}, "resources": resources},
        "image": {"pullSecrets": [{"name": "pull"}]},
    }
    found = hook(serving, name, given)
    assert found["kind"] == kind
    serving.dry_run(found)
    spec = hook_pod(serving, name, given)
    operator = pod_templates(serving.render(given))["operator"]
    (container,), (operators,) = spec["containers"], operator["spec"]["containers"]
    for key in ("image", "imagePullPolicy", "securityContext", "resources"):
        assert container.get(key) == operators.get(key), key
    for key in ("serviceAccountName", "imagePullSecrets", "hostNetwork", "tolerations"):
        assert spec[key] == operator["spec"][key], key
    env = {e["name"]: e.get("value") for e in container["env"]}
    assert (env["KUBERNETES_SERVICE_HOST"], env["KUBERNETES_SERVICE_PORT"]) == ("10.0.0.1", "6443")


def test_how_long_helm_waits_is_a_value_and_ends_a_job_whose_pod_never_starts(helm: Helm) -> None:
    given: Json = {"hooks": {"waitSeconds": 900}}
    for name in HOOKS:
        (container,) = hook_pod(helm, name, given)["containers"]
        env = {e["name"]: e.get("value") for e in container["env"]}
        assert env["OPENENI_WAIT_SECONDS"] == "900"
    assert hook(helm, "openeni-uninstall", given)["spec"]["activeDeadlineSeconds"] == 1200


def test_without_hooks_there_is_nothing_that_helm_would_have_to_run(helm: Helm) -> None:
    assert not {"Job", "Pod"} & {d["kind"] for d in helm.render()}


def test_only_the_test_that_asks_the_clouds_has_the_operators_credentials_and_settings(
    helm: Helm,
) -> None:
    given: Json = {
        "operator": {
            "extraEnv": [{"name": "HTTPS_PROXY", "value": "http://proxy.example:3128"}],
            "extraVolumes": [{"name": "ca", "configMap": {"name": "ca"}}],
            "extraVolumeMounts": [{"name": "ca", "mountPath": "/ca"}],
        }
    }
    operator = pod_templates(helm.render(given))["operator"]["spec"]
    asks = hook_pod(helm, "openeni-preflight", given)
    for key in ("volumes", "securityContext"):
        assert asks[key] == operator[key], key
    (container,), (operators,) = asks["containers"], operator["containers"]
    assert container["volumeMounts"] == operators["volumeMounts"]
    waiting = {"name": "OPENENI_WAIT_SECONDS", "value": "240"}
    assert container["env"] == [waiting, *operators["env"]]
    for name in HOOKS.keys() - {"openeni-preflight"}:
        assert "volumes" not in hook_pod(helm, name, given)


def test_the_clouds_are_asked_after_the_operator_is_ready(helm: Helm) -> None:
    weights = {
        name_of(d): int(annotations(d).get("helm.sh/hook-weight", "0"))
        for d in helm.render(hooks=True)
        if annotations(d).get("helm.sh/hook") == "test"
    }
    assert sorted(weights, key=weights.__getitem__) == ["openeni-test", "openeni-preflight"]
    assert len(set(weights.values())) == len(weights)


@pytest.mark.parametrize("which", ["operator", *HOOKS])
def test_of_the_restricted_standard_only_what_the_hosts_network_breaks_is_broken(
    helm: Helm, which: str
) -> None:
    operator = pod_templates(helm.render())["operator"]["spec"]
    spec = operator if which == "operator" else hook_pod(helm, which)
    namespace = unique("restricted")
    standard = {f"pod-security.kubernetes.io/{m}": "restricted" for m in ("enforce", "warn")}
    metadata = {"name": namespace, "labels": standard}
    place = {"name": "openeni-operator", "namespace": namespace}
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": place}
    helm.api.apply([{"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}, account])
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": place, "spec": spec}
    with pytest.raises(ApiError, match="violates PodSecurity") as refused:
        helm.api.request("POST", f"/api/v1/namespaces/{namespace}/pods?dryRun=All", pod)
    complaints = str(refused.value).partition('"restricted:latest": ')[2]
    rules = [part.partition(" (")[0] for part in complaints.split("), ")]
    assert rules == ["host namespaces", *(["hostPort"] if which == "operator" else [])]
