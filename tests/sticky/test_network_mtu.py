"""`openstack network set --mtu`: what ENIs and new pods make of it."""

from dataclasses import replace
from pathlib import Path

import pytest

from openeni_crds import names
from openeni_testing.sticky.world import StickyWorld


def set_mtu(world: StickyWorld, mtu: int) -> None:
    """Change the networks' MTU, and let resyncs pass."""
    networks = world.sim.cloud.networks
    networks.update({key: replace(network, mtu=mtu) for key, network in networks.items()})
    for _ in range(40):
        world.step(30)


def mtus_of_ports(world: StickyWorld) -> set[int]:
    return {eni["status"]["port"]["mtu"] for eni in world.sim.api.list(names.ENIS).items}


@pytest.mark.parametrize("growth", ["Elastic", "Static"])
def test_a_smaller_mtu_is_that_of_enis_and_of_new_pods_and_a_greater_one_of_new_enis(
    tmp_path: Path, growth: str
) -> None:
    world = StickyWorld(tmp_path, growth=growth)
    world.start("before", "n1")
    set_mtu(world, 1300)
    assert mtus_of_ports(world) == {1300}
    world.start("after", "n1")
    granted = {grant.name: grant.mtu for grant in world.agents["n1"].grants.all()}
    assert granted["after"] == 1300
    set_mtu(world, 1400)
    assert mtus_of_ports(world) == {1300}
