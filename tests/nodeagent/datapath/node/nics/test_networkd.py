"""A real systemd-networkd on a node whose image has it configure every link."""

import socket
from pathlib import Path

import pytest

from openeni_crds import names
from openeni_crds.enipool import Datapath, Mode
from openeni_testing.network.networkd import ADDRESS, Networkd
from openeni_testing.network.reached_pod import ReachedPod
from openeni_testing.waiting import wait_for

pytestmark = [
    pytest.mark.root,
    pytest.mark.parametrize("bench", [Datapath(Mode.VETH)], indirect=True),
]


@pytest.fixture
def networkd(bench: ReachedPod, tmp_path: Path) -> Networkd:
    return Networkd(bench.node, tmp_path)


def ours(bench: ReachedPod) -> frozenset[str]:
    """Return what openeni has on the node, as `ip` shows it."""
    node = bench.node.namespace
    shown = [
        line
        for family in ("-4", "-6")
        for what in (("rule",), ("route", "show", "table", "all"))
        for line in node.program("ip", family, *what).splitlines()
        if f"proto {names.PROTOCOL}" in line
    ]
    addresses = node.program("ip", "-o", "address", "show", "dev", "ens7")
    return frozenset((*shown, *addresses.splitlines()))


def rules(lines: frozenset[str]) -> list[str]:
    return [line for line in lines if " lookup " in line]


def index_of(bench: ReachedPod, link: str) -> int:
    return bench.node.namespace.run(socket.if_nametoindex, link)


def test_with_the_guards_its_starts_change_nothing_of_ours(
    bench: ReachedPod, networkd: Networkd
) -> None:
    networkd.guards.prepare(bench.eni.mac)
    before = ours(bench)
    assert rules(before)
    for _ in range(2):
        with networkd.running():
            assert networkd.state_of(index_of(bench, "eth0")) == "configured"
            assert networkd.state_of(index_of(bench, "ens7")) == "unmanaged"
            assert networkd.state_of(index_of(bench, bench.pod_link)) == "unmanaged"
            assert ours(bench) == before
            bench.assert_connected()
    assert bench.heal() == 0
    assert bench.check() == ()


def test_without_the_guards_the_next_look_restores_what_it_has_removed(
    bench: ReachedPod, networkd: Networkd
) -> None:
    """As on a node whose networkd has started before the agent wrote them."""
    before = ours(bench)
    for _ in range(2):
        with networkd.running():
            assert networkd.state_of(index_of(bench, "ens7")) == "configured"
            wait_for(lambda: not rules(ours(bench)), "it has removed the rules")
            assert any(ADDRESS in line for line in ours(bench))
            assert bench.heal() == 1
            assert ours(bench) == before
            assert bench.check() == ()
            bench.network.forget_dropped()
            bench.assert_connected()
