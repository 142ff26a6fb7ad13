"""`make bench`: compare CNI ADD and DEL with reference plugins, in one run on one kernel.

openeni runs as in every lab: the real operator and cloud, the chart's agent, the static executable.
The sandbox runtime replaces the kubelet. Only ratios are meaningful: the milliseconds are those of
two cores shared with a whole cloud. Writes docs/benchmarks.md.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from openeni_lab import layout, progress
from openeni_lab.bench.report import Measured, page
from openeni_lab.lab import Lab, NodeKind
from openeni_lab.layout import Layout
from openeni_lab.machine import enclosure
from openeni_lab.machine.steps import Progress, Step, run
from openeni_lab.product import installed_lab, workloads
from openeni_lab.product.installed_lab import InstalledLab
from openeni_lab.programs import prepared
from openeni_lab.programs.sets import CNI_PLUGINS
from openeni_lab.runtime.sandbox import BIN_FOLDER

Json = dict[str, Any]

NODE: Final = "n1"
SINGLE, BURSTS, BURST = 30, 3, 20
ADDRESSES: Final = (
    31  # of an ENI; four ENIs have one for every pod, so that none waits for a cool-down
)
ENIS: Final = 4
MINUTES: Final = 20.0
REPORT: Final = layout.REPOSITORY / "docs" / "benchmarks.md"
IPAM: Final[Json] = {"type": "host-local", "subnet": "10.200.0.0/16", "dataDir": "/run/reference"}
REFERENCES: Final[Mapping[str, Json]] = {
    "ptp": {"type": "ptp"},
    "ipvlan": {"type": "ipvlan", "master": "reference0", "mode": "l2"},
}


@dataclass(frozen=True)
class Race:
    """One datapath, compared with one reference plugin."""

    pool: str
    reference: str
    kind: NodeKind


def races() -> tuple[Race, ...]:
    """Return veth on the machine's kernel, and ipvlan there or else on a user-mode kernel."""
    ipvlan = NodeKind.AUTO.decided(ipvlan=prepared.read(()).machine.ipvlan)
    return (
        Race("veth", "ptp", NodeKind.NAMESPACE),
        Race("ipvlan-l3s", "ipvlan", ipvlan),
        Race("ipvlan-l2", "ipvlan", ipvlan),
    )


def measure(wanted: Sequence[Race], display: Progress) -> list[Measured]:
    """Run each race on a temporary lab of its kind of node."""
    found: list[Measured] = []
    for kind in dict.fromkeys(race.kind for race in wanted):
        lab = Lab(Layout("bench", 1), kind)
        lab.down()
        try:
            installed = installed_lab.up(lab, display)
            found += [_run(installed, race, display) for race in wanted if race.kind is kind]
        finally:
            lab.down()
    return found


def _run(installed: InstalledLab, race: Race, display: Progress) -> Measured:
    machine = installed.nodes[NODE]
    machine.stop("kubelet")
    run([_addresses(installed, race.pool), _pods(installed, race.pool)], display)
    if race.reference == "ipvlan":
        machine.run(["ip", "link", "add", "reference0", "type", "dummy"])
        machine.check(["ip", "link", "set", "reference0", "up"])
    orders = {
        "plugins": str(prepared.read([CNI_PLUGINS.name]).built.bin("ptp").parent),
        "reference": _reference(race.reference),
        "pods": [_pod_fields(pod) for pod in _listed(installed, race.pool)],
        "single": SINGLE,
        "burst": BURST,
    }
    command = [sys.executable, "-m", "openeni_lab.bench.node"]
    text = machine.check(
        command,
        env=enclosure.init_environment(),
        stdin=json.dumps(orders).encode(),
        timeout=60 * MINUTES,
    )
    phases = machine.check([str(BIN_FOLDER / "openeni"), "phases"])
    _remove(installed, race.pool, display)
    kernel = machine.check(["uname", "-r"])
    return Measured(race.pool, race.reference, kernel, json.loads(text), json.loads(phases))


def _reference(name: str) -> Json:
    plugin = {**REFERENCES[name], "ipam": IPAM}
    return {"cniVersion": "1.0.0", "name": "reference", "plugins": [plugin]}


def _addresses(installed: InstalledLab, pool: str) -> Step:
    """Return the step that makes an address available for every pod."""
    path = f"/apis/openeni.io/v1alpha1/enipools/{pool}"

    def done() -> bool:
        found = installed.api.get(path) or {}
        counts = found.get("status", {}).get("addresses", {})
        return int(counts.get("available", 0)) >= SINGLE + BURSTS * BURST

    body = workloads.pool(pool, addresses=ADDRESSES, enis=ENIS)
    body["spec"]["capacity"]["minAvailable"] = SINGLE + BURSTS * BURST
    return Step(f"warm addresses of {pool}", done, lambda: installed.api.apply([body]), 20)


def _pods(installed: InstalledLab, pool: str) -> Step:
    """Return the step that creates the Pod objects, bound to the node without a kubelet."""
    wanted = SINGLE + BURSTS * BURST

    def make() -> None:
        installed.api.apply(workloads.bound_pod(f"{pool}-{n}", pool, NODE) for n in range(wanted))

    return Step(f"pods of {pool}", lambda: len(_listed(installed, pool)) == wanted, make, 3)


def _listed(installed: InstalledLab, pool: str) -> list[Json]:
    return installed.api.items("/api/v1/namespaces/default/pods", labelSelector=f"app={pool}")


def _pod_fields(pod: Json) -> Json:
    return {key: pod["metadata"][key] for key in ("name", "namespace", "uid")}


def _remove(installed: InstalledLab, pool: str, display: Progress) -> None:
    def do() -> None:
        for pod in _listed(installed, pool):
            path = f"/api/v1/namespaces/default/pods/{pod['metadata']['name']}"
            installed.api.delete(path, {"gracePeriodSeconds": 0})
        installed.api.delete(f"/apis/openeni.io/v1alpha1/enipools/{pool}")

    def done() -> bool:
        return not installed.api.items("/apis/openeni.io/v1alpha1/enis")

    run([Step(f"removing {pool}", done, do, 10)], display)


def main() -> int:
    """Run the benchmark, print the page and write docs/benchmarks.md."""
    with progress.display() as display:
        measured = measure(races(), display)
    text = page(measured, SINGLE, BURST)
    REPORT.write_text(text)
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
