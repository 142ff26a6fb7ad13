"""From an ENIPool to pods that reach everything they must, and back to nothing."""

from collections.abc import Iterator

import pytest

from openeni_lab import connectivity, network, workloads
from openeni_lab.connectivity import Place
from openeni_lab.demonstration import Running
from openeni_testing import running_lab as lab
from openeni_testing.waiting import wait_for

pytestmark = [pytest.mark.lab, pytest.mark.root]

NAME = "web"
REPLICAS = 4


@pytest.fixture(scope="module")
def deployed(running: Running) -> Iterator[Running]:
    """A pool, a Deployment over both nodes and a Service in front of it."""
    running.api.apply([workloads.pool("veth"), workloads.service(NAME)])
    lab.deploy(running, NAME, "veth", REPLICAS)
    yield running
    lab.remove(running, NAME, pools=("veth",))


def test_every_path_of_a_pod_works_and_nothing_is_dropped_as_spoofed(deployed: Running) -> None:
    before = deployed.dropped()
    service = deployed.api.request("GET", f"/api/v1/namespaces/default/services/{NAME}")
    wanted = connectivity.checks(
        deployed.reach.pods(NAME), service["spec"]["clusterIP"], network.REMOTE_ADDRESS
    )
    results = [deployed.reach.run(check) for check in wanted]
    assert [(r.check.path, r.answer) for r in results if not r.ok] == []
    assert deployed.dropped() == before


def test_a_remote_vm_sees_the_pods_own_address(deployed: Running) -> None:
    pod = deployed.reach.pods(NAME)[0]
    peer = deployed.reach.out(Place.REMOTE, "", ["ip", "neighbour", "show", pod.address])
    eni = next(e for e in deployed.api.items(lab.ENIS) if e["spec"]["nodeName"] == pod.node)
    deployed.reach.out(Place.REMOTE, "", connectivity.curl(pod.address))
    peer = deployed.reach.out(Place.REMOTE, "", ["ip", "neighbour", "show", pod.address])
    assert eni["status"]["port"]["macAddress"] in peer


def test_kubectl_tells_the_whole_story_without_yaml(deployed: Running) -> None:
    told = deployed.reach.kubectl_out("get", "enipool,eni,podip", "-A", "-o", "wide")
    for pod in deployed.reach.pods(NAME):
        assert pod.name in told
        assert pod.address in told
    for word in ("enipool.openeni.io/veth", "Veth", "Static", "True", "GRANTED", "DEVICE"):
        assert word in told


def test_neutron_agrees_with_the_enis(deployed: Running) -> None:
    ports = lab.neutron_ports(deployed)
    enis = {e["status"]["port"]["id"]: e for e in deployed.api.items(lab.ENIS)}
    assert ports.keys() == enis.keys()
    for id_, port in ports.items():
        fixed = {f["ip_address"] for f in port["Fixed IP Addresses"]}
        known = enis[id_]["status"]["port"]
        assert fixed == {*known["addresses"], *known["primary"]}
        assert port["Status"] == "ACTIVE"


def test_the_granted_addresses_are_the_pods_addresses(deployed: Running) -> None:
    pods = {p.name: p.address for p in deployed.reach.pods(NAME)}
    podips = {p["metadata"]["name"]: p["spec"]["addresses"] for p in deployed.api.items(lab.PODIPS)}
    assert podips == {name: [address] for name, address in pods.items()}

    def counted() -> bool:
        enis = deployed.api.items(lab.ENIS)
        assert sum(e["status"]["node"]["granted"] for e in enis) == len(pods)
        return True

    wait_for(counted, "the ENIs count the grants", 30)


def test_a_second_look_writes_nothing(deployed: Running) -> None:
    """Restarting the operator makes it reconcile everything; nothing may change by that."""

    def objects() -> dict[str, lab.Json]:
        """Whole, with their resource versions: a write that changes nothing is found as well."""
        found = [*deployed.api.items(lab.POOLS), *deployed.api.items(lab.ENIS)]
        for o in found:
            del o["metadata"]["managedFields"]
        return {o["metadata"]["name"]: o for o in found}

    def counted() -> bool:
        pool = deployed.api.request("GET", f"{lab.POOLS}/veth")
        assert pool["status"]["addresses"]["granted"] == REPLICAS
        return True

    wait_for(counted, "the pool counts the grants", 30)
    _restart_operator_and_see_it_work(deployed)  # it counts the subnet's free addresses anew
    before = objects()
    _restart_operator_and_see_it_work(deployed)
    assert objects() == before


def _restart_operator_and_see_it_work(running: Running) -> None:
    """A pool made after the restart is served: by then the operator has looked at everything."""
    lab.kill(running.lab.machine, "operator")
    lab.restart(running, "operator")
    running.api.apply([workloads.pool("later", nodeSelector={"matchLabels": {"no": "node"}})])
    lab.wait_for_condition(running, "later", "Ready", "False", "WaitingForNodes")
    running.api.delete(f"{lab.POOLS}/later")
    wait_for(lambda: running.api.get(f"{lab.POOLS}/later") is None, "pool gone", lab.PATIENCE)


def test_a_deleted_pool_leaves_no_port_no_nic_and_no_rule(running: Running) -> None:
    running.api.apply([workloads.pool("short", addresses=3)])
    lab.deploy(running, "short", "short", 2)
    kept = {e["status"]["port"]["id"] for e in running.api.items(lab.ENIS)}
    mine = [e for e in running.api.items(lab.ENIS) if e["spec"]["pool"] == "short"]
    devices = {e["spec"]["nodeName"]: e["status"]["node"]["device"] for e in mine}
    running.api.delete(f"{lab.DEPLOYMENTS}/short")
    running.api.delete(f"{lab.POOLS}/short")
    wait_for(lambda: running.api.get(f"{lab.POOLS}/short") is None, "pool gone", lab.PATIENCE)
    gone = {e["status"]["port"]["id"] for e in mine}
    assert not gone & lab.neutron_ports(running).keys()
    assert kept - gone <= lab.neutron_ports(running).keys()
    for node, device in devices.items():
        machine = running.installation.nodes[node]
        assert machine.run(["ip", "link", "show", device]).code
        assert [line for line in lab.kernel_state(machine) if device in line] == []
