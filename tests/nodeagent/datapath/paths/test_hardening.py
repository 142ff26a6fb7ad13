"""A node whose administrator has set `arp_ignore` for all links, as profiles of ANSSI BP-028 do.

A new namespace begins with the values of the first one, not with those of the node's here.
"""

import pytest

from openeni_crds.enipool import Datapath, IPVlanDatapath, IPVlanMode, Mode
from openeni_nodeagent.datapath_api import NICMissingError
from openeni_testing.network.one_eni import MODES
from openeni_testing.network.reached_pod import SECOND, ReachedPod

pytestmark = pytest.mark.root
L2 = Datapath(Mode.IPVLAN, IPVlanDatapath(IPVlanMode.L2))
ARP_IGNORE = "net/ipv4/conf/all/arp_ignore"


@pytest.mark.ipvlan
@pytest.mark.parametrize("value", ["2", "8"])
def test_an_l2_eni_for_which_nothing_would_answer_arp_is_refused_until_something_does(
    value: str,
) -> None:
    bench = ReachedPod(L2)
    node = bench.node
    node.namespace.sysctl(ARP_IGNORE, value)
    message = str(node.look(into=True).errors[bench.eni.name])
    assert message.startswith(f"net.ipv4.conf.all.arp_ignore is {value}: ")
    assert message.endswith("set net.ipv4.conf.all.arp_ignore=1")
    with pytest.raises(NICMissingError, match=message):
        bench.add("second", SECOND)
    assert node.namespace.ask(bench.pod.address, 80), "what runs is left as it is"
    node.namespace.sysctl(ARP_IGNORE, "1")
    assert node.look(into=True).errors == {}
    bench.add("second", SECOND)
    bench.assert_connected()
    bench.close()


@pytest.mark.parametrize("datapath", [m for m in MODES if m.id != "ipvlan-L2"])
def test_pods_of_other_modes_are_reached_although_the_node_ignores_arp(datapath: Datapath) -> None:
    bench = ReachedPod(datapath)
    for namespace in (bench.node.namespace, bench.pod.namespace):
        namespace.sysctl(ARP_IGNORE, "2")
    assert bench.node.look(into=True).errors == {}
    for namespace in (bench.remote, bench.network.fabric):
        namespace.ip("neigh flush all")
    bench.assert_connected()
    bench.close()
