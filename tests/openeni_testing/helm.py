"""The real Helm on a real API server."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

from openeni_crds.names import BUNDLE_VERSION
from openeni_lab.kubernetes.api import APPLY, Api, ApiError
from openeni_lab.product.chart import (
    CHART,
    NAMESPACE,
    REGISTRY,
    RELEASE,
    WORKLOADS,
    environment,
    render,
)
from openeni_testing.waiting import wait_for

Json = dict[str, Any]

SECONDS: Final = 60
CRDS: Final = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
STARTING: Final = 429  # "storage is (re)initializing"
NEXT: Final = "99.0.0"  # the version of `next_chart`: of no release that is made


def next_chart(folder: Path) -> Path:
    """Write the next version of the chart into a folder: its CRDs and its defaults differ."""
    target = folder / "openeni"
    shutil.copytree(CHART, target)
    for path in target.rglob("Chart.yaml"):
        path.write_text(path.read_text().replace(BUNDLE_VERSION, NEXT))
    values = target / "values.yaml"
    values.write_text(values.read_text().replace("logLevel: INFO", "logLevel: DEBUG"))
    crd = target / "charts/openeni-crds/templates/openeni.io_enipools.yaml"
    crd.write_text(crd.read_text().replace("shortNames:\n", "shortNames:\n    - nextpool\n", 1))
    return target


def pod_templates(documents: Iterable[Json]) -> dict[str, Json]:
    """Return the pod template of each workload by its container's name."""
    found = [d["spec"]["template"] for d in documents if d["kind"] in WORKLOADS]
    return {template["spec"]["containers"][0]["name"]: template for template in found}


@dataclass(frozen=True)
class Helm:
    """Helm with a kubeconfig of every right, and a folder for what it keeps."""

    program: Path
    kubeconfig: Path
    folder: Path
    _taken: set[str] = field(default_factory=set[str])

    @cached_property
    def api(self) -> Api:
        return Api(self.kubeconfig)

    def try_run(
        self, *words: str, values: Json | None = None, seconds: float = SECONDS
    ) -> "subprocess.CompletedProcess[str]":
        """Run Helm with `values` as a values file on stdin."""
        given = () if values is None else ("--values", "-")
        return subprocess.run(
            self._argv(*words, *given),
            env=self._environment,
            input=json.dumps(values),
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )

    def kill_during(self, status: str, *words: str) -> None:
        """Start Helm, and kill it once its record of the release has this status."""
        secrets = f"/api/v1/namespaces/{NAMESPACE}/secrets"
        recorded = f"owner=helm,status={status}"
        process = subprocess.Popen(
            self._argv(*words), env=self._environment, stdout=subprocess.DEVNULL
        )
        try:
            wait_for(lambda: self.api.items(secrets, labelSelector=recorded), status)
        finally:
            process.kill()
            process.wait(SECONDS)

    def _argv(self, *words: str) -> list[str]:
        namespace = () if words[0] == "lint" else (f"--namespace={NAMESPACE}",)
        return [str(self.program), *words, f"--kubeconfig={self.kubeconfig}", *namespace]

    @property
    def _environment(self) -> dict[str, str]:
        return {**os.environ, **environment(self.folder)}

    def run(self, *words: str, values: Json | None = None) -> str:
        """Run Helm; fail the test with what it says if it fails."""
        done = self.try_run(*words, values=values)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def put(
        self, command: str, *words: str, chart: Path = CHART, values: Json | None = None
    ) -> str:
        """Install or upgrade the release."""
        given = {"image": {"registry": REGISTRY}, **(values or {})}
        return self.run(command, RELEASE, str(chart), *words, values=given)

    def render(self, values: Json | None = None, *, hooks: bool = False) -> list[Json]:
        """Return the chart's objects, and Helm's hooks if asked for."""
        return list(render(self.program, values, hooks=hooks))

    def crds(self) -> dict[str, str]:
        """Return the version of each CRD of openeni by its name."""
        found = [c for c in self.api.items(CRDS) if c["spec"]["group"] == "openeni.io"]
        return {
            c["metadata"]["name"]: c["metadata"]
            .get("annotations", {})
            .get("openeni.io/bundle-version", "")
            for c in found
        }

    def serves_kinds(self) -> bool:
        """Return whether the API server serves every kind of openeni.

        A CRD that is deleted before has its finalizer fail, and each attempt wait twice as long.
        """
        kinds = ("enipools", "enis", "podips")
        try:
            return all(self.api.get(f"/apis/openeni.io/v1alpha1/{kind}") for kind in kinds)
        except ApiError as error:
            if error.status != STARTING:
                raise
            return False

    def dry_run(self, manifest: Json) -> None:
        """Ask the server as `kubectl apply --server-side --dry-run=server --validate=strict` does.

        What it has taken once is not asked again: most objects are the same for all values.
        """
        text = json.dumps(manifest, sort_keys=True)
        if text in self._taken:
            return
        asked = {"dryRun": "All", "fieldValidation": "Strict", "fieldManager": "openeni-tests"}
        if manifest["kind"] == "Job":  # one that another test has left cannot change its pods
            name = f"{manifest['metadata']['name']}-asked"
            manifest = {**manifest, "metadata": {**manifest["metadata"], "name": name}}
        path = f"{self.api.path_of(manifest)}?{urlencode(asked)}"
        try:
            answer = self.api.request("PATCH", path, manifest, APPLY)
        except ApiError as error:
            name = f"{manifest['kind']} {manifest['metadata']['name']}"
            raise AssertionError(f"{name}: {error}") from error
        assert answer["metadata"]["uid"]
        self._taken.add(text)
