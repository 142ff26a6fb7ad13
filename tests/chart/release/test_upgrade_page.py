"""The commands of docs/upgrade.md, on the real Helm, the real kubectl and a real API server."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from openeni_lab.product import manifests
from openeni_lab.product.chart import CHART, NAMESPACE, REGISTRY, RELEASE
from openeni_lab.programs import prepared
from openeni_testing.helm import Helm, next_chart
from openeni_testing.objects import REPOSITORY

pytestmark = pytest.mark.cluster

Json = dict[str, Any]

PAGE: Final = (REPOSITORY / "docs" / "upgrade.md").read_text()
APPS: Final = f"/apis/apps/v1/namespaces/{NAMESPACE}"
UPGRADE: Final = f"helm upgrade {RELEASE} helm/{CHART.name} -n {NAMESPACE} "
SECRET: Final = f"/api/v1/namespaces/{NAMESPACE}/secrets/openeni-clouds"
OTHER: Final = "network"  # another release


def blocks(heading: str) -> list[str]:
    """Return the shell blocks of a section of the page, each on one line."""
    section = PAGE.partition(f"# {heading}\n")[2].partition("\n#")[0]
    found = re.findall(r"```sh\n(.*?)```", section, re.DOTALL)
    assert found
    return [block.replace("\\\n", " ") for block in found]


def upgrades(heading: str) -> list[list[str]]:
    """Return the words after the chart of each `helm upgrade` in a section."""
    lines = [line for block in blocks(heading) for line in block.splitlines()]
    assert all(UPGRADE in line for line in lines if line.startswith("helm"))
    return [line.removeprefix(UPGRADE).split() for line in lines if line.startswith(UPGRADE)]


def kubectl(helm: Helm, *words: str, given: str = "") -> str:
    program = prepared.read(["kubectl"]).built.bin("kubectl")
    own = [f"--kubeconfig={helm.kubeconfig}", f"--cache-dir={helm.folder}"]
    done = subprocess.run(
        [program, *own, *words],
        input=given,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def operator_replicas(helm: Helm) -> int:
    replicas: int = helm.api.request("GET", f"{APPS}/deployments/openeni-operator")["spec"][
        "replicas"
    ]
    return replicas


def strategy(helm: Helm) -> Json:
    found = helm.api.request("GET", f"{APPS}/daemonsets/openeni-agent")["spec"]
    kept: Json = found["updateStrategy"]
    return {"type": kept["type"], **kept.get("rollingUpdate", {})}


def owners(helm: Helm) -> set[str]:
    """Return the releases that the CRDs are of."""
    path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    crds = [helm.api.request("GET", f"{path}/{name}") for name in helm.crds()]
    return {crd["metadata"]["annotations"]["meta.helm.sh/release-name"] for crd in crds}


def test_agents_and_operators_wait_where_the_page_has_them_wait(empty: Helm) -> None:
    empty.put("install", "--create-namespace")
    default = (strategy(empty), operator_replicas(empty))
    hold, release = upgrades("Where the changelog says that nodes must be drained")
    stop, start = upgrades("To pause pools before the new operator acts")
    empty.run("upgrade", RELEASE, str(CHART), *hold, *stop)
    assert (strategy(empty), operator_replicas(empty)) == ({"type": "OnDelete"}, 0)
    empty.run("upgrade", RELEASE, str(CHART), *release, *start)
    assert (strategy(empty), operator_replicas(empty)) == default


@pytest.fixture
def another(empty: Helm) -> Iterator[Helm]:
    yield empty
    empty.try_run("uninstall", OTHER, "--no-hooks")


def test_crds_that_a_release_has_kept_are_taken_over_by_one_of_another_name(another: Helm) -> None:
    another.put("install", "--create-namespace")
    another.run("uninstall", RELEASE, "--no-hooks")
    values: Json = {"image": {"registry": REGISTRY}}
    refused = another.try_run("install", OTHER, str(CHART), values=values)
    assert "invalid ownership metadata" in refused.stderr
    (command,) = blocks("Another release name or namespace")
    assert command.startswith(f"helm install {OTHER} helm/{CHART.name} ")
    assert "--take-ownership" in command
    another.run("install", OTHER, str(CHART), "--take-ownership", values=values)
    assert owners(another) == {OTHER}


@pytest.fixture
def applied(empty: Helm) -> Iterator[Helm]:
    """What deploy/openeni.yaml installs, with the Secret that people put beside it."""
    text = manifests.manifests(empty.program)
    kubectl(empty, "apply", "--server-side", "-f", "-", given=text)
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "openeni-clouds"}}
    kubectl(empty, "-n", NAMESPACE, "apply", "--server-side", "-f", "-", given=yaml.dump(secret))
    yield empty
    empty.api.delete(SECRET)
    _delete(empty)


def _delete(helm: Helm) -> None:
    """Do what the page says, but for the CRDs."""
    kinds, delete = blocks("Without Helm")
    script = f"{kinds.rpartition('kubectl')[0]}\nprintf '%s\\n' {delete.partition('kubectl ')[2]}"
    words = subprocess.run(
        ["sh", "-ec", script], capture_output=True, text=True, timeout=10, check=True
    ).stdout.split()
    kubectl(helm, *words)


def test_what_the_manifests_have_installed_becomes_a_release_and_goes_without_the_secret(
    applied: Helm, tmp_path: Path
) -> None:
    values: Json = {"image": {"registry": REGISTRY}}
    refused = applied.try_run("install", RELEASE, str(CHART), values=values)
    assert "invalid ownership metadata" in refused.stderr
    flags = ("--take-ownership", "--force-conflicts")
    assert all(f"`{flag}`" in PAGE for flag in flags)
    daemonset = f"{APPS}/daemonsets/openeni-agent"
    before = applied.api.request("GET", daemonset)["metadata"]["uid"]
    applied.run("install", RELEASE, str(CHART), *flags, values=values)
    assert owners(applied) == {RELEASE}
    later = ("upgrade", RELEASE, str(next_chart(tmp_path)))
    assert 'conflict with "kubectl"' in applied.try_run(*later, values=values).stderr
    applied.run(*later, "--force-conflicts", values=values)
    assert applied.api.request("GET", daemonset)["metadata"]["uid"] == before

    _delete(applied)
    left = [
        (body["kind"], body["metadata"]["name"])
        for body in yaml.safe_load_all(manifests.manifests(applied.program))
        if body and applied.api.get(applied.api.path_of(body)) is not None
    ]
    crds = [("CustomResourceDefinition", name) for name in applied.crds()]
    assert sorted(left) == sorted([("Namespace", NAMESPACE), *crds])
    assert applied.api.get(SECRET) is not None
