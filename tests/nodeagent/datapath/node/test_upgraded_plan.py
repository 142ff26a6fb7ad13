"""A node whose chains are those of a version before: an upgrade cuts no running pod off.

And if it cannot bring the new chains, nothing else of it lets pods do more than before.
"""

import socket
from collections.abc import Collection, Generator
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

pytestmark = [pytest.mark.root, pytest.mark.ipvlan]
L2, L3S, L3 = (
    pytest.param(Datapath(Mode.IPVLAN, IPVlanDatapath(mode)), id=f"ipvlan-{mode}")
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
        f"delete chain {chain}_cut\n"  # nor did they look at single fragments,
        f"delete chain {chain}_input\ndelete chain {chain}_forward\n"  # or at who may get through
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
