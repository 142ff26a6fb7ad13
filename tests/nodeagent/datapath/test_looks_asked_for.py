"""What a pod's life makes the node's datapath ask for: no look, unless others have a hand in it."""

from collections.abc import Iterator

import pytest

from openeni_crds import names
from openeni_crds.enipool import Datapath, Mode
from openeni_nodeagent.datapath.kernel_datapath import KernelDatapath
from openeni_testing.network.netns import Namespace
from openeni_testing.network.one_eni import OneENI
from openeni_testing.waiting import wait_for

pytestmark = pytest.mark.root
_RULE = f"from 192.0.2.1 lookup 7 priority 32000 protocol {names.PROTOCOL}"
SENTINEL = f"rule add {_RULE}", f"rule del {_RULE}"  # two changes: all before has been read


@pytest.fixture
def asked(bench: OneENI) -> Iterator[list[None]]:
    """Yield a list with an entry for each look that the datapath has asked for."""
    found: list[None] = []
    datapath = bench.node.datapath
    assert isinstance(datapath, KernelDatapath)
    bench.node.run(datapath.subscribe, lambda: found.append(None))
    wait_for(lambda: found, "the beginning")
    yield found
    datapath.close()


def test_of_a_pods_whole_life_nothing_asks_for_a_look(
    bench: OneENI, netns: Namespace, asked: list[None]
) -> None:
    bench.add(netns.path)
    bench.delete(netns.path)
    bench.node.namespace.ip(*SENTINEL)
    wait_for(lambda: len(asked) > 2, "the sentinel")
    assert len(asked) == 3


@pytest.mark.parametrize("bench", [Datapath(Mode.VETH)], indirect=True)
def test_the_link_of_a_pod_that_is_there_again_may_not_go(
    bench: OneENI, netns: Namespace, asked: list[None]
) -> None:
    bench.add(netns.path)
    bench.delete(netns.path)
    bench.node.namespace.ip(*SENTINEL)  # the end of the first link has been read
    wait_for(lambda: len(asked) > 2, "the sentinel")
    bench.add(netns.path)
    asked.clear()
    bench.node.namespace.ip(f"link del {bench.place().host_link}")
    wait_for(lambda: asked, "the link has gone")
