"""A node whose chains are those of a version before: an upgrade cuts no running pod off.

And if it cannot bring the new chains, nothing else of it lets pods do more than before.
"""

import socket
from collections.abc import Collection, Generator, Mapping
from contextlib import contextmanager
from dataclasses import replace

import pytest

from openeni_crds import names
from openeni_crds.enipool import Datapath, IPVlanDatapath, IPVlanMode, Mode
from openeni_nodeagent.datapath_api import PodInterface
from openeni_testing.network import neutron
from openeni_testing.network.attacks import received, send_datagram
from openeni_testing.network.node import Node, eni_facts
from openeni_testing.network.reached_pod import ReachedPod

pytestmark = pytest.mark.root
L2, L3S, L3 = (
    pytest.param(
        Datapath(Mode.IPVLAN, IPVlanDatapath(mode)), id=f"ipvlan-{mode}", marks=pytest.mark.ipvlan
    )
    for mode in (IPVlanMode.L2, IPVlanMode.L3S, IPVlanMode.L3)
)
MARKS_ALL = "ip saddr @pods4 meta mark set meta mark and 0xffe0ffff or 0x20000"
DROPS_ITS_OWN = "ip6 saddr @primaries6 drop"  # on the ENI itself alone
OTHER = ("10.98.0.21", "fd98::21")  # a pod of the other ENI


def leave_chain(node: Node, device: str, rule: str, *, layer_2: bool = False) -> None:
    """Leave an ENI a chain of before that has this rule about what its pods send, and no other."""
    index = node.namespace.run(socket.if_nametoindex, device)
    hook, link = ("prerouting", "iif") if layer_2 else ("output", "oif")
    chain = f"inet {names.NFT_TABLE} eni{index}"
    node.namespace.nft(
        f"delete chain {chain}_cut\n"  # nor did they look at single fragments
        f"delete chain {chain}\n"
        f"add chain {chain} {{ type filter hook {hook} priority mangle - 5; }}\n"
        f'add rule {chain} {link} {index} {rule} comment "0123456789ab 1 of 1"\n'
    )


def reaches_all_the_time(bench: ReachedPod, *devices: str) -> bool:
    """Upgrade filters that know pods, and not by which of these ENIs each of them sends.

    Return True if the pod reaches its target both before its own part is looked at and after.
    """
    pod, layer_2 = bench.pod.namespace, bench.eni.datapath.ipvlan_mode is IPVlanMode.L2
    target = bench.node.address if layer_2 else neutron.GATEWAY
    reached: list[bool] = []

    @contextmanager
    def hold(_: Collection[PodInterface]) -> Generator[frozenset[PodInterface]]:
        reached.append(pod.ping(target))
        yield frozenset()  # a call of the pod is at work

    for device in devices:
        leave_chain(bench.node, device, MARKS_ALL, layer_2=layer_2)
    for number in (4, 6):
        bench.node.namespace.nft(f"delete set inet {names.NFT_TABLE} podlinks{number}")
    bench.node.look(hold=hold)
    return all(reached) and pod.ping(target)


def leave_early_marks(node: Node, marks: Mapping[str, int]) -> None:
    """Leave the chains of before that marked what veth pods send, and dropped the rest at once."""
    table, at = f"inet {names.NFT_TABLE}", "type filter hook prerouting priority mangle -"
    unmarked = f'iifname "{names.LINK_PREFIX}*" meta mark and 0x1f0000 == 0'
    node.namespace.nft(
        f"delete chain {table} translated\n"
        f"add chain {table} reply_in {{ {at} 4; }}\n"
        f'add rule {table} reply_in {unmarked} drop comment "0123456789ab 1 of 1"\n'
    )
    for device, mark in marks.items():
        index = node.namespace.run(socket.if_nametoindex, device)
        chain = f"{table} eni{index}"
        node.namespace.nft(
            f"delete chain {chain}\n"
            f"add chain {chain} {{ {at} 5; }}\n"
            f"add rule {chain} iifgroup {names.eni_table(index)} meta mark set {mark} "
            'comment "0123456789ab 1 of 1"\n'
        )


@pytest.mark.parametrize("bench", [Datapath(Mode.VETH)], indirect=True)
@pytest.mark.parametrize("mtu", [1450, 70_000])
def test_veth_pods_reach_what_they_did_until_they_are_marked_later(
    bench: ReachedPod, mtu: int
) -> None:
    """Also those of an ENI that the kernel refuses: ENIs are restored one after the other then."""
    node = bench.node
    other = eni_facts("other", 20, bench.eni.datapath)
    node.attach("ens20", other, OTHER[:1])
    pods = [bench.pod.namespace, node.add("other", other, OTHER[0]).namespace]
    node.enis[-1] = replace(other, mtu=mtu)
    leave_early_marks(node, {"ens7": 0x20000, "ens20": 0x30000})
    for _ in range(2):
        assert all(pod.ping(neutron.GATEWAY) for pod in pods)
        assert bool(node.look().errors) == (mtu == 70_000)
    assert all(pod.ping(neutron.GATEWAY) for pod in pods)
    assert "reply_in" not in node.namespace.program("nft", "list", "ruleset")


@pytest.mark.parametrize("bench", [L2, L3S, L3], indirect=True)
def test_pods_reach_what_they_did_before_their_own_part_is_looked_at(bench: ReachedPod) -> None:
    assert reaches_all_the_time(bench, "ens7")
    bench.node.look()
    bench.assert_connected()


@pytest.mark.parametrize("bench", [L2, L3S], indirect=True)
def test_so_they_do_where_the_kernel_refuses_another_eni(bench: ReachedPod) -> None:
    """ENIs are restored one after the other then."""
    refused = eni_facts("refused", 20, bench.eni.datapath, dual=True)
    bench.node.attach("ens20", refused, ())
    bench.node.enis[-1] = replace(refused, mtu=70_000)
    assert reaches_all_the_time(bench, "ens7", "ens20")
    assert bench.node.look().errors.keys() == {"refused"}


@pytest.mark.parametrize("bench", [L3S], indirect=True)
def test_without_the_new_chains_no_pod_sends_to_other_enis_as_its_own(
    bench: ReachedPod, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rule leads what the ENI's primary address sends to pods: it comes after the chains."""
    node, pod = bench.node, bench.pod.namespace
    other = eni_facts("other", 20, bench.eni.datapath, dual=True)
    node.attach("ens20", other, OTHER)
    victim = node.add("victim", other, *OTHER).namespace
    for device in ("ens7", "ens20"):
        leave_chain(node, device, DROPS_ITS_OWN)
        node.namespace.program(*f"ip -6 rule del pref {names.RULE_ANSWER_V6}".split())
    with monkeypatch.context() as without_nft:
        without_nft.setenv("PATH", "/nowhere")
        assert "nft is missing" in str(node.look().errors[bench.eni.name])

    def attack() -> None:
        pod.run(send_datagram, OTHER[1], b"spoofed", bench.eni.primary[1])

    assert received(pod, attack, OTHER[1], victim) == []
