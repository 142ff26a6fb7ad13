"""Render the chart, and read each container's command, arguments and environment from it.

The lab has no images of openeni. It runs the chart's containers as processes, with the command,
arguments and environment that the chart renders, so that none of them is repeated here.
"""

import json
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from openeni_lab import layout

Json = dict[str, Any]

CHART: Final = layout.REPOSITORY / "helm" / "openeni"
NAMESPACE: Final = "openeni-system"
RELEASE: Final = "openeni"
REGISTRY: Final = "openeni.lab"  # of the lab's images; nothing is pulled from it
WORKLOADS: Final = ("Deployment", "DaemonSet")


class ChartError(Exception):
    """The chart cannot be rendered, or the lab cannot run it. One line for the user."""


@dataclass(frozen=True)
class ContainerCommand:
    """One container of the chart, as a process of a machine."""

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str]
    service_account: str
    folders: tuple[str, ...]  # hostPath folders, which kubelet creates if they are missing


def render(helm: Path, values: Json | None = None) -> tuple[Json, ...]:
    """Return every object of the chart. Raises ChartError with helm's message."""
    text = template(helm, REGISTRY, values)
    return tuple(document for document in yaml.safe_load_all(text) if document)


def template(helm: Path, registry: str, values: Json | None = None) -> str:
    """Return what `helm template` prints with these values. Raises ChartError with its message."""
    argv = [str(helm), "template", RELEASE, str(CHART), "--namespace", NAMESPACE]
    argv += ["--values", "-"]
    given = values or {}
    given = {**given, "image": {"registry": registry, **given.get("image", {})}}
    finished = subprocess.run(
        argv,
        input=json.dumps(given),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if finished.returncode:
        raise ChartError(f"helm template: {finished.stderr.strip()}")
    return finished.stdout


def objects(documents: Iterable[Json]) -> tuple[Json, ...]:
    """Return the objects that are applied unchanged: everything but the workloads."""
    return tuple(d for d in documents if d["kind"] not in WORKLOADS)


def program(documents: Iterable[Json], component: str, node: str) -> ContainerCommand:
    """Return the container of the workload `openeni-<component>` as it runs on `node`."""
    name = f"openeni-{component}"
    found = [d for d in documents if d["kind"] in WORKLOADS and d["metadata"]["name"] == name]
    if len(found) != 1:
        raise ChartError(f"the chart has {len(found)} workloads named {name}, not one")
    pod = found[0]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    return ContainerCommand(
        name=component,
        argv=(*container["command"], *container.get("args", ())),
        env={e["name"]: _value(e, pod, node) for e in container.get("env", ())},
        service_account=pod["serviceAccountName"],
        folders=tuple(_folders(pod)),
    )


def _folders(pod: Json) -> Iterator[str]:
    for volume in pod.get("volumes", ()):
        host = volume.get("hostPath", {})
        if host.get("type") == "DirectoryOrCreate":
            yield host["path"]


def _value(entry: Json, pod: Json, node: str) -> str:
    if "value" in entry:
        return str(entry["value"])
    path = entry["valueFrom"]["fieldRef"]["fieldPath"]
    known = {
        "spec.nodeName": node,
        "spec.serviceAccountName": pod["serviceAccountName"],
        "metadata.namespace": NAMESPACE,
        "status.podIP": "127.0.0.1",  # of the lab's namespace, where the operator runs
    }
    if path not in known:
        raise ChartError(f"env {entry['name']}: the lab does not know the field {path}")
    return str(known[path])
