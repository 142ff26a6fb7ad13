"""The real Helm on a real API server."""

import json
import os
import shutil
import subprocess
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

from openeni_crds.names import BUNDLE_VERSION
from openeni_lab.kubernetes.api import APPLY, Api, ApiError
from openeni_lab.product.chart import CHART, NAMESPACE, REGISTRY, RELEASE, environment

Json = dict[str, Any]

SECONDS: Final = 60
NEXT: Final = "0.2.0"  # the version of `next_chart`


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
        argv = [str(self.program), *words, f"--kubeconfig={self.kubeconfig}"]
        if words[0] != "lint":
            argv.append(f"--namespace={NAMESPACE}")
        if values is not None:
            argv += ["--values", "-"]
        return subprocess.run(
            argv,
            env={**os.environ, **environment(self.folder)},
            input=json.dumps(values),
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )

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

    def dry_run(self, manifest: Json) -> None:
        """Ask the server as `kubectl apply --server-side --dry-run=server --validate=strict` does.

        What it has taken once is not asked again: most objects are the same for all values.
        """
        text = json.dumps(manifest, sort_keys=True)
        if text in self._taken:
            return
        asked = {"dryRun": "All", "fieldValidation": "Strict", "fieldManager": "openeni-tests"}
        path = f"{self.api.path_of(manifest)}?{urlencode(asked)}"
        try:
            answer = self.api.request("PATCH", path, manifest, APPLY)
        except ApiError as error:
            name = f"{manifest['kind']} {manifest['metadata']['name']}"
            raise AssertionError(f"{name}: {error}") from error
        assert answer["metadata"]["uid"]
        self._taken.add(text)
