"""An elastic pool on real services: one PUT for each ENI serves a burst of pods, one takes back."""

import io
import json
from contextlib import redirect_stdout
from typing import Final
from unittest.mock import ANY

import pytest

from openeni_cli.__main__ import run
from openeni_crds.meta import Json
from openeni_lab.product import workloads
from openeni_lab.product.installed_lab import InstalledLab
from openeni_testing.lab import installed_lab as lab
from openeni_testing.waiting import wait_for

pytestmark = [pytest.mark.lab, pytest.mark.root]

POOL: Final = "elastic"
CAPACITY: Final = {"growth": "Elastic", "addressesPerENI": 15, "minAvailable": 1}
REPLICAS: Final = 20
LEFT: Final = 2  # pods, after the burst


def held(installed: InstalledLab) -> list[int]:
    """Return how many addresses for pods each ENI of the pool has, as Neutron says it."""
    ports = lab.neutron_ports(installed)
    recorded = (e.get("status", {}).get("port") for e in lab.enis_of(installed, POOL))
    found = (ports.get(port["id"]) for port in recorded if port)
    return sorted(len(port["fixed_ips"]) - 1 for port in found if port)


def wait_for_sizes(installed: InstalledLab, most: int) -> None:
    def shrunk() -> bool:
        sizes = held(installed)
        assert len(sizes) == len(installed.nodes), sizes
        assert max(sizes) <= most, sizes
        return True

    wait_for(shrunk, f"at most {most} addresses on each node", lab.PATIENCE)


@pytest.mark.long
def test_a_burst_of_pods_is_served_and_its_addresses_are_given_back(
    installed: InstalledLab,
) -> None:
    reclaim = {"policy": "After", "after": "20s"}
    installed.api.apply([workloads.pool(POOL, capacity=CAPACITY, reclaim=reclaim)])
    lab.wait_for_condition(installed, POOL, "Ready", "True", "Ready")
    wait_for_sizes(installed, 2)
    pods = lab.deploy(installed, "burst", POOL, REPLICAS)
    assert len({pod["status"]["podIP"] for pod in pods}) == REPLICAS
    assert len(lab.enis_of(installed, POOL)) == len(installed.nodes), "no ENI was full"
    assert sum(held(installed)) >= REPLICAS
    lab.scale(installed, "burst", LEFT)
    left = {pod["status"]["podIP"] for pod in lab.wait_for_pods(installed, "burst", LEFT)}
    # Two more than pods; and as many again as pods after a burst, while the cloud answers slowly.
    wait_for_sizes(installed, LEFT + 2 + LEFT)
    kept = {
        fixed["ip_address"]
        for port in lab.neutron_ports(installed).values()
        for fixed in port["fixed_ips"]
    }
    assert left <= kept
    for eni in lab.enis_of(installed, POOL):
        assert "lost" not in eni["status"]["port"]
    require_whole_by_command_line(installed)
    require_named_once_removed(installed, min(left))


def openeni(installed: InstalledLab, *words: str) -> tuple[int, Json]:
    """Run the command line against the lab; return its exit code and its report."""
    out = io.StringIO()
    kubeconfig = f"--kubeconfig={installed.lab.layout.kubeconfig}"
    with redirect_stdout(out):
        code = run([kubeconfig, *words, "-o", "json"])
    return code, json.loads(out.getvalue() or '{"error": "see standard error"}')


def require_whole_by_command_line(installed: InstalledLab) -> None:
    """Have operator and agents compare all that there is, and try a port, in their own pods."""
    code, report = openeni(installed, "diagnose")
    assert (code, report["differences"], report["unread"]) == (0, [], []), report
    assert report["compared"].keys() == {"operator", *installed.nodes}
    assert openeni(installed, "status") == (0, ANY)
    ports = lab.neutron_ports(installed).keys()
    code, report = openeni(installed, "preflight", "--node", "n1")
    assert code == 0, report
    assert lab.neutron_ports(installed).keys() == ports
    assert openeni(installed, "sweep", "--dry-run") == (0, ANY)


def require_named_once_removed(installed: InstalledLab, address: str) -> None:
    """Remove a pod's address from its port behind our back: diagnose names it."""
    ports = lab.neutron_ports(installed).items()
    (port,) = (i for i, p in ports if address in {f["ip_address"] for f in p["fixed_ips"]})
    fixed = f"subnet=pods,ip-address={address}"
    lab.openstack(installed, "port", "unset", "--fixed-ip", fixed, port)
    code, report = openeni(installed, "diagnose")
    assert code == 1, report
    lost = [d for d in report["differences"] if address in d["message"]]
    assert {"PodIP"} <= {d["kind"] for d in lost}, report
    assert {d["reason"] for d in lost} <= {"PortLost", "AddressNotOnPort"}


def on_node(node: str) -> Json:
    """Return a StatefulSet of one pod, on that node, which keeps its address."""
    body = workloads.stateful_set("kept", POOL, 1)
    template = body["spec"]["template"]
    template["metadata"]["annotations"]["openeni.io/sticky"] = "1h"
    template["spec"]["nodeSelector"] = {"kubernetes.io/hostname": node}
    return body


def pod_of(installed: InstalledLab, but: str = "") -> Json:
    """Return the StatefulSet's pod once it is ready; it is another one than that with a UID."""

    def another() -> Json:
        (pod,) = lab.wait_for_pods(installed, "kept", 1)
        assert pod["metadata"]["uid"] != but, "it is the old one"
        return pod

    return wait_for(another, "the next pod is ready", lab.PATIENCE)


@pytest.mark.long
def test_a_pod_that_comes_back_here_or_on_another_node_has_its_address_again(
    installed: InstalledLab,
) -> None:
    installed.api.apply([workloads.pool(POOL, capacity=CAPACITY)])
    lab.wait_for_condition(installed, POOL, "Ready", "True", "Ready")
    here, there = sorted(installed.nodes)[:2]
    installed.api.apply([on_node(here)])
    first = pod_of(installed)
    path = f"{lab.PODS}/{first['metadata']['name']}"
    installed.api.request("DELETE", path)
    second = pod_of(installed, first["metadata"]["uid"])
    installed.api.apply([on_node(there)])
    third = pod_of(installed, second["metadata"]["uid"])
    assert third["spec"]["nodeName"] == there
    assert lab.pod_addresses(first) == lab.pod_addresses(second) == lab.pod_addresses(third)
    lab.wait_until_all_agree(installed, POOL)
