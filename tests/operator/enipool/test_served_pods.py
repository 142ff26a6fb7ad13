"""What is counted of a node's waiting pods: exactly after a look at PodIPs, never too many else."""

from dataclasses import dataclass, field, replace

from hypothesis import given, settings
from hypothesis import strategies as st

from openeni_crds.names import PODIPS
from openeni_operator.enipool.served_pods import (
    LOOK_SECONDS,
    MOST_READ,
    ServedPods,
    WaitingCount,
)
from openeni_operator.sizing.state import ENIState, NodeState
from openeni_testing.objects import podip_body
from openeni_testing.store.hooked import HookedStore
from openeni_testing.store.memory import MemoryStore

COOL_DOWN = 30.0  # seconds, the shortest that the API allows
ENIS = ("e0", "e1")


@dataclass
class Pod:
    """A pod of the model; without an ENI it has no address."""

    uid: str
    eni: str = ""
    published: bool = False
    waits: bool = True  # its status does not show its address


@dataclass
class Node:
    """A node whose pods get addresses and end, with what its agent reports and publishes."""

    store: HookedStore = field(default_factory=lambda: HookedStore(MemoryStore()))
    now: float = 100.0
    begun: int = 0
    pods: dict[str, Pod] = field(default_factory=dict[str, Pod])
    cooling: list[tuple[float, str]] = field(default_factory=list[tuple[float, str]])

    def __post_init__(self) -> None:
        self.served = ServedPods(self.store, lambda: self.now)

    def ask(self) -> WaitingCount:
        """Ask how many pods need an address, by the counts that the agent reports now."""
        waiting = {p.uid: f"default/{p.uid}" for p in self.pods.values() if p.waits}
        enis = tuple(
            ENIState(
                name,
                addresses=64,
                granted=sum(p.eni == name for p in self.pods.values()),
                cooling=sum(eni == name for _, eni in self.cooling),
            )
            for name in ENIS
        )
        return self.served.count_waiting("pods", NodeState("n1", enis), waiting)

    def in_need(self) -> int:
        """Return how many pods have no address."""
        return sum(not pod.eni for pod in self.pods.values())

    def lists(self) -> int:
        return self.store.lists.count("PodIP spec.nodeName=n1")

    def bind(self) -> str:
        self.begun += 1
        uid = f"p{self.begun}"
        self.pods[uid] = Pod(uid)
        return uid

    def grant(self, eni: str = "e0") -> None:
        pod = next((p for p in self.pods.values() if not p.eni), None)
        if pod is not None:
            pod.eni = eni

    def publish(self) -> None:
        """Create the PodIPs of all grants."""
        for pod in self.pods.values():
            if pod.eni and not pod.published:
                body = podip_body(pod.uid)
                body["spec"] |= {"podUID": pod.uid, "eniName": pod.eni}
                self.store.create(PODIPS, body)
                pod.published = True

    def run(self) -> None:
        """Let the oldest pod whose PodIP is there show its address."""
        pod = next((p for p in self.pods.values() if p.published and p.waits), None)
        if pod is not None:
            pod.waits = False

    def end(self) -> None:
        """End the oldest pod; its address cools down."""
        if not self.pods:
            return
        pod = self.pods.pop(next(iter(self.pods)))
        if pod.published:
            self.store.delete(PODIPS, pod.uid, "default")
        if pod.eni:
            self.cooling.append((self.now, pod.eni))

    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.cooling = [(at, e) for at, e in self.cooling if self.now - at < COOL_DOWN]


STEPS = ("bind", "bind", "grant e0", "grant e1", "publish", "run", "end", "wait 1", "wait 6")


def take(node: Node, step: str) -> None:
    match step.split():
        case ["grant", eni]:
            node.grant(eni)
        case ["wait", seconds]:
            node.wait(float(seconds))
        case _:
            getattr(node, step)()


@settings(max_examples=300)
@given(st.lists(st.sampled_from(STEPS), max_size=60), st.integers(0, 3))
def test_never_too_many_are_counted_and_never_too_few_for_long(
    steps: list[str], started: int
) -> None:
    node = Node()
    for _ in range(started):
        node.bind()
        node.grant()
    node.publish()
    begun = node.now
    for step in steps:
        take(node, step)
        count = node.ask()
        assert count.least <= node.in_need()
        assert 0 <= count.again <= LOOK_SECONDS
        if not count.again:
            assert count.least == node.in_need()
    assert node.lists() <= 1 + (node.now - begun) // LOOK_SECONDS
    if again := node.ask().again:
        node.wait(again)
        assert node.ask() == WaitingCount(node.in_need())


def test_pods_that_start_in_the_ordinary_way_cost_one_small_read_each() -> None:
    node = Node()
    for _ in range(30):
        node.bind()
        node.grant()
        node.publish()
        assert node.ask() == WaitingCount(0)
        node.wait(LOOK_SECONDS / 30 / 2)
    assert (node.store.reads, node.lists()) == (30, 0)


def test_a_burst_of_pods_costs_one_list_instead() -> None:
    node = Node()
    for _ in range(MOST_READ + 1):
        node.bind()
        node.grant()
    node.publish()
    assert node.ask() == WaitingCount(0)
    assert (node.store.reads, node.lists()) == (0, 1)


def test_a_pod_that_still_waits_is_read_before_those_that_are_served() -> None:
    node = Node()
    for _ in range(MOST_READ - 1):
        node.bind()
        node.grant()
    node.publish()
    node.bind()
    assert node.ask().least == 1
    before = node.store.reads
    node.wait(LOOK_SECONDS)
    assert node.ask() == WaitingCount(1)
    assert (node.store.reads - before, node.lists()) == (1, 2)


def test_a_pod_that_has_lost_its_address_counts_again() -> None:
    """Its sandbox was made anew, and there is no free address."""
    node = Node()
    uid = node.bind()
    node.grant()
    node.publish()
    assert node.ask() == WaitingCount(0)
    node.store.delete(PODIPS, uid, "default")
    node.pods[uid] = Pod(uid)
    node.wait(LOOK_SECONDS)
    assert node.ask() == WaitingCount(1)


def test_the_podip_of_an_earlier_pod_of_that_name_serves_no_other() -> None:
    node = Node()
    uid = node.bind()
    node.grant()
    node.publish()
    enis = (ENIState("e0", addresses=4, granted=1),)
    count = node.served.count_waiting("pods", NodeState("n1", enis), {"other": f"default/{uid}"})
    assert count == WaitingCount(1)


def test_pools_on_one_node_look_for_themselves() -> None:
    node = Node()
    node.bind()
    assert node.ask() == WaitingCount(1)
    state = NodeState("n1", (ENIState("x0", addresses=4, granted=2),))
    assert node.served.count_waiting("other", state, {"q": "default/q"}) == WaitingCount(0)
    node.grant()
    node.publish()
    node.bind()
    assert replace(node.ask(), again=0) == WaitingCount(1)
    assert node.lists() == 2


def test_what_is_known_of_pods_that_are_gone_is_forgotten() -> None:
    node = Node()
    for _ in range(50):
        node.bind()
        node.grant()
        node.publish()
        node.ask()
        node.end()
        node.wait(LOOK_SECONDS)
    sizes = [len(part) for part in vars(node.served).values() if hasattr(part, "__len__")]
    assert len(sizes) == 2
    assert max(sizes) <= 2
