"""What a pod's life makes the node's datapath ask for: no look, unless others have a hand in it."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from openeni_crds import names
from openeni_crds.enipool import Datapath, Mode
from openeni_crds.names import host_link
from openeni_nodeagent.datapath import kernel_datapath
from openeni_nodeagent.datapath.changes import Change, Kind, Watched
from openeni_nodeagent.datapath.kernel_datapath import KernelDatapath
from openeni_nodeagent.datapath.linux.pyroute2_classes import LinkMessage
from openeni_nodeagent.datapath.linux.subscription import Subscription
from openeni_testing.network.netns import Namespace
from openeni_testing.network.one_eni import OneENI
from openeni_testing.waiting import wait_for

pytestmark = pytest.mark.root
_RULE = f"from 192.0.2.1 lookup 7 priority 32000 protocol {names.PROTOCOL}"
SENTINEL = f"rule add {_RULE}", f"rule del {_RULE}"  # two changes: all before has been read

FLAPS = 100


@pytest.fixture
def asked(bench: OneENI, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Change]]:
    """Yield a list with the change that each look is asked for by."""
    found: list[Change] = []
    datapath = bench.node.datapath
    assert isinstance(datapath, KernelDatapath)

    def subscription(watched: Callable[[], Watched], _: Callable[[Change], None]) -> Subscription:
        return Subscription(watched, found.append)

    monkeypatch.setattr(kernel_datapath, "Subscription", subscription)
    bench.node.run(datapath.subscribe, lambda: None)
    wait_for(lambda: found, "the beginning")
    found.clear()
    yield found
    datapath.close()


def taken(bench: OneENI, asked: list[Change]) -> list[Change]:
    """Return, and forget, what has asked for a look until now."""
    bench.node.namespace.ip(*SENTINEL)
    wait_for(lambda: sum(c.kind is Kind.RULE for c in list(asked)) == 2, "the sentinel")
    found = [change for change in asked if change.kind is not Kind.RULE]
    asked.clear()
    return found


def test_of_a_pods_whole_life_nothing_asks_for_a_look(
    bench: OneENI, netns: Namespace, asked: list[Change]
) -> None:
    bench.add(netns.path)
    bench.delete(netns.path)
    assert taken(bench, asked) == []


def test_the_end_of_a_pod_that_a_look_has_planned_asks_for_none(
    bench: OneENI, asked: list[Change]
) -> None:
    pod = bench.node.add("pod", bench.eni, *bench.addresses)
    assert taken(bench, asked) == []
    bench.node.look()
    bench.node.delete(pod)
    pod.namespace.close()
    assert taken(bench, asked) == []
    bench.node.look()  # plans it no more


@pytest.mark.parametrize("bench", [Datapath(Mode.VETH)], indirect=True)
def test_a_link_that_a_pod_sets_down_and_up_for_ever_is_decoded_once_for_each_state(
    bench: OneENI, asked: list[Change], monkeypatch: pytest.MonkeyPatch
) -> None:
    pod = bench.node.add("pod", bench.eni, *bench.addresses)
    link = host_link(pod.facts.container_id, pod.facts.interface)
    bench.node.look()
    taken(bench, asked)
    decoded, decode = list[str](), LinkMessage.decode

    def noting(message: Any) -> None:
        decode(message)
        decoded.append(message.get_attr("IFLA_IFNAME"))

    monkeypatch.setattr(LinkMessage, "decode", noting)
    pod.namespace.ip(*["link set eth0 down", "link set eth0 up"] * FLAPS)
    assert taken(bench, asked) == []
    assert decoded.count(link) < FLAPS / 10
    bench.node.delete(pod)
    bench.node.look()  # plans it no more


@pytest.mark.parametrize("bench", [Datapath(Mode.VETH)], indirect=True)
def test_the_link_of_a_pod_that_is_there_again_may_not_go(
    bench: OneENI, netns: Namespace, asked: list[Change]
) -> None:
    bench.add(netns.path)
    bench.delete(netns.path)
    assert taken(bench, asked) == []  # the end of the first link has been read
    bench.add(netns.path)
    bench.node.namespace.ip(f"link del {bench.place().host_link}")
    wait_for(lambda: asked, "the link has gone")


def test_what_others_change_of_an_eni_that_is_not_as_planned_asks_for_one(
    bench: OneENI, asked: list[Change]
) -> None:
    """Else the look that finds it whole says so although somebody has changed it meanwhile."""
    node = bench.node
    node.enis = [replace(bench.eni, mtu=70_000)]
    assert node.look().errors
    taken(bench, asked)
    node.look()
    assert taken(bench, asked) == []  # what the look itself tries asks for no other
    node.namespace.ip("addr flush dev ens7")
    assert {change.kind for change in taken(bench, asked)} >= {Kind.ADDRESS}
    node.enis = [bench.eni]
    assert not node.look().errors


@pytest.mark.parametrize("bench", [Datapath(Mode.VETH)], indirect=True)
def test_a_route_in_the_place_of_a_pods_asks_for_one(
    bench: OneENI, netns: Namespace, asked: list[Change]
) -> None:
    """The kernel tells of no deletion."""
    bench.add(netns.path)
    assert taken(bench, asked) == []
    bench.node.namespace.ip(
        f"route replace unreachable {bench.addresses[0]}/32 table {names.TABLE_PODS}"
    )
    assert {change.kind for change in taken(bench, asked)} == {Kind.ROUTE}
