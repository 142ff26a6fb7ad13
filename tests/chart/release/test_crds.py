"""CRDs that people apply themselves, forth and back, as docs/upgrade.md and docs/api.md say."""

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from openeni_crds.names import BUNDLE_VERSION
from openeni_lab.kubernetes.api import MERGE
from openeni_lab.programs import prepared
from openeni_testing.helm import NEXT, Helm
from openeni_testing.objects import REPOSITORY
from openeni_testing.waiting import wait_for

pytestmark = pytest.mark.cluster

Json = dict[str, Any]

COMMAND: Final = "kubectl apply --server-side -f crds/"
FORCE: Final = "--force-conflicts"
POOL: Final = REPOSITORY / "docs" / "examples" / "enipool-veth.yaml"


@pytest.fixture
def newer(tmp_path: Path) -> Path:
    """The CRDs of a version in which ENIPools have one more field, `spec.novelty`."""
    folder = tmp_path / "crds"
    folder.mkdir()
    for path in sorted((REPOSITORY / "crds").glob("*.yaml")):
        crd = yaml.safe_load(path.read_text().replace(BUNDLE_VERSION, NEXT))
        if crd["spec"]["names"]["kind"] == "ENIPool":
            schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
            schema["properties"]["spec"]["properties"]["novelty"] = {"type": "string"}
        (folder / path.name).write_text(yaml.safe_dump(crd))
    return folder


@pytest.fixture
def apply(empty: Helm) -> Callable[..., str]:
    """Return a function that applies a folder of CRDs by the page's command.

    It returns why that failed, or nothing.
    """
    assert f"`{COMMAND}`" in (REPOSITORY / "docs" / "upgrade.md").read_text()
    kubectl = prepared.read(["kubectl"]).built.bin("kubectl")

    def run(folder: Path, *flags: str) -> str:
        words = COMMAND.replace("crds/", str(folder)).split()[1:]
        own = (f"--kubeconfig={empty.kubeconfig}", f"--cache-dir={empty.folder}")
        done = subprocess.run(
            [kubectl, *own, *words, *flags],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return done.stderr if done.returncode else ""

    return run


def test_crds_that_helm_had_applied_are_taken_over_by_force_and_only_so(
    empty: Helm, apply: Callable[..., str], newer: Path
) -> None:
    empty.put("install", "--create-namespace")
    empty.put("upgrade", values={"crds": {"enabled": False}})
    assert 'conflicts with "helm"' in apply(newer)
    assert apply(newer, FORCE) == ""
    assert {version.partition("+")[0] for version in empty.crds().values()} == {NEXT}


def test_what_an_older_crd_does_not_know_is_hidden_and_lost_with_the_next_write(
    empty: Helm, apply: Callable[..., str], newer: Path
) -> None:
    older = REPOSITORY / "crds"
    (pool,) = yaml.safe_load_all(POOL.read_text())
    apply(newer)
    wait_for(empty.serves_kinds, "every kind is served")
    path = empty.api.path_of(pool)

    def spec() -> Json:
        found: Json = (empty.api.get(path) or {})["spec"]
        return found

    pool["spec"]["novelty"] = "new"
    empty.api.apply([pool])
    before = spec()
    assert before["novelty"] == "new"

    apply(older)
    wait_for(lambda: "novelty" not in spec(), "the older CRD is served")
    assert spec() == {k: v for k, v in before.items() if k != "novelty"}
    apply(newer)
    wait_for(lambda: spec() == before, "the newer CRD is served, and nothing is lost")

    apply(older)
    wait_for(lambda: "novelty" not in spec(), "the older CRD is served")
    empty.api.request("PATCH", path, {"metadata": {"labels": {"a": "b"}}}, MERGE)
    apply(newer)
    pool["metadata"]["name"] = "probe"

    def is_served() -> bool:
        empty.api.apply([pool])
        found: Json = empty.api.request("GET", empty.api.path_of(pool))["spec"]
        return "novelty" in found

    wait_for(is_served, "the newer CRD is served")
    assert spec() == {k: v for k, v in before.items() if k != "novelty"}
