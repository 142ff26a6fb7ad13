"""Each cloud in use is swept, in its own lane."""

from openeni_crds.names import ENIPOOLS
from openeni_kube.result import Done
from openeni_operator.controllers import reconcile
from openeni_operator.keys import ORPHAN_SWEEP, Key
from openeni_operator.lanes import Lanes
from openeni_operator.watch_mapping import all_keys
from openeni_testing.controller.orphans import leak_port
from openeni_testing.controller.simulation import Simulation


def test_the_clouds_of_pools_and_of_enis_are_swept() -> None:
    sim = Simulation()
    sim.add_pool("other", cloud="second")
    sim.process.sync_state()
    assert {k for k in all_keys(sim.process.state) if k.kind == ORPHAN_SWEEP} == {
        Key(ORPHAN_SWEEP, "second")
    }


def test_a_cloud_stays_in_use_until_its_last_eni_is_gone() -> None:
    sim = Simulation()
    sim.add_pool()
    sim.settle(100)
    (eni,) = sim.enis()
    assert eni.status.port is not None
    sim.granted[eni.name] = {eni.status.port.addresses[0]}
    patch = [{"op": "remove", "path": "/metadata/finalizers"}]
    sim.api.patch(ENIPOOLS, "pods", operations=patch)
    sim.api.delete(ENIPOOLS, "pods")
    sim.process.sync_state()
    assert sim.process.state.pools() == []
    assert Key(ORPHAN_SWEEP, "default") in all_keys(sim.process.state)


def test_a_cloud_that_is_not_in_use_is_not_called() -> None:
    sim = Simulation()
    leak_port(sim)
    sim.cloud.calls.clear()
    assert reconcile(sim.process.reconcilers, Key(ORPHAN_SWEEP, "default")) == Done()
    assert sim.cloud.calls == {}


def test_a_sweep_is_in_the_lane_of_its_cloud() -> None:
    sim = Simulation()
    sim.add_pool("other", cloud="second")
    sim.process.sync_state()
    lanes = Lanes(sim.process.state, lambda _: 0.0)
    lane = lanes.lane_of(Key(ORPHAN_SWEEP, "second"))
    assert lane == lanes.lane_of(Key(ENIPOOLS, "other"))
    assert lane != lanes.lane_of(Key(ORPHAN_SWEEP, "default"))
