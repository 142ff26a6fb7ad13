"""A pod that keeps its address: it comes back on its node, or not within its retention."""

from collections.abc import Callable
from datetime import timedelta

import pytest

from openeni_crds.conditions import Type
from openeni_crds.names import ENIPOOLS, ENIS, LABEL_RETAINED, PODIPS
from openeni_nodeagent.cni.protocol import CNIError
from openeni_testing.controller import simulation
from openeni_testing.sticky.world import StickyWorld

Make = Callable[..., StickyWorld]
pytestmark = pytest.mark.parametrize("growth", ["Static", "Elastic"])


def test_a_pod_that_comes_back_has_its_address_again_at_once(make_world: Make, growth: str) -> None:
    world = make_world(growth=growth)
    first = world.start("web-0", "n1", sticky="1h")
    world.end("web-0")
    assert world.reason("web-0", Type.READY) == "Retained"
    assert world.reason("web-0", Type.RETAINED) == "Retained"
    others = {world.start(f"p{n}", "n1") for n in range(3)}
    assert first not in others
    assert world.start("web-0", "n1", sticky="1h", seconds=5) == first
    assert world.reason("web-0", Type.READY) == "Ready"
    podip = world.podip("web-0")
    assert podip is not None
    assert podip.metadata.owner_references == ()
    assert LABEL_RETAINED in podip.metadata.labels


def test_it_has_it_again_after_restarts_of_agent_and_operator(
    make_world: Make, growth: str
) -> None:
    world = make_world(growth=growth)
    first = world.start("web-0", "n1", sticky="Forever")
    world.end("web-0")
    world.restart_agent("n1")
    world.sim.restart()
    (world.folder / "n1" / "journal").unlink()  # the node has booted anew
    world.restart_agent("n1")
    others = {world.start(f"p{n}", "n1") for n in range(3)}
    assert first not in others
    assert world.start("web-0", "n1", sticky="Forever", seconds=5) == first


def test_its_new_sandbox_has_it_too(make_world: Make, growth: str) -> None:
    world = make_world(growth=growth)
    first = world.start("web-0", "n1", sticky="30s")
    agent = world.agents["n1"]
    (grant,) = agent.grants.all()
    agent.detacher.delete(grant.attachment.container_id, "eth0", grant.netns)
    world.step(20)
    assert world.reason("web-0", Type.RETAINED) == "Retained"
    assert world.add("web-0") == first
    world.step()
    world.step()
    assert world.reason("web-0", Type.RETAINED) == "InUse"


def test_a_pod_of_another_name_never_gets_a_kept_address(make_world: Make, growth: str) -> None:
    world = make_world(growth=growth, capacity={"addressesPerENI": 1, "maxENIsPerNode": 1})
    world.start("web-0", "n1", sticky="1h")
    world.end("web-0")
    world.create_pod("db-0", "n1")
    assert "NodeLimit" in world.refusal("db-0", 35), "longer than the cool-down"


def test_after_its_retention_the_address_is_any_pods(make_world: Make, growth: str) -> None:
    world = make_world(growth=growth, capacity={"addressesPerENI": 1, "maxENIsPerNode": 1})
    first = world.start("web-0", "n1", sticky="100s")
    world.end("web-0")
    world.create_pod("db-0", "n1")
    world.refusal("db-0", 90)
    assert world.podip("web-0") is not None
    assert world.retry("db-0", 30) == first
    assert world.podip("web-0") is None


def test_it_outlives_a_wall_clock_that_is_wrong_for_a_moment(
    make_world: Make, growth: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make_world(growth=growth)
    first = world.start("web-0", "n1", sticky="100s")
    world.end("web-0")
    world.step()
    with monkeypatch.context() as patched:
        patched.setattr(simulation, "START", simulation.START + timedelta(days=1))
        world.step(10)
    world.step(80)
    assert world.addresses("web-0") == first
    world.step(10)
    world.step()  # its agent lets it go
    assert world.addresses("web-0") == ()


def test_whoever_deletes_the_podip_releases_the_address(make_world: Make, growth: str) -> None:
    world = make_world(growth=growth, capacity={"addressesPerENI": 1, "maxENIsPerNode": 1})
    first = world.start("web-0", "n1", sticky="Forever")
    world.end("web-0")
    world.sim.api.delete(PODIPS, "web-0", "default")
    assert world.start("db-0", "n1", seconds=60) == first


def test_deleting_the_podip_of_a_running_pod_changes_nothing(make_world: Make, growth: str) -> None:
    world = make_world(growth=growth)
    first = world.start("web-0", "n1", sticky="Forever")
    world.sim.api.delete(PODIPS, "web-0", "default")
    for n in range(3):
        assert world.start(f"p{n}", "n1") != first


def test_a_pod_that_keeps_nothing_frees_what_its_name_kept(make_world: Make, growth: str) -> None:
    world = make_world(growth=growth)
    first = world.start("web-0", "n1", sticky="Forever")
    world.end("web-0")
    assert world.start("web-0", "n1") == first, "it is its name's"
    world.end("web-0")
    assert world.podip("web-0") is None


def test_both_families_are_kept(make_world: Make, growth: str) -> None:
    world = make_world(growth=growth, dual_stack=True)
    first = world.start("web-0", "n1", sticky="1h")
    assert len(first) == 2
    world.end("web-0")
    assert first not in {world.start(f"p{n}", "n1") for n in range(2)}
    assert world.start("web-0", "n1", sticky="1h", seconds=5) == first


def test_nothing_that_is_kept_holds_up_the_end_of_a_pool(make_world: Make, growth: str) -> None:
    world = make_world(growth=growth)
    world.start("web-0", "n1", sticky="Forever")
    world.end("web-0")
    world.sim.api.delete(ENIPOOLS, "pods")
    world.until(lambda: not world.sim.api.list(ENIS).items, "all ENIs are gone")
    world.until(lambda: world.podip("web-0") is None, "the PodIP is gone")


def test_an_eni_with_a_kept_address_is_not_idle(make_world: Make, growth: str) -> None:
    world = make_world(growth=growth)
    first = world.start("web-0", "n1", sticky="Forever")
    world.end("web-0")
    after = [
        {"op": "replace", "path": "/spec/reclaim", "value": {"policy": "After", "after": "30s"}}
    ]
    world.sim.api.patch(ENIPOOLS, "pods", operations=after)
    world.step(300)
    world.step(300)
    assert world.node_of(first[0]) == "n1"
    assert world.start("web-0", "n1", sticky="Forever", seconds=5) == first


@pytest.mark.parametrize("text", ["", "yes", "10s", "9000h", "1h 5m", "-1h", "1d"])
def test_an_annotation_that_is_no_duration_is_named(
    make_world: Make, growth: str, text: str
) -> None:
    world = make_world(growth=growth)
    world.create_pod("web-0", "n1", sticky=text)
    with pytest.raises(CNIError, match="no address for pod") as found:
        world.add("web-0")
    assert found.value.code == 11
    assert "annotation openeni.io/sticky" in found.value.details
    assert "such as 1h, from 30s to 8760h" in found.value.details
