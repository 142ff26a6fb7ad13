"""From an ENIPool to pods with every path they need, and back to nothing."""

import sys
from collections.abc import Iterator
from functools import partial
from typing import Final

import pytest

from openeni_lab.hypervisor import network
from openeni_lab.layout import REMOTE_VM
from openeni_lab.product import connectivity, workloads
from openeni_lab.product.connectivity import Place
from openeni_lab.product.installed_lab import InstalledLab
from openeni_testing.exposed import scrape, values
from openeni_testing.lab import installed_lab as lab
from openeni_testing.lab.installed_lab import Kill
from openeni_testing.waiting import wait_for

pytestmark = [pytest.mark.lab, pytest.mark.root]

PORT = 8080

# Tells each client which address it comes from.
TELLER: Final = """
import socket, sys
listener = socket.create_server(("", int(sys.argv[1])))
while True:
    connection, peer = listener.accept()
    connection.sendall(peer[0].encode())
    connection.close()
"""
# Holds a connection open until it is stopped.
CALLER: Final = """
import signal, socket, sys
connection = socket.create_connection((sys.argv[1], 80), timeout=30)
signal.pause()
"""


@pytest.fixture
def on_remote_vm(deployed: InstalledLab) -> Iterator[lab.Start]:
    """Start a Python program on the remote VM until the test ends."""
    machine, started = deployed.lab.machine, list[str]()

    def start(name: str, program: str, *words: str) -> None:
        argv = ["ip", "netns", "exec", REMOTE_VM, sys.executable, "-S", "-c", program, *words]
        machine.start(name, argv, log=deployed.lab.layout.logs / f"{name}.log")
        started.append(name)

    yield start
    for name in started:
        machine.stop(name)


def test_every_path_of_a_pod_works_and_nothing_is_dropped_as_spoofed(
    deployed: InstalledLab,
) -> None:
    before = deployed.dropped()
    service = deployed.api.request("GET", f"/api/v1/namespaces/default/services/{lab.WEB}")
    wanted = connectivity.checks(
        deployed.reach.pods(lab.WEB), service["spec"]["clusterIP"], network.REMOTE_ADDRESS
    )
    results = [deployed.reach.run(check) for check in wanted]
    assert [(r.check.path, r.answer) for r in results if not r.ok] == []
    assert deployed.dropped_since(before) == {}


def test_a_remote_vm_is_called_from_the_pods_own_address(
    deployed: InstalledLab, on_remote_vm: lab.Start
) -> None:
    on_remote_vm("teller", TELLER, str(PORT))
    ask = ["nc", "-w", "10", network.REMOTE_ADDRESS, str(PORT)]
    for pod in deployed.reach.pods(lab.WEB):

        def told(name: str = pod.name, address: str = pod.address) -> bool:
            assert deployed.reach.in_pod(name, ask) == address
            return True

        wait_for(told, f"the remote VM saw {pod.address}", 30)


def test_a_pod_is_called_from_the_remote_vms_own_address(
    deployed: InstalledLab, on_remote_vm: lab.Start
) -> None:
    for number, pod in enumerate(deployed.reach.pods(lab.WEB)):
        on_remote_vm(f"caller-{number}", CALLER, pod.address)

        def called(name: str = pod.name) -> bool:
            callers = _callers(deployed, name)
            assert network.REMOTE_ADDRESS in callers, str(callers)
            return True

        wait_for(called, f"{pod.name} sees the remote VM", 30)


def _callers(installed: InstalledLab, pod: str) -> list[str]:
    """Return the peers of the pod's web server, from its kernel; the kubelet may be one."""
    lines = installed.reach.in_pod(pod, ["netstat", "-tn"]).replace("::ffff:", "").splitlines()
    found = [line.split() for line in lines if "ESTABLISHED" in line]
    return [peer.rpartition(":")[0] for *_, own, peer, _ in found if own.endswith(":80")]


def test_a_remote_vm_finds_a_pod_at_its_enis_mac(deployed: InstalledLab) -> None:
    enis = {eni["metadata"]["name"]: eni for eni in lab.enis_of(deployed, lab.VETH)}
    for podip in lab.podips_on(deployed, list(enis.values())):
        (address,) = lab.addresses_of(podip)
        mac = enis[podip["spec"]["eniName"]]["status"]["port"]["macAddress"]
        deployed.reach.out(Place.REMOTE, "", connectivity.curl(address))
        show = ["ip", "neighbour", "show", address]
        assert mac in deployed.reach.out(Place.REMOTE, "", show)


def test_kubectl_shows_the_whole_state_without_yaml(deployed: InstalledLab) -> None:
    shown = deployed.reach.kubectl_out("get", "enipool,eni,podip", "-A", "-o", "wide")
    for pod in deployed.reach.pods(lab.WEB):
        assert pod.name in shown
        assert pod.address in shown
    for word in ("enipool.openeni.io/veth", "Veth", "Ready", "True", "GRANTED", "DEVICE"):
        assert word in shown


