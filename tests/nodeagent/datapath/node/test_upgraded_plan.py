"""A node whose filters know no senders of each ENI yet: an upgrade cuts no running pod off."""

import socket
from collections.abc import Collection, Generator
from contextlib import contextmanager

import pytest

from openeni_crds import names
from openeni_crds.enipool import Datapath, IPVlanDatapath, IPVlanMode, Mode
from openeni_nodeagent.datapath_api import PodInterface
from openeni_testing.network import neutron
from openeni_testing.network.reached_pod import ReachedPod

pytestmark = [pytest.mark.root, pytest.mark.ipvlan]


def leave_the_plan_of_before(bench: ReachedPod, *, layer_2: bool) -> None:
    """Leave sets and a chain that know pods, and not by which ENI each of them sends."""
    node = bench.node.namespace
    index = node.run(socket.if_nametoindex, "ens7")
    hook, link = ("prerouting", "iif") if layer_2 else ("output", "oif")
    chain = f"inet {names.NFT_TABLE} eni{index}"
    node.nft(
        f"delete chain {chain}\n"
        f"delete set inet {names.NFT_TABLE} podlinks4\n"
        f"delete set inet {names.NFT_TABLE} podlinks6\n"
        f"add chain {chain} {{ type filter hook {hook} priority mangle - 5; }}\n"
        f"add rule {chain} {link} {index} ip saddr @pods4 meta mark set "
        'meta mark and 0xffe0ffff or 0x20000 comment "0123456789ab 1 of 1"\n'
    )


@pytest.mark.parametrize("mode", [IPVlanMode.L2, IPVlanMode.L3S, IPVlanMode.L3])
def test_pods_reach_what_they_did_before_their_own_part_is_looked_at(mode: IPVlanMode) -> None:
    layer_2 = mode is IPVlanMode.L2
    bench = ReachedPod(Datapath(Mode.IPVLAN, IPVlanDatapath(mode)))
    pod, target = bench.pod.namespace, bench.node.address if layer_2 else neutron.GATEWAY
    during: list[bool] = []

    @contextmanager
    def hold(_: Collection[PodInterface]) -> Generator[frozenset[PodInterface]]:
        during.append(pod.ping(target))
        yield frozenset()  # a call of the pod is at work

    try:
        leave_the_plan_of_before(bench, layer_2=layer_2)
        bench.node.look(hold=hold)
        assert all(during)
        assert pod.ping(target)
        bench.node.look()
        bench.assert_connected()
    finally:
        bench.close()
