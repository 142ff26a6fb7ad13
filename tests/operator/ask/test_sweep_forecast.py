"""`sweep --dry-run` tells what the sweep then does: it is the sweep's own look and rules."""

import pytest

from openeni_crds.names import ENIS
from openeni_operator.cloud.errors import CloudUnreachableError
from openeni_operator.settings import OrphanMode
from openeni_testing.controller.asked import ask_sweep
from openeni_testing.controller.orphans import TWO_LOOKS, leak_port, ports_owned
from openeni_testing.controller.simulation import Simulation


@pytest.fixture(params=OrphanMode)
def sim(request: pytest.FixtureRequest) -> Simulation:
    made = Simulation(nodes=8, orphans=request.param)
    made.add_pool()
    made.settle()
    return made


def test_where_every_port_has_its_eni_nothing_is_left(sim: Simulation) -> None:
    (cloud,) = ask_sweep(sim).clouds
    assert (cloud.ports, cloud.with_eni) == (8, 8)
    assert (cloud.left, cloud.deletions, cloud.message, cloud.error) == ((), (), "", "")


def test_it_is_what_the_sweep_does(sim: Simulation) -> None:
    unused = leak_port(sim)
    used = leak_port(sim, "used", server=sim.enis()[0].spec.server_id)
    odd = leak_port(sim, "odd", name="renamed")
    before = dict(sim.cloud.ports)
    (cloud,) = ask_sweep(sim).clouds
    assert sim.cloud.ports == before
    sim.settle(TWO_LOOKS)
    deleted = before.keys() - sim.cloud.ports.keys()
    assert set(cloud.deletions) == deleted
    assert deleted == ({unused.id} if sim.orphans is OrphanMode.DELETE else set())
    assert set(cloud.left) == {unused.id, used.id, odd.id}
    said = ports_owned(sim)
    assert said is not None
    if sim.orphans is OrphanMode.REPORT:
        assert cloud.message == said.message


def test_many_at_once_are_left(sim: Simulation) -> None:
    for number in range(4):
        leak_port(sim, f"gone-{number}")
    (cloud,) = ask_sweep(sim).clouds
    assert (len(cloud.left), cloud.deletions) == (4, ())
    assert "none is deleted" in cloud.message


def test_a_port_that_is_not_listed_is_lost(sim: Simulation) -> None:
    eni = sim.enis()[0]
    assert eni.status.port is not None
    del sim.cloud.ports[eni.status.port.id]
    (cloud,) = ask_sweep(sim).clouds
    assert cloud.lost == (eni.name,)


def test_a_cloud_that_does_not_answer_has_its_error(sim: Simulation) -> None:
    sim.cloud.down = CloudUnreachableError("no route to host")
    (cloud,) = ask_sweep(sim).clouds
    assert cloud.error == "no route to host"
    assert sim.api.list(ENIS).items