def test_a_host_port_and_limits_of_bandwidth_are_served_through_kubelet_and_its_runtime(
    deployed: InstalledLab,
) -> None:
    name, limits = "ported", ("egress-bandwidth", "ingress-bandwidth")
    body = workloads.deployment(name, lab.VETH, 1)
    template = body["spec"]["template"]
    template["metadata"]["annotations"] |= {f"kubernetes.io/{limit}": "100M" for limit in limits}
    template["spec"]["containers"][0]["ports"][0]["hostPort"] = PORT
    before = {node: _adds(deployed, node) for node in deployed.nodes}
    deployed.api.apply([body])
    lab.wait_for_pods(deployed, name, 1)
    (pod,) = deployed.reach.pods(name)
    assert _adds(deployed, pod.node) > before[pod.node]

    def served(place: Place, address: str) -> bool:
        argv = ["curl", "--silent", "--head", "--max-time", "10", f"http://{address}:{PORT}/"]
        return connectivity.OK in deployed.reach.out(place, pod.node, argv)

    for place in (Place.OUTSIDE, Place.GATEWAY, Place.REMOTE, Place.NODE):
        assert served(place, pod.node_address), place
    assert served(Place.NODE, "127.0.0.1")
    assert "tbf" in deployed.reach.out(Place.NODE, pod.node, ["tc", "qdisc", "show"])
    deployed.api.delete(f"{lab.DEPLOYMENTS}/{name}")
    wait_for(lambda: not served(Place.NODE, pod.node_address), "the port is closed", lab.PATIENCE)


def _adds(installed: InstalledLab, node: str) -> float:
    """Return the calls of ADD that a node's agent has answered since it started."""
    found = values(scrape(installed, node), "openeni_cni_duration_seconds_count")
    return found.get(("ADD", "total"), 0)


def test_pods_podips_enis_and_neutron_agree(deployed: InstalledLab) -> None:
    lab.wait_until_all_agree(deployed, lab.VETH)

    def counted() -> bool:
        enis = lab.enis_of(deployed, lab.VETH)
        granted = sum(eni["status"]["node"]["granted"] for eni in enis)
        assert granted == len(lab.podips_on(deployed, enis))
        return True

    def shown(node: str) -> bool:
        podips = deployed.api.items(lab.PODIPS)
        mine = [p["spec"]["poolName"] for p in podips if p["spec"]["nodeName"] == node]
        page = scrape(deployed, node)
        assert values(page, "openeni_node_addresses")[lab.VETH, "granted"] == mine.count(lab.VETH)
        assert values(page, "openeni_grants")["connected",] == len(mine)
        return True

    wait_for(counted, "the ENIs count the grants", 30)
    for node in deployed.nodes:
        wait_for(partial(shown, node), f"{node}'s agent shows its grants", 30)


def test_a_second_look_writes_nothing(deployed: InstalledLab, kill: Kill) -> None:
    """A restarted operator reconciles everything, and nothing may change."""

    def objects() -> dict[str, lab.Json]:
        """Return whole objects: their resource versions reveal writes that change nothing else."""
        pool = deployed.api.request("GET", f"{lab.POOLS}/{lab.VETH}")
        found = [pool, *lab.enis_of(deployed, lab.VETH)]
        for o in found:
            del o["metadata"]["managedFields"]
        return {o["metadata"]["name"]: o for o in found}

    def settled() -> bool:
        enis = lab.enis_of(deployed, lab.VETH)
        names = ("granted", "cooling", "available")
        of_enis = {n: sum(eni["status"]["node"].get(n, 0) for eni in enis) for n in names}
        counts = deployed.api.request("GET", f"{lab.POOLS}/{lab.VETH}")["status"]["addressCounts"]
        assert of_enis["cooling"] == 0, f"{of_enis['cooling']} addresses cool down"
        assert {n: counts.get(n, 0) for n in names} == of_enis
        assert of_enis["granted"] == len(lab.podips_on(deployed, enis))
        return True

    _restart_operator_and_see_it_work(deployed, kill)  # it counts the subnet's free addresses anew
    wait_for(settled, "no address changes its state", lab.PATIENCE)
    before = objects()
    _restart_operator_and_see_it_work(deployed, kill)
    assert objects() == before


def _restart_operator_and_see_it_work(installed: InstalledLab, kill: Kill) -> None:
    """A new pool is served once the restarted operator has reconciled everything."""
    kill("operator")
    installed.api.apply([workloads.pool("later", nodeSelector={"matchLabels": {"no": "node"}})])
    lab.wait_for_condition(installed, "later", "Ready", "False", "WaitingForNodes")
    installed.api.delete(f"{lab.POOLS}/later")
    lab.wait_until_gone(installed, "later")


def test_a_deleted_pool_leaves_no_port_no_nic_and_no_rule(installed: InstalledLab) -> None:
    installed.api.apply([workloads.pool("short", addresses=3)])
    lab.deploy(installed, "short", "short", 2)
    lab.wait_for_condition(installed, "short", "Ready", "True", "Ready")

    def plugged() -> list[lab.Json]:
        """One ENI may serve both pods, and another be on its way."""
        mine = lab.enis_of(installed, "short")
        assert all(eni["status"].get("node", {}).get("device") for eni in mine)
        return mine

    mine = wait_for(plugged, "each ENI has a NIC", lab.PATIENCE)
    ports = {eni["status"]["port"]["id"] for eni in mine}
    assert ports <= lab.neutron_ports(installed).keys()
    devices = {eni["spec"]["nodeName"]: eni["status"]["node"]["device"] for eni in mine}
    installed.api.delete(f"{lab.DEPLOYMENTS}/short")
    installed.api.delete(f"{lab.POOLS}/short")
    lab.wait_until_gone(installed, "short")
    assert not ports & lab.neutron_ports(installed).keys()
    for node, device in devices.items():
        machine = installed.nodes[node]
        assert machine.run(["ip", "link", "show", device]).code
        assert [line for line in lab.kernel_state(machine) if device in line] == []
