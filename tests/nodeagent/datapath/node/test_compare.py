"""A comparison names what a look would put right, inside pods too, and changes nothing."""

from collections.abc import Callable, Generator

import pytest

from openeni_crds.enipool import Mode
from openeni_crds.names import PROTOCOL, host_link, host_slave
from openeni_nodeagent.datapath_api import NodeReport, WantedNode, WantedPod
from openeni_testing.network.netns import Namespace
from openeni_testing.network.one_eni import MODES, OneENI

pytestmark = pytest.mark.root


@pytest.fixture(params=MODES)
def bench(request: pytest.FixtureRequest) -> Generator[OneENI]:
    made = OneENI(request.param)
    yield made
    made.close()


def compare(bench: OneENI, netns: Namespace) -> NodeReport:
    """Compare in the node's namespace, as the program that is asked does: with no memory."""
    pod = bench.pod
    wanted = WantedNode(
        bench.node.facts,
        (bench.eni,),
        pods=(WantedPod(pod, netns.path),),
        used_links=frozenset({host_link(pod.container_id, pod.interface)}),
    )

    def look() -> NodeReport:
        datapath = type(bench.node.datapath)()
        return datapath.compare(datapath.observe((bench.eni,)), wanted)

    return bench.node.namespace.run(look)


def drop_pods_routes(bench: OneENI, _: Namespace) -> None:
    table = bench.place().eni.pods_table
    words = f"route flush table {table} proto {PROTOCOL}".split()
    bench.node.namespace.program("ip", "-4", *words)


def drop_routes_inside(_: OneENI, netns: Namespace) -> None:
    netns.ip("route flush dev eth0")


def set_down(bench: OneENI, _: Namespace) -> None:
    bench.node.namespace.ip("link set ens7 down")


BREAKS: list[tuple[Callable[[OneENI, Namespace], None], str]] = [
    (drop_pods_routes, "pod"),
    (drop_routes_inside, "pod"),
    (set_down, "eni"),
]


@pytest.mark.parametrize(("break_it", "part"), BREAKS)
def test_what_somebody_changed_is_named_and_left(
    bench: OneENI, netns: Namespace, break_it: Callable[[OneENI, Namespace], None], part: str
) -> None:
    bench.add(netns.path)
    report = compare(bench, netns)
    assert (report.errors, report.differing, report.left) == ({}, {}, "")
    break_it(bench, netns)
    broken = bench.state()
    report = compare(bench, netns)
    if part == "eni":
        assert report.errors.keys() == {bench.eni.name}
    else:
        assert report.differing.keys() == {bench.pod}
    assert bench.state() == broken
    assert compare(bench, netns) == report or part == "eni"  # errors are other objects


def test_what_would_only_be_put_back_beside_an_address_of_others_is_not_called_missing(
    bench: OneENI, netns: Namespace
) -> None:
    """The first IPv4 address of a link that goes takes routes and neighbours along."""
    bench.add(netns.path)
    ip = bench.node.namespace.ip
    if bench.eni.datapath.mode is Mode.VETH:
        ip("addr add 192.0.2.5/24 dev ens7", f"addr del {bench.eni.primary[0]}/32 dev ens7")
    else:
        ip(f"addr add 192.0.2.5/24 dev {host_slave(bench.place().eni.link.ifindex)}")
    report = compare(bench, netns)
    assert "192.0.2.5" in str(report.errors[bench.eni.name])
    assert (report.differing, report.left) == ({}, "")
