"""Somebody changes the MAC of an ENI's NIC: the next look restores it, and pods stay its pods."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from openeni_crds import names
from openeni_nodeagent.datapath.linux import items, readers
from openeni_nodeagent.datapath.linux.pyroute2_classes import LinkMessage
from openeni_nodeagent.datapath.linux.rtnetlink_encode import IFINFOMSG, set_mac
from openeni_nodeagent.datapath.model import NIC, Link
from openeni_nodeagent.datapath.node import changed_macs
from openeni_testing.network import neutron
from openeni_testing.network.attacks import addresses_of, captured, send_datagram
from openeni_testing.network.node import eni_facts
from openeni_testing.network.reached_pod import ReachedPod

pytestmark = pytest.mark.root
OTHER = "02:00:00:00:77:77"
ETH0 = "fa:16:3e:99:00:0b"
OF_GROUP = "01:00:5e:00:00:01"  # which no NIC takes (eth_prepare_mac_addr_change)
PROTOCOL = str(names.PROTOCOL)
OUTSIDE = (neutron.OUTSIDE, neutron.OUTSIDE_6)


@pytest.fixture(autouse=True)
def known(bench: ReachedPod, monkeypatch: pytest.MonkeyPatch) -> None:
    """NICs here are ends of veth pairs, of which the kernel tells no MAC that they came with."""

    def link(message: Any) -> Link | None:
        found = items.link(message)
        if found and found.name == "ens7":
            return replace(found, kind=NIC, permanent_mac=bench.eni.mac)
        return (
            replace(found, kind=NIC, permanent_mac=ETH0) if found and found.mac == ETH0 else found
        )

    attributes = {*items.LINK_ATTRIBUTES}
    reader = readers.Reader(LinkMessage, IFINFOMSG.size, attributes, link)
    monkeypatch.setattr(readers, "LINK", reader)


def change(bench: ReachedPod) -> None:
    bench.node.namespace.ip(f"link set ens7 address {OTHER}")


def change_while_down(bench: ReachedPod) -> None:
    bench.node.namespace.ip("link set ens7 down", f"link set ens7 address {OTHER}")
    bench.node.namespace.ip("link set ens7 up")


def set_another(index: int, _: str) -> bytes:
    return set_mac(index, OF_GROUP)


def flush_and_take_that_of_the_nodes_own(bench: ReachedPod) -> None:
    bench.node.namespace.ip("addr flush dev ens7", f"link set ens7 address {ETH0}")


def has_mac(bench: ReachedPod, mac: str) -> bool:
    return f"link/ether {mac} " in bench.node.namespace.program("ip", "link", "show", "ens7")


def refuse(monkeypatch: pytest.MonkeyPatch) -> None:
    def set_refused(index: int, _: str) -> bytes:
        return set_mac(index, OF_GROUP)

    monkeypatch.setattr(changed_macs, "set_mac", set_refused)


def masquerade(bench: ReachedPod) -> None:
    for table in ("ip theirs", "ip6 theirs"):
        bench.node.namespace.nft(
            f"add table {table}\n"
            f"add chain {table} leaves {{ type nat hook postrouting priority 100; }}\n"
            f"add rule {table} leaves oifname eth0 masquerade"
        )


def left_by_the_nodes_own_nic(bench: ReachedPod) -> list[str]:
    """Return where to of what a pod sends to the outside."""

    def send() -> None:
        for target in OUTSIDE[: bench.families]:
            bench.pod.namespace.run(send_datagram, target, b"of a pod")

    node = bench.node.namespace
    (frames,) = captured(node, send, neutron.OUTSIDE, (node, "eth0"))
    return [target for _, target in map(addresses_of, frames) if target in OUTSIDE]


@pytest.mark.parametrize(
    ("changed", "mac"),
    [(change, OTHER), (change_while_down, OTHER), (flush_and_take_that_of_the_nodes_own, ETH0)],
)
def test_the_next_look_restores_it(
    bench: ReachedPod, changed: Callable[[ReachedPod], None], mac: str
) -> None:
    masquerade(bench)
    changed(bench)
    report = bench.node.look()
    assert has_mac(bench, bench.eni.mac)
    text = f"ens7 has MAC {mac} now, not {bench.eni.mac} of its port"
    assert ("link", text) in [(repair.kind, repair.text) for repair in report.repairs]
    assert left_by_the_nodes_own_nic(bench) == []
    bench.heal()
    assert bench.check() == ()
    bench.network.forget_dropped()
    bench.assert_connected()


def test_where_the_kernel_refuses_it_pods_reach_nothing(
    bench: ReachedPod, monkeypatch: pytest.MonkeyPatch
) -> None:
    masquerade(bench)
    change(bench)
    with monkeypatch.context() as patch:
        patch.setattr(changed_macs, "set_mac", set_another)
        for _ in range(2):
            report = bench.node.look(into=True)
            wrong = f"ens7 has MAC {OTHER} now, not {bench.eni.mac} of its port: EADDRNOTAVAIL"
            assert str(report.errors[bench.eni.name]).startswith(wrong)
            assert not report.broken
            assert left_by_the_nodes_own_nic(bench) == []
        for family in ("-4", "-6"):
            bench.node.namespace.program("ip", family, "rule", "flush", "protocol", PROTOCOL)
        bench.node.look()
        assert left_by_the_nodes_own_nic(bench) == []
    bench.heal()
    assert has_mac(bench, bench.eni.mac)
    bench.network.forget_dropped()
    bench.assert_connected()


@pytest.mark.parametrize("beside_another", [False, True])
def test_one_that_departs_is_closed_whatever_mac_it_has(
    bench: ReachedPod, monkeypatch: pytest.MonkeyPatch, *, beside_another: bool
) -> None:
    if beside_another:
        other = eni_facts("other", 20, bench.eni.datapath, dual=bench.families == 2)
        bench.node.attach("ens8", other, ("10.98.0.31", "fd98::31"))
        bench.heal()
    refuse(monkeypatch)
    bench.node.delete(bench.pod)
    change(bench)
    report = bench.node.release(bench.eni)
    assert report.departed == {bench.eni.name: True}
    seen = bench.node.namespace.program("ip", "addr", "show", "ens7")
    assert has_mac(bench, OTHER)
    assert "state DOWN" in seen
    assert "inet" not in seen


def test_who_does_not_know_all_enis_restores_nothing(bench: ReachedPod) -> None:
    """The MAC may be that of another one."""
    change(bench)
    report = bench.node.look(complete=False)
    assert "it gets it back with the next look" in str(report.errors[bench.eni.name])
    assert has_mac(bench, OTHER)
    assert left_by_the_nodes_own_nic(bench) == []
