"""What an agent no longer knows of a pod's grant, and an ENI that goes meanwhile: no pod waits."""

from collections.abc import Callable

import pytest

from openeni_crds.names import ENIS
from openeni_nodeagent.cni.protocol import Command, Config, Request
from openeni_testing.agent.direct_call import handle_directly
from openeni_testing.sticky.world import KEPT, StickyWorld, Wish

Make = Callable[..., StickyWorld]
ADDRESS = "10.98.0.77"  # not the lowest one
LONG = 900  # seconds, more than any period of operator or agent
PLAIN = Wish()


def reboot(world: StickyWorld, node: str) -> None:
    """The node loses its journal with all else."""
    agent = world.agents[node]
    for address in tuple(agent.datapath.pods()):
        agent.datapath.lose(address)
    for file in (world.folder / node).glob("netns-*"):
        file.unlink()
    agent.journal.close()
    (world.folder / node / "journal").unlink()
    world.restart_agent(node)


def end_sandbox(world: StickyWorld, node: str) -> None:
    """As when containerd is restarted: the pod lives on."""
    agent = world.agents[node]
    for grant in agent.grants.all():
        container = grant.attachment.container_id
        request = Request(Command.DEL, container, "eth0", grant.netns, "", "", "", Config("1.1.0"))
        handle_directly(agent.commands, request)
        agent.netns(container).unlink()


def delete_eni(world: StickyWorld) -> None:
    (eni,) = (eni.name for eni in world.sim.enis() if eni.spec.node_name == "n1")
    world.sim.api.delete(ENIS, eni)


def lose_port(world: StickyWorld) -> None:
    world.sim.cloud.ports.clear()


def is_gone(world: StickyWorld, address: str) -> bool:
    ports = (eni.status.port for eni in world.sim.enis())
    return not any(port and address in port.addresses for port in ports)


@pytest.mark.parametrize("phase", ["Running", "Pending"])
@pytest.mark.parametrize(("wish", "most"), [(PLAIN, 1), (PLAIN, 2), (KEPT, 2)])
def test_a_pod_and_an_eni_that_is_deleted_do_not_wait_for_each_other(
    make_world: Make, phase: str, wish: Wish, most: int
) -> None:
    """The ENI waits for its pod, when the node reboots."""
    world = make_world(growth="Elastic", capacity={"maxENIsPerNode": most})
    world.start("a", "n1", **wish)
    for _ in range(5):
        world.step()
    delete_eni(world)
    for _ in range(60):
        world.step()
    reboot(world, "n1")
    world.set_phase("a", phase)
    assert world.retry("a", LONG)


@pytest.mark.parametrize("phase", ["Pending", "Running"])
@pytest.mark.parametrize("forget", [reboot, end_sandbox])
@pytest.mark.parametrize("lose", [lose_port, delete_eni])
def test_a_pod_that_keeps_its_address_has_it_again_wherever_it_has_gone(
    make_world: Make,
    phase: str,
    forget: Callable[[StickyWorld, str], None],
    lose: Callable[[StickyWorld], None],
) -> None:
    world = make_world(growth="Elastic")
    assert world.start("a", "n1", sticky="1h", address=ADDRESS) == (ADDRESS,)
    world.end("a")
    assert world.start("a", "n1", **KEPT) == (ADDRESS,)
    for _ in range(5):
        world.step()
    forget(world, "n1")
    world.set_phase("a", phase)
    for _ in range(3):
        world.step()
    lose(world)
    world.until(lambda: is_gone(world, ADDRESS), "the operator sees it")
    assert world.retry("a", LONG) == (ADDRESS,)


@pytest.mark.parametrize("ends", [False, True])
def test_what_is_kept_on_an_eni_that_is_deleted_leaves_it_if_its_pods_sandbox_has_ended(
    make_world: Make, ends: bool
) -> None:
    """The agent has lost its journal, and another pod runs on the ENI. No DEL tells of the end."""
    world = make_world()
    (address,) = world.start("a", "n1", **KEPT)
    world.start("b", "n1", **KEPT)
    delete_eni(world)
    for _ in range(30):
        world.step()
    agent = world.agents["n1"]
    (grant,) = (grant for grant in agent.grants.all() if grant.name == "a")
    if ends:
        agent.datapath.lose(address)
        agent.netns(grant.attachment.container_id).unlink()
    agent.journal.close()
    (world.folder / "n1" / "journal").unlink()
    world.restart_agent("n1")
    if ends:
        assert world.retry("a", 60) == (address,)
    for _ in range(60):
        world.step()
    (now,) = (grant for grant in world.agents["n1"].grants.all() if grant.name == "a")
    assert now.addresses == (address,)
    assert (now.eni != grant.eni) == ends, "a pod that runs stays there"
