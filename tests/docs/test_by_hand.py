"""docs/howto/by-hand.md has the commands that the hand tests run (tests/system/test_hand_*.py)."""

import shlex
from collections.abc import Callable
from typing import Final

import pytest

from openeni_lab.machine.sysctl import set_command
from openeni_testing.network import hand_steps
from openeni_testing.network.hand_steps import HandPod, Run
from openeni_testing.network.neutron import GATEWAY, SUBNET
from openeni_testing.pages.blocks import marked

DEVICE, SERVER, NODE = "eth5", "n1", "10.99.0.11"
BLOCKS: Final = marked("hand")
_SET: Final = tuple(set_command())


class Typed:
    """What was typed: the commands of a step, each as a line."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def __call__(self, *argv: str) -> str:
        words = [*argv]
        if tuple(words[-len(_SET) - 1 : -1]) == _SET:  # the lab's machines have no `sysctl`
            words[-len(_SET) - 1 : -1] = ["sysctl", "-qw"]
        self.lines.append(shlex.join(words).replace("'$pid'", "$pid"))
        return ""

    def before(self, *words: str) -> Run:
        return lambda *argv: self(*words, *argv)


def port(typed: Typed) -> None:
    typed("openstack", *hand_steps.port_with_two_addresses(DEVICE))


def flush(typed: Typed) -> None:
    hand_steps.flush(typed, DEVICE)


def pod(typed: Typed) -> None:
    first = hand_steps.pod_without_ipv6(typed, "pod0")
    hand_steps.give_slave(typed, DEVICE, first, "10.98.0.10/22", "l2")
    hand_steps.route(first, f"default via {GATEWAY}")


def docker(typed: Typed) -> None:
    first = HandPod("$pid", typed.before("nsenter", "--target", "$pid", "--net"))
    hand_steps.give_slave(typed, DEVICE, first, "10.98.0.10/22", "l2")
    hand_steps.route(first, f"default via {GATEWAY}")


def curl(typed: Typed) -> None:
    hand_steps.curl(typed, "10.98.0.10", "-I")


def l3(typed: Typed) -> None:
    hand_steps.give_node_a_slave(typed, DEVICE, "10.98.0.10", SUBNET, NODE)
    hand_steps.route_to_pod(typed, "10.98.0.11", NODE)


def l3_pod(typed: Typed) -> None:
    hand_steps.route(netns(typed, "pod1"), "default dev eth0")


def veth(typed: Typed) -> None:
    hand_steps.connect_by_veth(
        typed,
        DEVICE,
        netns(typed, "pod1"),
        eni="10.98.0.10",
        subnet=SUBNET,
        gateway=GATEWAY,
        address="10.98.0.11",
    )


def clean(typed: Typed) -> None:
    hand_steps.remove_pod(typed, netns(typed, "pod0"))


def netns(typed: Typed, name: str) -> HandPod:
    return HandPod(name, typed.before("ip", "netns", "exec", name))


STEPS: Final = (port, flush, pod, docker, curl, l3, l3_pod, veth, clean)


@pytest.mark.parametrize("step", STEPS, ids=lambda step: str(step.__name__))
def test_a_block_has_the_commands_of_its_step(step: Callable[[Typed], None]) -> None:
    typed = Typed()
    step(typed)
    on_page = BLOCKS[step.__name__.replace("_", "-")].splitlines()
    in_place = [line for line in on_page if line in typed.lines]
    assert in_place == typed.lines


def test_every_block_has_a_step() -> None:
    assert sorted(BLOCKS) == sorted(step.__name__.replace("_", "-") for step in STEPS)


def test_what_a_block_has_more_is_of_openstack_or_of_docker() -> None:
    steps: list[str] = []
    for step in STEPS:
        typed = Typed()
        step(typed)
        steps += typed.lines
    more = {line for text in BLOCKS.values() for line in text.splitlines()} - {*steps}
    assert (
        sorted(line for line in more if not line.startswith(("openstack ", "docker ", "pid=")))
        == []
    )
