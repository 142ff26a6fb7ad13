"""Run a real Prometheus in a lab, which scrapes openeni and has its rules as the chart says.

What the Prometheus Operator does with PodMonitors is done here (its `pkg/prometheus/promcfg.go`):
Debian 12's Prometheus is built without the discovery of Kubernetes' pods.
"""

import json
import re
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

import yaml

from openeni_lab.product import monitoring_kinds
from openeni_lab.product.installed_lab import InstalledLab
from openeni_lab.programs import prepared
from openeni_testing.lab.inside_network import network_of
from openeni_testing.waiting import wait_for

Json = dict[str, Any]
Labels = Mapping[str, str]

NAME: Final = "prometheus"
ADDRESS: Final = "127.0.0.1:19090"  # in the lab's network
SCRAPE: Final = "1s"
FOR: Final = "2s"  # of every alert
HURRY: Final = 30  # by which windows of expressions, and their offsets, are divided
# Seconds in the place of an age's threshold; a quiet watch is answered once a minute, and a node is
# looked at every 30 s.
AGES: Final = {
    "openeni_eni_not_ready_seconds": 20,
    "openeni_eni_deleting_seconds": 30,
    "openeni_watch_age_seconds": 90,
    "openeni_look_age_seconds": 45,
    "openeni_agent_queue_oldest_due_seconds": 10,
    "openeni_queue_oldest_due_seconds": 10,
}
PATIENCE: Final = 300.0  # on a busy machine an alert fires and ends minutes late
_NODE: Final = "__meta_kubernetes_pod_node_name"
_ENDED: Final = ("Succeeded", "Failed")


@dataclass(frozen=True)
class Prometheus:
    """A Prometheus that runs in a lab, with its files in `folder`."""

    installed: InstalledLab
    folder: Path

    def start(self) -> None:
        """Start it, and wait until it has scraped every pod that a PodMonitor selects."""
        api, machine, folder = self.installed.api, self.installed.lab.machine, self.folder
        monitors = self._monitors()
        (rules,) = api.items(f"{monitoring_kinds.PATH}/prometheusrules")
        written = folder / "rules.yaml"
        written.write_text(yaml.safe_dump(hurried(rules["spec"])))
        config = {
            "global": {"scrape_interval": SCRAPE, "evaluation_interval": SCRAPE},
            "rule_files": [str(written)],
            "scrape_configs": [_job(monitor, self._file(monitor)) for monitor in monitors],
        }
        (folder / "prometheus.yaml").write_text(yaml.safe_dump(config))
        argv = [
            str(prepared.read(["prometheus"]).built.bin("prometheus")),
            f"--config.file={folder / 'prometheus.yaml'}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address={ADDRESS}",
        ]
        machine.start(NAME, argv, log=self.installed.lab.layout.logs / f"{NAME}.log")
        wanted = len(self.installed.nodes) * len(monitors)

        def scraped() -> bool:
            found = self.query("count(up == 1)")
            assert found, "nothing is scraped"
            assert float(found[0]["value"][1]) == wanted, str(self.query("up"))
            return True

        wait_for(scraped, f"{wanted} pods are scraped", PATIENCE)

    def stop(self) -> None:
        self.installed.lab.machine.stop(NAME)

    def discover(self) -> None:
        """Tell it the pods that there are now, with the labels that the PodMonitors give them."""
        for monitor in self._monitors():
            text, path = json.dumps(_targets(self.installed, monitor)), self._file(monitor)
            if not path.exists() or path.read_text() != text:
                written = path.with_suffix(".new")
                written.write_text(text)
                written.rename(path)

    def _monitors(self) -> list[Json]:
        return self.installed.api.items(f"{monitoring_kinds.PATH}/podmonitors")

    def _file(self, monitor: Json) -> Path:
        return self.folder / f"{monitor['metadata']['name']}.json"

    def query(self, expression: str) -> list[Json]:
        """Return the result of a query. Raises AssertionError while there is no answer."""
        found: list[Json] = self._get("query", query=expression)["result"]
        return found

    def wait_for_series(self, selector: str) -> None:
        """Wait until a series is there: a counter's first value is no increase to Prometheus."""
        wait_for(lambda: self.query(selector), selector, PATIENCE)

    def firing(self) -> list[Labels]:
        """Return the labels of each alert that fires."""
        alerts: list[Json] = self._get("alerts")["alerts"]
        return [alert["labels"] for alert in alerts if alert["state"] == "firing"]

    def wait_until_fires(self, *alerts: Labels, seconds: float = PATIENCE) -> None:
        """Wait until each of the alerts fires, perhaps with more labels."""

        def fires() -> bool:
            firing = self.firing()
            silent = [one for one in alerts if not _among(one, firing)]
            assert not silent, f"silent: {silent}"
            return True

        wait_for(fires, f"alerts of {len(alerts)} causes", seconds)

    def wait_until_silent(self, *alerts: Labels) -> None:
        """Wait until none of the alerts fires, whatever other labels it has."""

        def silent() -> bool:
            firing = self.firing()
            left = [one for one in alerts if _among(one, firing)]
            assert not left, f"firing: {left}"
            return True

        wait_for(silent, "the alerts end", PATIENCE)

    def _get(self, what: str, **asked: str) -> Json:
        self.discover()
        url = f"http://{ADDRESS}/api/v1/{what}?{urlencode(asked)}"
        try:
            with (
                network_of(self.installed.lab.machine),
                urllib.request.urlopen(url, timeout=20) as it,
            ):
                answer: Json = json.load(it)
        except OSError as error:
            raise AssertionError(f"Prometheus does not answer: {error}") from error
        data: Json = answer["data"]
        return data


