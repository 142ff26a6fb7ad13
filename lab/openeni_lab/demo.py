"""The main job shown from nothing: an ENIPool for each datapath, pods on them, every path proven.

What it prints is what it saw; its exit status says whether all of it worked.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from openeni_lab import connectivity, network, workloads
from openeni_lab.api import Api
from openeni_lab.reach import Reach, Result, is_ready

Json = dict[str, Any]

PATIENCE: Final = 300.0  # for what takes seconds on a fast machine
REPLICAS: Final = 4
POOLS: Final = "/apis/openeni.io/v1alpha1/enipools"
ENIS: Final = "/apis/openeni.io/v1alpha1/enis"
PODIPS: Final = "/apis/openeni.io/v1alpha1/podips"
STORY: Final = ("get", "enipool,eni,podip", "--all-namespaces", "--output=wide")


class DemoError(Exception):
    """Something did not come about; one line that names it."""


@dataclass(frozen=True)
class Demo:
    """The demo on a lab that is up and has openeni installed."""

    api: Api
    reach: Reach
    dropped: Callable[[], dict[str, int]]  # spoofed packets by port
    console: Console

    def run(self, modes: Sequence[str]) -> bool:
        """Show it for these datapaths (names of workloads.DATAPATHS); whether all was well."""
        before = sum(self.dropped().values())
        self._clear(modes)
        self._apply(modes)
        for mode in modes:
            self._wait_for_pods(mode, REPLICAS)
        self._wait("every PodIP to be Ready", self._all_said)
        self._tell("What the cluster says", self.reach.kubectl_out(*STORY))
        results = {mode: self._check(mode) for mode in modes}
        self.console.print(table(results))
        self._rescale(modes[0])
        dropped = sum(self.dropped().values()) - before
        self.console.print(f"packets dropped as spoofed: {dropped}")
        return not dropped and all(r.ok for rows in results.values() for r in rows)

    def _clear(self, modes: Sequence[str]) -> None:
        """Delete an earlier demo's pods: scaled down, they may all be on one node."""
        apps = [*map(_web, modes), "named"]
        for app in apps:
            self.api.delete(f"/apis/apps/v1/namespaces/default/deployments/{app}")
            self.api.delete(f"/apis/apps/v1/namespaces/default/statefulsets/{app}")

        def gone() -> bool:
            mine = f"app in ({','.join(apps)})"
            return not self.api.items("/api/v1/namespaces/default/pods", labelSelector=mine)

        self._wait("the end of an earlier demo's pods", gone)

    def _apply(self, modes: Sequence[str]) -> None:
        self.api.apply([workloads.pool(modes[0], selection="Default")])  # for people's own pods
        self.api.apply(workloads.pool(mode) for mode in modes[1:])
        for mode in modes:
            name = _web(mode)
            self.api.apply([workloads.deployment(name, mode, REPLICAS), workloads.service(name)])
        self.api.apply([workloads.stateful_set("named", modes[0], 2)])

    def _wait_for_pods(self, mode: str, count: int) -> None:
        def running() -> bool:
            pods = self.reach.pods(_web(mode))
            return len(pods) == count == self._endpoints(_web(mode))

        self._wait(f"{count} ready pods on {mode}", running)

    def _all_said(self) -> bool:
        """Pools, ENIs and PodIPs all say that they are Ready."""
        found = [o for path in (POOLS, ENIS, PODIPS) for o in self.api.items(path)]
        return all(is_ready(o) for o in found)

    def _endpoints(self, name: str) -> int:
        """What kube-proxy has been told of."""
        path = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"
        slices = self.api.items(path, labelSelector=f"kubernetes.io/service-name={name}")
        found = [e for s in slices for e in s["endpoints"] or () if e["conditions"].get("ready")]
        return len(found)

    def _check(self, mode: str) -> list[Result]:
        name = _web(mode)
        service = self.api.request("GET", f"/api/v1/namespaces/default/services/{name}")
        wanted = connectivity.checks(
            self.reach.pods(name), service["spec"]["clusterIP"], network.REMOTE_ADDRESS
        )
        return [self.reach.run(check) for check in wanted]

    def _rescale(self, mode: str) -> None:
        """Down to one pod and up to twice as many: addresses rest, then are granted again."""
        used = {p.address for p in self.reach.pods(_web(mode))}
        self._scale(mode, 1)
        self._wait("one pod left", lambda: self._count(mode) == 1)
        self._wait("resting addresses", lambda: self._sum("cooling") >= REPLICAS - 1)
        self._tell("Scaled down: addresses rest", self.reach.kubectl_out("get", "enipool,eni"))
        self._wait("rested addresses", lambda: not self._sum("cooling"))
        self._scale(mode, 2 * REPLICAS)
        self._wait_for_pods(mode, 2 * REPLICAS)
        again = used & {p.address for p in self.reach.pods(_web(mode))}
        self._tell("Scaled up", self.reach.kubectl_out("get", "podip"))
        self.console.print(f"addresses in use again after their rest: {', '.join(sorted(again))}")

    def _scale(self, mode: str, replicas: int) -> None:
        path = f"/apis/apps/v1/namespaces/default/deployments/{_web(mode)}/scale"
        body = {"spec": {"replicas": replicas}}
        self.api.request("PATCH", path, body, "application/merge-patch+json")

    def _count(self, mode: str) -> int:
        path = "/api/v1/namespaces/default/pods"
        return len(self.api.items(path, labelSelector=f"app={_web(mode)}"))

    def _sum(self, count: str) -> int:
        return sum(e.get("status", {}).get("node", {}).get(count, 0) for e in self.api.items(ENIS))

    def _tell(self, title: str, text: str) -> None:
        self.console.rule(title, align="left")
        # Plain text: a MAC address such as 3e:ab:4c holds the name of an emoji.
        self.console.print(Text(text.rstrip()), soft_wrap=True)

    def _wait(self, what: str, condition: Callable[[], bool]) -> None:
        begun = time.monotonic()
        with self.console.status(f"waiting for {what}"):
            while not condition():
                if time.monotonic() - begun > PATIENCE:
                    raise DemoError(f"not after {PATIENCE:.0f} s: {what}; {self._why()}")
                time.sleep(0.2)

    def _why(self) -> str:
        """The first condition that is not true, or the first pod that is not ready."""
        for path in (POOLS, ENIS):
            for found in self.api.items(path):
                for c in found.get("status", {}).get("conditions", ()):
                    if c["status"] != "True":
                        return f"{found['metadata']['name']}: {c['reason']}: {c['message']}"
        waiting = [p for p in self.api.items("/api/v1/pods") if not is_ready(p)]
        return f"{len(waiting)} pods are not ready (kubectl describe pod)"


def table(results: dict[str, list[Result]]) -> Table:
    """One row a path, one column a datapath."""
    drawn = Table(title="every path", title_justify="left")
    drawn.add_column("path")
    for mode in results:
        drawn.add_column(mode)
    for row in zip(*results.values(), strict=True):
        drawn.add_row(row[0].check.path, *(_cell(result) for result in row))
    return drawn


def _cell(result: Result) -> str:
    return "[green]ok[/]" if result.ok else f"[red]FAILED[/] {result.answer}"


def _web(mode: str) -> str:
    return f"web-{mode}"
