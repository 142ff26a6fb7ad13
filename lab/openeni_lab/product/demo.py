"""The demo: pods on an ENIPool for each datapath, a test of every path, addresses re-used.

It prints what it finds, at last what `openeni status` says. Its exit status tells whether all of it
worked.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from rich.console import Console
from rich.text import Text

from openeni_lab.hypervisor import network
from openeni_lab.kubernetes import dns
from openeni_lab.kubernetes.api import Api
from openeni_lab.lab import Lab, NodeKind
from openeni_lab.machine.steps import Progress
from openeni_lab.product import connectivity, installed_lab, next_steps, openeni_status, workloads
from openeni_lab.product.demo_output import table, time_until_ready
from openeni_lab.product.reach import CheckResult, Reach, is_ready

Json = dict[str, Any]

WAIT_SECONDS: Final = 600.0  # for what takes seconds on a fast machine
EXIT_CHECK_SECONDS: Final = 1.0  # between two checks for programs that have exited
PODS_PER_NODE: Final = 2  # of each datapath: the path within a node needs two
POOLS: Final = "/apis/openeni.io/v1alpha1/enipools"
ENIS: Final = "/apis/openeni.io/v1alpha1/enis"
PODIPS: Final = "/apis/openeni.io/v1alpha1/podips"
DEPLOYMENTS: Final = "/apis/apps/v1/namespaces/default/deployments"
STATEFUL_SETS: Final = "/apis/apps/v1/namespaces/default/statefulsets"
PODS: Final = "/api/v1/namespaces/default/pods"
STATE: Final = ("get", "enipool,eni,podip", "--all-namespaces", "--output=wide")
COLUMNS: Final = (
    "ENI:.metadata.name",
    "ADDRESSES:.status.port.addresses",
    "GRANTED:.status.node.granted",
    "COOLING:.status.node.cooling",
    "AVAILABLE:.status.node.available",
)
COUNTS: Final = ("get", "eni", f"--output=custom-columns={','.join(COLUMNS)}")
NAMED: Final = "named"  # the StatefulSet
REUSED: Final = "reused"  # pool and Deployment that show the cool-down
# The Deployment uses every address of the pool, so after the cool-down it must get the same ones.
REUSED_CAPACITY: Final = {
    "addressesPerENI": PODS_PER_NODE,
    "maxENIsPerNode": 1,
    "minAvailable": 0,
}


SHOWN_DATAPATHS: Final = ("veth", "ipvlan-l3s", "ipvlan-l2")


class DemoError(Exception):
    """An expected state was not reached; the message says which."""


@dataclass(frozen=True)
class Demo:
    """The demo on a lab that is up and has openeni installed."""

    api: Api
    reach: Reach
    dropped: Callable[[], Mapping[str, int]]  # spoofed packets by port
    exits: Callable[[], Sequence[str]]  # a line for each unexpected exit during the demo
    console: Console

    def run(self, modes: Sequence[str]) -> bool:
        """Run the demo on these datapaths (of workloads.DATAPATHS); return True if all worked."""
        before = sum(self.dropped().values())
        self._clear(modes)
        self._apply(modes)
        for app in (*map(_web, modes), REUSED):
            self._wait_for_pods(app, self._pods)
        self._wait("names of Services to resolve", lambda: self._resolve(modes))
        self._wait("every pool, ENI and PodIP to be Ready", lambda: self._all_ready(modes))
        self._print("State of the cluster", self.reach.kubectl_out(*STATE))
        used = self._cool_down()
        results = {mode: self._check(mode) for mode in modes}  # while the addresses cool down
        self.console.print(table(results))
        verdicts = (
            self._reuse(used),
            self._report("packets dropped as spoofed", sum(self.dropped().values()) - before),
            self._report("unexpected exits of programs", "; ".join(self.exits()) or 0),
        )
        return all(verdicts) and all(r.ok for rows in results.values() for r in rows)

    @property
    def _pods(self) -> int:
        """Return the replicas of each Deployment: the same number of pods on every node."""
        return PODS_PER_NODE * len(self.reach.nodes)

    def _clear(self, modes: Sequence[str]) -> None:
        """Delete an earlier demo's pods, except those on the pool `reused`, which can stay."""
        apps = [*map(_web, modes), NAMED]
        for app in apps:
            self.api.delete(f"{DEPLOYMENTS}/{app}")
            self.api.delete(f"{STATEFUL_SETS}/{app}")

        def gone() -> bool:
            return not self.api.items(PODS, labelSelector=f"app in ({','.join(apps)})")

        self._wait("the end of an earlier demo's pods", gone)

    def _apply(self, modes: Sequence[str]) -> None:
        self.api.apply([workloads.pool(modes[0], podSelector={})])  # for the user's own pods
        self.api.apply(workloads.pool(mode) for mode in modes[1:])
        self.api.apply(dns.objects(modes[0]))
        self.api.apply([workloads.pool(REUSED, capacity=REUSED_CAPACITY)])
        for mode in modes:
            name = _web(mode)
            self.api.apply([workloads.deployment(name, mode, self._pods), workloads.service(name)])
        self.api.apply([workloads.stateful_set(NAMED, modes[0], len(self.reach.nodes))])
        self.api.apply([workloads.deployment(REUSED, REUSED, self._pods)])
        self.api.apply([workloads.service(REUSED)])

    def _wait_for_pods(self, app: str, count: int) -> None:
        def running() -> bool:
            return len(self.reach.pods(app)) == count == self._endpoints(app)

        self._wait(f"{count} ready pods of {app}", running)

    def _all_ready(self, modes: Sequence[str]) -> bool:
        """Return True if the demo's pools, their ENIs and the PodIPs on these are all Ready."""
        pools = {*modes, REUSED}
        found = [o for o in self.api.items(POOLS) if o["metadata"]["name"] in pools]
        enis = [o for o in self.api.items(ENIS) if o["spec"]["poolName"] in pools]
        names = {o["metadata"]["name"] for o in enis}
        podips = [o for o in self.api.items(PODIPS) if o["spec"].get("eniName") in names]
        return all(is_ready(o) for o in (*found, *enis, *podips))

    def _endpoints(self, name: str) -> int:
        """Return how many ready endpoints a Service has."""
        path = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"
        slices = self.api.items(path, labelSelector=f"kubernetes.io/service-name={name}")
        found = [e for s in slices for e in s["endpoints"] or () if e["conditions"].get("ready")]
        return len(found)

    def _check(self, mode: str) -> list[CheckResult]:
        name = _web(mode)
        service = self.api.request("GET", f"/api/v1/namespaces/default/services/{name}")
        self._wait_for_pods(name, self._pods)  # a probe may have failed on a busy node
        pods, address = self.reach.pods(name), service["spec"]["clusterIP"]
        wanted = connectivity.checks(pods, address, network.REMOTE_ADDRESS)
        by_name = connectivity.by_name(pods[0], name)
        return [self.reach.run(check) for check in (*wanted, by_name)]

    def _resolve(self, modes: Sequence[str]) -> bool:
        """Return True if pods of every datapath can resolve and reach a Service."""
        if not dns.ready(self.api):
            return False
        pods = {_web(mode): self.reach.pods(_web(mode)) for mode in modes}
        return all(
            there and self.reach.run(connectivity.by_name(there[0], name)).ok
            for name, there in pods.items()
        )

    def _cool_down(self) -> set[str]:
        """Delete every pod on the pool `reused`; return the addresses they had."""
        self._wait_for_pods(REUSED, self._pods)  # a probe may have failed on a busy node
        used = {pod.address for pod in self.reach.pods(REUSED)}
        self._scale(REUSED, 0)
        self._wait("addresses to cool down", self._is_cooling)
        text = self.reach.kubectl_out(*COUNTS)
        self._print(f"Scaled {REUSED} down to 0: its addresses cool down", text)
        return used

    def _is_cooling(self) -> bool:
        """Return whether every pod on the pool `reused` is gone and addresses cool down."""
        return not self.api.items(PODS, labelSelector=f"app={REUSED}") and self._cooling() > 0

    def _reuse(self, used: set[str]) -> bool:
        """Scale up after the cool-down: the new pods must get the addresses of the old ones."""
        self._wait("the end of the cool-down", lambda: not self._cooling())
        self._scale(REUSED, len(used))
        self._wait_for_pods(REUSED, len(used))
        again = used & {pod.address for pod in self.reach.pods(REUSED)}
        missed = used - again
        self._report("re-used after cool-down", ", ".join(sorted(again)) or "none")
        return self._report("addresses that were not re-used", ", ".join(sorted(missed)) or 0)

    def _scale(self, app: str, replicas: int) -> None:
        body = {"spec": {"replicas": replicas}}
        path = f"{DEPLOYMENTS}/{app}/scale"
        self.api.request("PATCH", path, body, "application/merge-patch+json")

    def _cooling(self) -> int:
        enis = [eni for eni in self.api.items(ENIS) if eni["spec"]["poolName"] == REUSED]
        return sum(e.get("status", {}).get("node", {}).get("cooling", 0) for e in enis)

    def _report(self, what: str, found: int | str) -> bool:
        """Print a count that must be 0, or what was found; return True if it is 0."""
        self.console.print(Text(f"{what}: {found}"), soft_wrap=True)
        return not found

    def _print(self, title: str, text: str) -> None:
        self.console.rule(title, align="left")
        # Plain text: a MAC address such as 3e:ab:4c holds the name of an emoji.
        self.console.print(Text(text.rstrip()), soft_wrap=True)

    def _wait(self, what: str, condition: Callable[[], bool]) -> None:
        """Wait for a condition; raise DemoError on a timeout or an unexpected exit."""
        begun = looked = time.monotonic()
        with self.console.status(f"waiting for {what}"):
            while not condition():
                now = time.monotonic()
                if now - looked > EXIT_CHECK_SECONDS:
                    looked = now
                    self._refuse_exits(what)
                if now - begun > WAIT_SECONDS:
                    raise DemoError(f"waited {WAIT_SECONDS:.0f} s for {what}; {self._reason()}")
                time.sleep(0.2)

    def _refuse_exits(self, what: str) -> None:
        exits = self.exits()
        if exits:
            raise DemoError(f"while waiting for {what}: {'; '.join(exits)}")

    def _reason(self) -> str:
        """Return the first condition that is not True, or the number of pods that are not ready."""
        for path in (POOLS, ENIS):
            for found in self.api.items(path):
                for c in found.get("status", {}).get("conditions", ()):
                    if c["status"] != "True":
                        return f"{found['metadata']['name']}: {c['reason']}: {c['message']}"
        waiting = [p for p in self.api.items("/api/v1/pods") if not is_ready(p)]
        return f"{len(waiting)} pods are not ready (`make shell`, `kubectl describe pod`)"


