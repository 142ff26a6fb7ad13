"""How long an ADD waits for what the kernel does later. `paths/test_first_packets.py` sends."""

from collections.abc import Callable

import pytest

from openeni_nodeagent.datapath.inside import reachability
from openeni_nodeagent.datapath.inside.reachability import wait_until_reachable
from openeni_nodeagent.datapath.linux import dumps
from openeni_nodeagent.datapath.linux.namespace import open_namespace
from openeni_nodeagent.datapath.linux.netlink import Netlink
from openeni_testing.network.netns import Namespace
from openeni_testing.network.one_eni import OneENI
from openeni_testing.waiting import wait_for

pytestmark = pytest.mark.root
NEXT = "fd98::12"
LOOK_SECONDS = 0.006  # among a hundred ADDs


def operational(name: str) -> bool:
    with Netlink() as netlink:
        return dumps.is_operational(netlink, name)


def local(address: str) -> bool:
    with Netlink() as netlink:
        return dumps.is_local(netlink, address)


def test_a_link_is_operational_once_both_its_ends_are_up(netns: Namespace) -> None:
    netns.ip("link add here type veth peer name there", "link set here up")
    assert not netns.run(operational, "here")
    netns.ip("link set there up")
    assert netns.run(operational, "here")
    assert not netns.run(operational, "nowhere")


@pytest.mark.parametrize(("own", "next_"), [("10.98.0.11", "10.98.0.12"), ("fd98::11", NEXT)])
def test_an_address_is_local_on_the_machine_that_has_it(
    netns: Namespace, own: str, next_: str
) -> None:
    bits = 64 if ":" in own else 24
    assert not netns.run(local, own)  # without any route
    netns.ip("link set lo up", "link add eth0 type veth peer name far", "link set eth0 up")
    netns.ip(f"addr add {own}/{bits} dev eth0" + " nodad" * (bits == 64))
    wait_for(lambda: netns.run(local, own), "the kernel takes what is for it")
    assert not netns.run(local, next_)
    netns.ip(f"route add prohibit {next_}")
    assert not netns.run(local, next_)


class Clock:
    """Time passes in pauses, and with each look that is `slow`."""

    def __init__(self) -> None:
        self.now = 0.0
        self.pauses = 0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.pauses += 1

    def slow(self, look: Callable[[Netlink, str], bool]) -> Callable[[Netlink, str], bool]:
        def slow_look(netlink: Netlink, name: str) -> bool:
            self.now += LOOK_SECONDS
            return look(netlink, name)

        return slow_look


def test_an_add_does_not_wait_for_ever(
    bench: OneENI, netns: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For a pod that is not there, it looks for a second for each of its parts."""
    clock = Clock()
    monkeypatch.setattr(reachability, "time", clock)
    monkeypatch.setattr(dumps, "is_operational", clock.slow(dumps.is_operational))
    monkeypatch.setattr(dumps, "is_local", clock.slow(dumps.is_local))
    pod = bench.place()

    def wait() -> None:
        with open_namespace(netns.path) as namespace:
            wait_until_reachable(pod, namespace)

    def does_not_pause() -> bool:
        clock.pauses = 0
        bench.node.run(wait)
        return clock.pauses == 0

    bench.node.run(wait)
    parts = 1 if pod.eni.ipvlan else 2
    assert parts <= clock.now < parts * (1 + 2 * LOOK_SECONDS)
    bench.add(netns.path)
    wait_for(does_not_pause, "it finds the pod at once")  # the ADD's second was the clock's, too
    bench.delete(netns.path)
