"""Random sequences of what may happen to a node, each made from one number.

A step chooses what it hits by a number of its own, so that a sequence without some of its steps is
a sequence as well: a failure is made smaller by hand with OPENENI_STEPS.
"""

import random
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from openeni_testing.network.netns import Namespace
from openeni_testing.soak.damages import DAMAGES, MTU_WITHOUT_IPV6
from openeni_testing.soak.kernel_objects import IN_PODS, OBJECTS
from openeni_testing.soak.lasting import LASTING
from openeni_testing.soak.node import MOST_PODS, SufferingNode
from openeni_testing.waiting import wait_for

FEWEST_STEPS, MOST_STEPS = 3, 9
LONGEST_PAUSE: Final = 0.15  # seconds, between two steps
POD_INTERFACE: Final = "eth0"
CALL_SECONDS: Final = 0.02  # that most calls of the executable take


@dataclass(frozen=True)
class Step:
    """What happens, and the number that decides the rest."""

    name: str
    number: int

    def __str__(self) -> str:
        return f"{self.name}:{self.number}"


Action = Callable[[SufferingNode, random.Random], None]


def add_pod(node: SufferingNode, _: random.Random) -> None:
    node.end_outage()
    if len(node.kubelet.pods) < MOST_PODS:
        node.kubelet.add_pod()


def delete_pod(node: SufferingNode, dice: random.Random) -> None:
    node.end_outage()
    if pods := [pod for pod in node.kubelet.pods.values() if pod.wanted]:
        node.kubelet.delete_pod(dice.choice(pods))


def replace_sandbox(node: SufferingNode, dice: random.Random) -> None:
    if pods := [pod for pod in node.kubelet.pods.values() if pod.wanted and pod.ready]:
        node.kubelet.replace_sandbox(dice.choice(pods))


def kill_agent(node: SufferingNode, dice: random.Random) -> None:
    """It is back at once, or when it has been missed for a while."""
    node.end_agent()
    if dice.random() < 0.7:
        node.start_agent()


def kill_executable(node: SufferingNode, dice: random.Random) -> None:
    """Kill a call at a random instant; one is begun if none runs."""
    if not node.kubelet.calls():
        dice.choice((add_pod, delete_pod))(node, dice)
        time.sleep(dice.uniform(0, CALL_SECONDS))
    for sandbox in node.kubelet.calls()[:1]:
        assert sandbox.call is not None
        sandbox.call.send_signal(signal.SIGKILL)


def delete_object(node: SufferingNode, dice: random.Random) -> None:
    """It may be gone already: the agent works meanwhile."""
    find = dice.choice(OBJECTS)
    if found := sorted(find(node.space, node.nic())):
        node.attempt(*dice.choice(found))


def delete_in_pod(node: SufferingNode, dice: random.Random) -> None:
    """What is done there is the pod's own loss, until an agent that starts looks into all."""
    spaces = (sandbox.space for sandbox in node.kubelet.running())
    connected = [s for s in spaces if isinstance(s, Namespace) and POD_INTERFACE in s.links()]
    if connected:
        space = dice.choice(connected)
        if found := sorted(dice.choice(IN_PODS)(space, POD_INTERFACE)):
            space.program(*dice.choice(found))
        node.end_agent()
        node.start_agent()


def damage(node: SufferingNode, dice: random.Random) -> None:
    """Change something of openeni's, or add something to it."""
    find = dice.choice(DAMAGES)
    if found := sorted(find(node.space, node.nic())):
        command = dice.choice(found)
        node.attempt(*command)
        node.has_lost_ipv6 |= MTU_WITHOUT_IPV6 in command


def leave_lasting(node: SufferingNode, dice: random.Random) -> None:
    if lasting := dice.choice(LASTING)(node, dice):
        node.lasting.append(lasting)


def take_back(node: SufferingNode, dice: random.Random) -> None:
    """What lasts may end before a condition has named it."""
    if node.lasting:
        node.lasting.pop(dice.randrange(len(node.lasting))).take_back()


def remove_journal(node: SufferingNode, dice: random.Random) -> None:
    """The agent writes it anew with its next record. One that is killed before has lost it."""
    node.end_outage()
    pods = [pod for pod in node.kubelet.pods.values() if pod.wanted and pod.ready]
    if not pods or not node.has_agent:
        return
    pod = dice.choice(pods)
    ready = pod.ready
    assert ready is not None
    # An agent that answers has opened it.
    wait_for(lambda: node.kubelet.is_served(ready), "the agent answers")
    journal = node.host.settings.journal
    journal.unlink()
    node.kubelet.delete_pod(pod)
    wait_for(journal.exists, "the journal is written anew")


def wipe_rules(node: SufferingNode, dice: random.Random) -> None:
    for family in dice.choice((("-4",), ("-6",), ("-4", "-6"))):
        node.attempt(*f"ip {family} rule flush protocol 94".split())


def wipe_filters(node: SufferingNode, _: random.Random) -> None:
    node.attempt("nft", "flush ruleset")


def rename(node: SufferingNode, dice: random.Random) -> None:
    node.rename(f"eth{dice.randrange(10, 10**6)}")


def flap(node: SufferingNode, _: random.Random) -> None:
    nic = node.nic()
    node.attempt("ip", "link", "set", nic, "down")
    node.attempt("ip", "link", "set", nic, "up")


def plug_again(node: SufferingNode, _: random.Random) -> None:
    node.unplug()
    node.plug()


def restart_api_server(node: SufferingNode, _: random.Random) -> None:
    """It is away for some steps, and has forgotten its history."""
    node.host.store.set_outage(outage=True)
    node.host.store.compact()


ACTIONS: Final[dict[str, tuple[Action, int]]] = {
    action.__name__: (action, weight)
    for action, weight in (
        (add_pod, 8),
        (delete_pod, 4),
        (replace_sandbox, 2),
        (kill_agent, 3),
        (kill_executable, 3),
        (delete_object, 6),
        (delete_in_pod, 2),
        (damage, 8),
        (leave_lasting, 4),
        (take_back, 2),
        (remove_journal, 1),
        (wipe_rules, 1),
        (wipe_filters, 1),
        (rename, 1),
        (flap, 1),
        (plug_again, 1),
        (restart_api_server, 2),
    )
}


def sequence(seed: int) -> tuple[Step, ...]:
    """Return the sequence of that number."""
    dice = random.Random(seed)  # noqa: S311 no secret
    weights = [weight for _, weight in ACTIONS.values()]
    chosen = dice.choices(tuple(ACTIONS), weights, k=dice.randint(FEWEST_STEPS, MOST_STEPS))
    return tuple(Step(name, dice.randrange(10**6)) for name in chosen)


def parse(text: str) -> tuple[Step, ...]:
    """Return the sequence that a failure has printed."""
    parts = (word.partition(":") for word in text.split())
    return tuple(Step(name, int(number)) for name, _, number in parts)


def play(node: SufferingNode, steps: tuple[Step, ...]) -> None:
    """Let all steps happen to a node, settle with its pods, and settle without them."""
    for step in steps:
        dice = random.Random(step.number)  # noqa: S311 no secret
        action, _ = ACTIONS[step.name]
        action(node, dice)
        time.sleep(dice.uniform(0, LONGEST_PAUSE))
        node.kubelet.advance()
    node.settle()
    node.settle_bare()
    if node.has_lost_ipv6:
        node.network.forget_dropped()
        node.has_lost_ipv6 = False