def datapaths_of(kind: NodeKind, *, ipvlan: bool) -> Sequence[str]:
    """Return the datapaths that nodes of this kind support.

    `ipvlan` is True if the machine's kernel has it.
    """
    return SHOWN_DATAPATHS if kind is NodeKind.VM or ipvlan else SHOWN_DATAPATHS[:1]


def show(
    lab: Lab,
    progress: Progress,
    modes: Sequence[str],
    console: Console,
    preparation_seconds: float = 0.0,
) -> bool:
    """Bring the lab up, run the demo, leave the lab up. Return True if everything worked."""
    begun = time.monotonic()
    found = installed_lab.up(lab, progress)
    seconds = time.monotonic() - begun
    line = time_until_ready(seconds, preparation_seconds, lab.built.yardstick)
    console.print(line, soft_wrap=True)
    exits = partial(found.unexpected_exits, found.exits_so_far())
    begun = time.monotonic()
    worked = Demo(found.api, found.reach, found.dropped, exits, console).run(modes)
    console.rule("openeni status", align="left")
    status = openeni_status.ask(lab.layout.kubeconfig)
    console.print(Text(status.text), soft_wrap=True)
    console.print(f"the demo itself took {time.monotonic() - begun:.0f} s", soft_wrap=True)
    console.rule("Look around", align="left")
    for line in next_steps.commands(lab.layout):
        console.print(f"  {line}", highlight=False, markup=False, soft_wrap=True)
    return worked and status.ok


def _web(mode: str) -> str:
    return f"web-{mode}"
