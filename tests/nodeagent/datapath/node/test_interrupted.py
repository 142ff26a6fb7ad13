"""An agent that is killed while it prepares an ENI: from every point a look makes all of it right.

The kernel gives a new link no alias, so that a slave which was not completed has none.
"""

from collections.abc import Generator

import pytest

from openeni_nodeagent.datapath.diff import diff
from openeni_nodeagent.datapath.eni import plan_eni
from openeni_nodeagent.datapath.linux.kernel import apply
from openeni_nodeagent.datapath.linux.netlink import Netlink
from openeni_nodeagent.datapath.model import NIC, NOTHING, Link, Operation
from openeni_testing.network.node import eni_facts
from openeni_testing.network.one_eni import MODES, OneENI

pytestmark = [pytest.mark.root, pytest.mark.exhaustive]


@pytest.fixture(params=MODES)
def bench(request: pytest.FixtureRequest) -> Generator[OneENI]:
    made = OneENI(request.param)
    made.node.attach("ens8", eni_facts("other", 11, request.param), ())  # what ENIs share stays
    yield made
    made.close()


def points(bench: OneENI) -> list[list[Operation]]:
    """Return what is done by the end of each kind of object: one batch has no pause within."""
    planned = diff(NOTHING, plan_eni(bench.place().eni))
    todo = [o for o in planned if not (isinstance(o.item, Link) and o.item.kind == NIC)]
    kinds = [type(o.item) for o in todo]
    ends = [n for n in range(len(todo)) if n == 0 or kinds[n] != kinds[n - 1]]
    return [todo[:end] for end in (*ends, len(todo))]


def prepare_in_part(bench: OneENI, done: list[Operation]) -> None:
    """Do so much of the preparation of an ENI that the node has left."""

    def do() -> None:
        with Netlink() as netlink:
            apply(done, netlink)

    bench.node.namespace.ip("link set ens7 up")
    bench.node.namespace.run(do)


def test_from_every_point_of_a_broken_preparation_a_look_completes_it(bench: OneENI) -> None:
    whole = bench.state()
    for done in points(bench):
        bench.node.release(bench.eni)
        prepare_in_part(bench, done)
        bench.node.configure(bench.eni)
        assert bench.state() == whole, f"after {done[-1:]}"


def test_from_every_point_of_a_broken_preparation_the_eni_can_be_left(bench: OneENI) -> None:
    all_points = points(bench)
    bench.node.release(bench.eni)
    bare = bench.state()
    for done in all_points:
        prepare_in_part(bench, done)
        assert bench.node.look(departing=(bench.eni,)).errors == {}
        assert bench.state() == bare, f"after {done[-1:]}"
