"""Render and install the chart of this source tree with Helm."""

import json
import os
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

import yaml

from openeni_lab import layout
from openeni_lab.kubernetes.api import Api

Json = dict[str, Any]

CHART: Final = layout.REPOSITORY / "helm" / "openeni"
NAMESPACE: Final = "openeni-system"
RELEASE: Final = "openeni"
REGISTRY: Final = "openeni.lab"  # of the lab's images; nothing is pulled from it
WORKLOADS: Final = ("Deployment", "DaemonSet")
SECRETS: Final = f"/api/v1/namespaces/{NAMESPACE}/secrets"
PENDING: Final = "owner=helm,status in (pending-install,pending-upgrade,pending-rollback)"
RENDER_SECONDS: Final = 60
UPGRADE_SECONDS: Final = 300


class ChartError(Exception):
    """The chart cannot be rendered or installed. For the user."""


def render(helm: Path, values: Json | None = None, *, hooks: bool = False) -> tuple[Json, ...]:
    """Return every object of the chart, and its hooks if asked for. Raises ChartError."""
    text = template(helm, REGISTRY, values, hooks=hooks)
    documents = yaml.load_all(text, Loader=yaml.CSafeLoader)  # nine times as fast
    return tuple(document for document in documents if document)


def template(helm: Path, registry: str, values: Json | None = None, *, hooks: bool = False) -> str:
    """Return what `helm template` prints with these values. Raises ChartError with its message."""
    argv = [str(helm), "template", RELEASE, str(CHART), "--namespace", NAMESPACE]
    argv += ["--values", "-", *([] if hooks else ["--no-hooks"])]
    given = values or {}
    given = {**given, "image": {"registry": registry, **given.get("image", {})}}
    return _run(argv, given, RENDER_SECONDS, {})


def objects(documents: Iterable[Json]) -> tuple[Json, ...]:
    """Return the objects without the workloads: kinds, rights, policies."""
    return tuple(d for d in documents if d["kind"] not in WORKLOADS)


def upgrade(helm: Path, kubeconfig: Path, home: Path, values: Json) -> None:
    """Install the release, or upgrade it to the chart in this tree and these values.

    `home` is Helm's folder. Does not wait for the pods. Raises ChartError with helm's message.
    """
    of_release = [f"--kubeconfig={kubeconfig}", "--namespace", NAMESPACE]
    homes = environment(home)
    _end_unfinished(helm, Api(kubeconfig), of_release, homes)
    argv = [str(helm), "upgrade", "--install", RELEASE, str(CHART), *of_release, "--values", "-"]
    _run(argv, values, UPGRADE_SECONDS, homes)


def _end_unfinished(
    helm: Path, api: Api, of_release: Sequence[str], homes: Mapping[str, str]
) -> None:
    """End what Helm has begun and not finished; it would refuse every upgrade for ever.

    A Helm that was killed leaves a record of its operation, which goes: the revision before it is
    the current one again. A refused uninstallation has changed that revision's own record, and only
    a rollback takes this back.
    """
    api.request("DELETE", f"{SECRETS}?{urlencode({'labelSelector': PENDING})}")
    listing = [str(helm), "list", "--uninstalling", "--output", "json", *of_release]
    for release in json.loads(_run(listing, {}, RENDER_SECONDS, homes)):
        back = [str(helm), "rollback", release["name"], release["revision"], *of_release]
        _run(back, {}, UPGRADE_SECONDS, homes)


def environment(home: Path) -> dict[str, str]:
    """Return the variables with which helm keeps all it writes in a folder."""
    homes = {f"HELM_{name}_HOME": str(home) for name in ("CACHE", "CONFIG", "DATA")}
    return {**homes, "KUBECACHEDIR": str(home / "kube")}


def _run(argv: Sequence[str], values: Json, seconds: float, env: Mapping[str, str]) -> str:
    """Run helm with `values` on its standard input; return its output."""
    try:
        finished = subprocess.run(
            argv,
            env={**os.environ, **env},
            input=json.dumps(values),
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise ChartError(f"helm {argv[1]} did not end within {seconds:.0f} s") from error
    if finished.returncode:
        raise ChartError(f"helm {argv[1]}: {finished.stderr.strip()}")
    return finished.stdout
