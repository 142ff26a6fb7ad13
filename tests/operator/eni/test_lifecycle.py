"""The rules of one port: nothing from under a pod, and from anywhere to where it should be."""

from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openeni_operator.cloud.api import ACTIVE, Port
from openeni_operator.eni import lifecycle
from openeni_operator.eni.lifecycle import (
    Ages,
    Attach,
    CreatePort,
    DeletePort,
    Detach,
    Facts,
    Forget,
    Gone,
    Pause,
    Ready,
    Step,
    TagPort,
    next_step,
)

HERE, ELSEWHERE = "server-1", "server-2"
TAGS = frozenset({"openeni-cluster=c", "openeni-eni=e"})


NONE = frozenset[str]()


def a_port(
    name: str = "p1", *, device_id: str = "", status: str = "DOWN", tags: frozenset[str] = TAGS
) -> Port:
    return Port(
        name,
        "openeni-c-e",
        "net",
        "fa:16:3e:00:00:01",
        status,
        device_id,
        tags=tags,
        created_at=name,
    )


ports = st.builds(
    a_port,
    st.sampled_from(["p1", "p2", "p3"]),
    device_id=st.sampled_from(["", HERE]),
    status=st.sampled_from(["DOWN", "BUILD", ACTIVE]),
    tags=st.sampled_from([TAGS, NONE]),
)
some = st.none() | st.floats(0, 300)
ages = st.builds(Ages, some, some, some, st.sampled_from(["", "p1", "p2"]), some, some)
facts = st.builds(
    Facts,
    server_id=st.just(HERE),
    tags=st.just(TAGS),
    deleting=st.booleans(),
    ports=st.lists(ports, max_size=3, unique_by=lambda p: p.id).map(tuple),
    recorded=st.sampled_from(["", "p1", "p2", "p9"]),
    prepared=st.booleans(),
    in_use=st.booleans(),
    linked=st.booleans(),
    server_gone=st.booleans(),
    ages=ages,
)


@given(facts)
def test_while_the_agent_may_use_it_the_kept_port_is_neither_detached_nor_deleted(
    facts: Facts,
) -> None:
    step = next_step(replace(facts, in_use=True))
    kept = facts.port.id if facts.port else None
    assert not (isinstance(step, Detach | DeletePort) and step.port == kept)


@given(facts)
def test_the_port_that_the_agent_was_told_of_is_the_one_that_is_kept(facts: Facts) -> None:
    if facts.recorded in {p.id for p in facts.ports}:
        assert facts.port is not None
        assert facts.port.id == facts.recorded


@given(facts)
def test_a_living_eni_never_loses_the_port_that_is_kept(facts: Facts) -> None:
    step = next_step(replace(facts, deleting=False))
    kept = facts.port.id if facts.port else None
    assert not (isinstance(step, Detach | DeletePort) and step.port == kept)


@given(facts)
def test_nothing_is_deleted_without_its_marks(facts: Facts) -> None:
    step = next_step(facts)
    if isinstance(step, DeletePort):
        (port,) = (p for p in facts.ports if p.id == step.port)
        assert port.tags >= TAGS


@given(facts)
def test_nothing_attached_is_deleted_but_from_a_server_that_is_gone(facts: Facts) -> None:
    step = next_step(facts)
    if isinstance(step, DeletePort):
        (port,) = (p for p in facts.ports if p.id == step.port)
        assert not port.device_id or facts.server_gone


@given(facts)
def test_a_port_is_made_only_where_there_is_none_and_none_may_be_coming(facts: Facts) -> None:
    if isinstance(next_step(facts), CreatePort):
        assert not facts.ports
        assert not facts.deleting
        assert facts.ages.create_unknown is None or facts.ages.create_unknown >= 30


@given(facts)
def test_nothing_is_attached_before_the_guest_is_prepared(facts: Facts) -> None:
    if isinstance(next_step(facts), Attach):
        assert facts.prepared


@dataclass
class Cloudlet:
    """Just enough of a cloud to obey steps; time passes with each of them."""

    facts: Facts
    now: float = 0.0
    since: dict[str, float] = field(default_factory=dict[str, float])
    detaching: str = ""

    def __post_init__(self) -> None:
        self.detaching = self.facts.ages.detaching
        for name in ("create_unknown", "attach_asked", "detach_asked", "port_missing"):
            age = getattr(self.facts.ages, name)
            if age is not None:
                self.since[name] = -age

    def see(self) -> Facts:
        facts = self.facts
        missing = bool(facts.recorded) and not facts.ports
        if missing:
            self.since.setdefault("port_missing", self.now)
        else:
            self.since.pop("port_missing", None)
        if facts.ports:
            self.since.pop("create_unknown", None)
        if not any(p.device_id for p in facts.ports if p.id == self.detaching):
            self.since.pop("detach_asked", None)
        ages = Ages(
            **{name: self.now - at for name, at in self.since.items()}, detaching=self.detaching
        )
        recorded = facts.recorded
        if facts.port is not None:
            recorded = facts.port.id
        self.facts = replace(facts, recorded=recorded)
        return replace(facts, ages=ages)

    def obey(self, step: Step) -> None:  # noqa: C901 a table
        match step:
            case CreatePort():
                self._put(a_port("p7", tags=NONE))
            case TagPort(port):
                self._put(replace(self._port(port), tags=TAGS))
            case DeletePort(port):
                left = tuple(p for p in self.facts.ports if p.id != port)
                self.facts = replace(self.facts, ports=left)
            case Attach(port):
                self.since["attach_asked"] = self.now
                self._put(replace(self._port(port), device_id=HERE, status="BUILD"))
            case Detach(port):
                self.since["detach_asked"], self.detaching = self.now, port
                self._put(replace(self._port(port), device_id="", status="DOWN"))
            case Forget():
                self.facts = replace(self.facts, recorded="")
            case Pause(_, _, after):
                self.now += after
                self._others_do_their_part()
            case Ready() | Gone():
                pass

    def _others_do_their_part(self) -> None:
        """Neutron makes attached ports ACTIVE; the agent prepares, links and lets go."""
        active = tuple(replace(p, status=ACTIVE) if p.device_id else p for p in self.facts.ports)
        linked = any(p.device_id for p in active)
        self.facts = replace(self.facts, ports=active, prepared=True, linked=linked, in_use=False)

    def _port(self, port_id: str) -> Port:
        return next(p for p in self.facts.ports if p.id == port_id)

    def _put(self, port: Port) -> None:
        others = tuple(p for p in self.facts.ports if p.id != port.id)
        self.facts = replace(self.facts, ports=(*others, port))


