"""What a decision costs does not grow with the cluster: objects looked at are counted."""

from collections.abc import Callable
from dataclasses import replace
from ipaddress import ip_address
from math import log2
from typing import Any

import pytest

from openeni_crds.names import ENIS
from openeni_operator import shared_reads
from openeni_operator.cloud.api import FixedIP, Port
from openeni_operator.enipool import resolution
from openeni_operator.enipool.resolution import count_free
from openeni_operator.shared_reads import CloudReads, PortList, numbers_by_subnet
from openeni_testing.cloud.memory import MemoryCloud
from openeni_testing.controller.simulation import Simulation
from openeni_testing.store.counted import CountedMapping, CountedSequence, Visits, count_reads


def settled(nodes: int, **capacity: int) -> Simulation:
    """Return a cluster of that size in which all is done."""
    sim = Simulation(nodes)
    sim.add_pool(capacity={"addressesPerENI": 3, "minAvailable": 1, **capacity})
    sim.settle(60)
    sim.settle(1)
    assert len(sim.ready()) == nodes
    return sim


def ports_visited_by_an_eni(nodes: int, monkeypatch: pytest.MonkeyPatch) -> int:
    """Return how many listed ports the reconcile of a settled ENI looks at."""
    sim, visits, listed = settled(nodes), Visits(), CloudReads.ports_on

    def counted(*asked: Any, **how: Any) -> PortList:
        found = listed(*asked, **how)
        return replace(
            found,
            by_name=CountedMapping(found.by_name, visits),
            sizes=CountedMapping(found.sizes, visits),
        )

    with monkeypatch.context() as patched:
        patched.setattr(CloudReads, "ports_on", counted)
        sim.process.reconcilers[ENIS](sim.enis()[-1].name)
    return visits.count


def test_an_eni_finds_its_port_in_a_list_of_any_length(monkeypatch: pytest.MonkeyPatch) -> None:
    small, large = (ports_visited_by_an_eni(nodes, monkeypatch) for nodes in (2, 9))
    assert small == large == 1


def reads_of_a_creation(nodes: int, monkeypatch: pytest.MonkeyPatch) -> int:
    """Return how many objects a pool looks at to create another ENI on one of the nodes."""
    sim = settled(nodes)
    for n in range(4):
        sim.add_pod(f"p{n}", "n1")
    sim.process.sync_state()
    with monkeypatch.context() as patched:
        counts = count_reads(patched, sim.process.state)
        assert sim.process.reconcile_next()
    assert len(sim.enis()) == nodes + 1
    return counts.total()


def test_an_eni_gets_its_name_in_a_cluster_of_any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    small, large = (reads_of_a_creation(nodes, monkeypatch) for nodes in (2, 9))
    assert small == large


def ports(count: int) -> list[Port]:
    """Return so many ports with 16 addresses each."""
    first = int(ip_address("10.0.0.2"))

    def addresses(number: int) -> tuple[FixedIP, ...]:
        own = range(first + 16 * number, first + 16 * number + 16)
        return tuple(FixedIP("a", str(ip_address(n))) for n in own)

    return [Port(str(n), str(n), "net", "", fixed_ips=addresses(n)) for n in range(count)]


@pytest.mark.parametrize("count", [10, 5000])
def test_free_addresses_are_counted_by_bisection(count: int) -> None:
    cloud = MemoryCloud()
    subnet = cloud.add_subnet(cloud.add_network(), "a", "10.0.0.0/15")
    taken = CountedSequence(numbers_by_subnet(ports(count))["a"])
    assert count_free(subnet, taken) == 2**17 - 3 - 16 * count
    assert taken.visits.count <= 2 * (log2(16 * count) + 1) * len(subnet.pools)


def count_calls(
    patched: pytest.MonkeyPatch, module: object, name: str, calls: Visits
) -> Callable[..., Any]:
    convert: Callable[..., Any] = getattr(module, name)

    def counted(*asked: Any) -> Any:
        calls.count += 1
        return convert(*asked)

    patched.setattr(module, name, counted)
    return counted


def test_an_address_is_parsed_once_for_each_list_however_many_pools_and_subnets_ask(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sim, parsed = Simulation(4), Visits()
    terms = [{"name": "pods"}]
    for n in range(5):
        sim.cloud.add_subnet(sim.network, f"more-{n}", f"10.{n}.0.0/24")
        terms.append({"name": f"more-{n}"})
    for n in range(3):
        selects = {"matchLabels": {"no": "node"}} if n else None
        sim.add_pool(f"pool-{n}", podSelector=None, subnets=terms, nodeSelector=selects)
    count_calls(monkeypatch, shared_reads, "_number", parsed)
    count_calls(monkeypatch, resolution, "ip_address", parsed)
    sim.settle(60)
    parsed.count = 0
    before = sim.cloud.calls["list ports"]
    sim.settle(1000)
    lists = sim.cloud.calls["list ports"] - before
    on_ports = sum(len(port.fixed_ips) for port in sim.cloud.ports.values())
    assert lists > 1
    assert on_ports == 4 * 4
    assert parsed.count == lists * on_ports