def hurried(spec: Json) -> Json:
    """Return rules that wait two seconds, look back a thirtieth of the time, and have `AGES`.

    The expressions are the same but for that: other thresholds are not touched.
    """
    groups = [
        {
            "name": group["name"],
            "rules": [
                {**rule, "for": FOR, "expr": _hurried(rule["expr"])} for rule in group["rules"]
            ],
        }
        for group in spec["groups"]
    ]
    return {"groups": groups}


def _hurried(expression: str) -> str:
    for metric, seconds in AGES.items():
        expression = re.sub(rf"({metric}\b.* > )\d+$", rf"\g<1>{seconds}", expression)
    return re.sub(r"(\[|offset )(\d+)m", lambda m: f"{m[1]}{int(m[2]) * 60 // HURRY}s", expression)


def _job(monitor: Json, targets: Path) -> Json:
    """Return the job of a PodMonitor, whose targets are in a file."""
    metadata = monitor["metadata"]
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    return {
        "job_name": f"{metadata['namespace']}/{metadata['name']}",
        "metrics_path": endpoint["path"],
        "file_sd_configs": [{"files": [str(targets)]}],
    }


def _targets(installed: InstalledLab, monitor: Json) -> list[Json]:
    """Return the pods that a PodMonitor selects, each with its address and labels."""
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    namespace = monitor["metadata"]["namespace"]
    selected = monitor["spec"]["selector"]["matchLabels"].items()
    pods = installed.api.items(
        f"/api/v1/namespaces/{namespace}/pods",
        labelSelector=",".join(f"{label}={value}" for label, value in selected),
    )
    return [
        _target(pod, container["name"], port["containerPort"], endpoint)
        for pod in pods
        if pod["status"]["phase"] not in _ENDED and "podIP" in pod["status"]
        for container in pod["spec"]["containers"]
        for port in container.get("ports", ())
        if port.get("name") == endpoint["port"]
    ]


def _target(pod: Json, container: str, port: int, endpoint: Json) -> Json:
    known = {_NODE: pod["spec"]["nodeName"]}
    labels = {
        "namespace": pod["metadata"]["namespace"],
        "pod": pod["metadata"]["name"],
        "container": container,
        "endpoint": endpoint["port"],
    }
    for rule in endpoint.get("relabelings", ()):
        (source,) = rule["sourceLabels"]
        labels[rule["targetLabel"]] = known[source]
    return {"targets": [f"{pod['status']['podIP']}:{port}"], "labels": labels}


def _among(wanted: Labels, found: list[Labels]) -> bool:
    return any(wanted.items() <= labels.items() for labels in found)