@given(facts)
def test_from_any_facts_obeying_the_steps_ends_where_it_should(facts: Facts) -> None:
    world = Cloudlet(facts)
    step = next_step(world.see())
    for _ in range(200):
        world.obey(step)
        step = next_step(world.see())
    if facts.deleting:
        assert world.facts.ports == ()
        assert isinstance(step, Gone)
        return
    (port,) = world.facts.ports
    assert (port.device_id, port.status, port.tags) == (HERE, ACTIVE, TAGS)
    assert world.facts.recorded == port.id
    assert isinstance(step, Ready)


LIVING = Facts(HERE, TAGS, prepared=True)
GOING = Facts(HERE, TAGS, deleting=True, recorded="p1", in_use=False)


STEPS = [
    pytest.param(LIVING, CreatePort(), id="without a port one is made"),
    pytest.param(replace(LIVING, ports=(a_port(tags=NONE),)), TagPort("p1"), id="tags come first"),
    pytest.param(replace(LIVING, ports=(a_port(),)), Attach("p1"), id="then it is attached"),
    pytest.param(
        replace(LIVING, ports=(a_port("p2"), a_port("p1"))),
        DeletePort("p2"),
        id="of two ports the older one stays",
    ),
    pytest.param(
        replace(LIVING, ports=(a_port("p2", device_id=HERE), a_port("p1"))),
        DeletePort("p1"),
        id="of two ports the attached one stays",
    ),
    pytest.param(
        replace(LIVING, ports=(a_port(device_id=HERE, status=ACTIVE),), linked=True),
        Ready(),
        id="an attached port whose NIC was found is ready",
    ),
    pytest.param(GOING, Gone(), id="a deleted ENI without a port is gone"),
    pytest.param(
        replace(GOING, ports=(a_port(device_id=HERE),)), Detach("p1"), id="detach comes first"
    ),
    pytest.param(replace(GOING, ports=(a_port(),)), DeletePort("p1"), id="then delete"),
    pytest.param(
        replace(LIVING, recorded="p1", ages=Ages(port_missing=10)),
        Forget(),
        id="a port that was missing twice is forgotten",
    ),
]


@pytest.mark.parametrize(("facts", "step"), STEPS)
def test_the_next_step(facts: Facts, step: Step) -> None:
    assert next_step(facts) == step


WAITS = [
    (replace(LIVING, ages=Ages(create_unknown=5)), "did not answer the creation"),
    (replace(GOING, ages=Ages(create_unknown=5), recorded=""), "did not answer the creation"),
    (replace(LIVING, ports=(a_port(),), prepared=False), "network tools off the NIC"),
    (replace(LIVING, ports=(a_port(),), ages=Ages(attach_asked=9)), "whether the port was"),
    (replace(LIVING, ports=(a_port(device_id=ELSEWHERE),)), "server-2, not to this node's"),
    (replace(GOING, ports=(a_port(device_id=ELSEWHERE),)), "server-2, not to this node's"),
    (replace(LIVING, ports=(a_port(device_id=HERE, status="DOWN"),)), "attached but DOWN"),
    (
        replace(LIVING, ports=(a_port(device_id=HERE, status=ACTIVE),)),
        "find the NIC by its MAC address",
    ),
    (replace(GOING, ports=(a_port(device_id=HERE),), in_use=True), "give up every address"),
    (
        replace(GOING, ports=(a_port(device_id=HERE),), ages=Ages(detach_asked=3, detaching="p1")),
        "waiting for Nova to detach",
    ),
    (replace(LIVING, recorded="p1", ages=Ages(port_missing=3)), "looking again"),
]


@pytest.mark.parametrize(("facts", "words"), WAITS)
def test_what_is_waited_for_is_told(facts: Facts, words: str) -> None:
    step = next_step(facts)
    assert isinstance(step, Pause)
    assert words in step.message
    assert step.after > 0


def test_every_rule_decides_in_an_example_above() -> None:
    """No rule stands behind others that always speak first, and none is without an example."""
    examples: list[Any] = [*(p.values[0] for p in STEPS), *(facts for facts, _ in WAITS)]
    deciding = {next((r for r in lifecycle.RULES if r(facts)), None) for facts in examples}
    assert deciding >= set(lifecycle.RULES)
