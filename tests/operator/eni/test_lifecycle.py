"""The rules of an ENI's port: safe from any facts, and convergent from any facts."""

from dataclasses import dataclass, field, replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from openeni_operator.cloud.api import ACTIVE, Port
from openeni_operator.eni.lifecycle import (
    AttachPort,
    CreatePort,
    DeletePort,
    DetachPort,
    Elapsed,
    Facts,
    ForgetPort,
    Ready,
    RemoveFinalizer,
    Step,
    TagPort,
    Wait,
    next_step,
)
from openeni_testing.controller.ports import HERE, NONE, TAGS, a_port

ports = st.builds(
    a_port,
    st.sampled_from(["p1", "p2", "p3"]),
    device_id=st.sampled_from(["", HERE]),
    status=st.sampled_from(["DOWN", "BUILD", ACTIVE]),
    tags=st.sampled_from([TAGS, NONE]),
)
some = st.none() | st.floats(0, 300)
named = st.sampled_from(["", "p1", "p2"])
elapsed = st.builds(Elapsed, some, some, some, named, some, named)
facts = st.builds(
    Facts,
    server_id=st.just(HERE),
    tags=st.just(TAGS),
    deleting=st.booleans(),
    ports=st.lists(ports, max_size=3, unique_by=lambda p: p.id).map(tuple),
    recorded_port=st.sampled_from(["", "p1", "p2", "p9"]),
    guest_prepared=st.booleans(),
    in_use=st.booleans(),
    link_ready=st.booleans(),
    server_gone=st.booleans(),
    elapsed=elapsed,
)


@given(facts)
def test_a_port_in_use_is_neither_detached_nor_deleted(facts: Facts) -> None:
    step = next_step(replace(facts, in_use=True))
    kept = facts.port.id if facts.port else None
    assert not (isinstance(step, DetachPort | DeletePort) and step.port == kept)


@given(facts)
def test_the_recorded_port_is_the_one_that_is_kept(facts: Facts) -> None:
    if facts.recorded_port in {p.id for p in facts.ports}:
        assert facts.port is not None
        assert facts.port.id == facts.recorded_port


@given(facts)
def test_the_port_of_an_eni_that_is_not_deleted_is_kept(facts: Facts) -> None:
    step = next_step(replace(facts, deleting=False))
    kept = facts.port.id if facts.port else None
    assert not (isinstance(step, DetachPort | DeletePort) and step.port == kept)


@given(facts)
def test_only_a_port_with_the_enis_tags_is_deleted(facts: Facts) -> None:
    step = next_step(facts)
    if isinstance(step, DeletePort):
        (port,) = (p for p in facts.ports if p.id == step.port)
        assert port.tags >= TAGS


@given(facts)
def test_an_attached_port_is_deleted_only_if_its_server_is_gone(facts: Facts) -> None:
    step = next_step(facts)
    if isinstance(step, DeletePort):
        (port,) = (p for p in facts.ports if p.id == step.port)
        assert not port.device_id or facts.server_gone


@given(facts)
def test_a_port_is_created_only_if_there_is_none_and_none_can_still_appear(facts: Facts) -> None:
    if isinstance(next_step(facts), CreatePort):
        assert not facts.ports
        assert not facts.deleting
        assert facts.elapsed.create_requested is None or facts.elapsed.create_requested >= 30


@given(facts)
def test_an_eni_ends_only_without_a_port_that_one_look_could_have_missed(facts: Facts) -> None:
    if isinstance(next_step(facts), RemoveFinalizer):
        assert facts.deleting
        assert not facts.ports
        known = facts.recorded_port in ("", facts.elapsed.deleted_port)
        assert known or (facts.elapsed.port_missing or 0) >= 10


@given(facts)
def test_nothing_is_attached_before_the_guest_is_prepared(facts: Facts) -> None:
    if isinstance(next_step(facts), AttachPort):
        assert facts.guest_prepared


@dataclass
class TinyCloud:
    """Just enough of a cloud and an agent to carry out steps; waiting advances the clock."""

    facts: Facts
    now: float = 0.0
    since: dict[str, float] = field(default_factory=dict[str, float])
    detaching_port: str = ""
    deleted_port: str = ""

    def __post_init__(self) -> None:
        self.detaching_port = self.facts.elapsed.detaching_port
        for name in ("create_requested", "attach_requested", "detach_requested", "port_missing"):
            age = getattr(self.facts.elapsed, name)
            if age is not None:
                self.since[name] = -age

    def observe(self) -> Facts:
        facts = self.facts
        if facts.recorded_port and not facts.ports:
            self.since.setdefault("port_missing", self.now)
        else:
            self.since.pop("port_missing", None)
        if facts.ports:
            self.since.pop("create_requested", None)
        if not any(p.device_id for p in facts.ports if p.id == self.detaching_port):
            self.since.pop("detach_requested", None)
        ages: dict[str, Any] = {name: self.now - at for name, at in self.since.items()}
        elapsed = Elapsed(
            **ages, detaching_port=self.detaching_port, deleted_port=self.deleted_port
        )
        recorded = facts.port.id if facts.port is not None else facts.recorded_port
        self.facts = replace(facts, recorded_port=recorded)
        return replace(facts, elapsed=elapsed)

    def carry_out(self, step: Step) -> None:  # noqa: C901 a table
        match step:
            case CreatePort():
                self._put(a_port("p7", tags=NONE))
            case TagPort(port):
                self._put(replace(self._port(port), tags=TAGS))
            case DeletePort(port):
                self.deleted_port = port
                left = tuple(p for p in self.facts.ports if p.id != port)
                self.facts = replace(self.facts, ports=left)
            case AttachPort(port):
                self.since["attach_requested"] = self.now
                self._put(replace(self._port(port), device_id=HERE, status="BUILD"))
            case DetachPort(port):
                self.since["detach_requested"], self.detaching_port = self.now, port
                self._put(replace(self._port(port), device_id="", status="DOWN"))
            case ForgetPort():
                self.facts = replace(self.facts, recorded_port="")
            case Wait(_, _, after):
                self.now += after
                self._let_others_act()
            case Ready() | RemoveFinalizer():
                pass

    def _let_others_act(self) -> None:
        """Neutron activates attached ports; the agent prepares, finds the NIC and releases it."""
        active = tuple(replace(p, status=ACTIVE) if p.device_id else p for p in self.facts.ports)
        link_ready = any(p.device_id for p in active)
        self.facts = replace(
            self.facts, ports=active, guest_prepared=True, link_ready=link_ready, in_use=False
        )

    def _port(self, port_id: str) -> Port:
        return next(p for p in self.facts.ports if p.id == port_id)

    def _put(self, port: Port) -> None:
        others = tuple(p for p in self.facts.ports if p.id != port.id)
        self.facts = replace(self.facts, ports=(*others, port))


@given(facts)
def test_carrying_out_the_steps_converges_from_any_facts(facts: Facts) -> None:
    cloud = TinyCloud(facts)
    step = next_step(cloud.observe())
    for _ in range(200):
        cloud.carry_out(step)
        step = next_step(cloud.observe())
    if facts.deleting:
        assert cloud.facts.ports == ()
        assert isinstance(step, RemoveFinalizer)
        return
    (port,) = cloud.facts.ports
    assert (port.device_id, port.status, port.tags) == (HERE, ACTIVE, TAGS)
    assert cloud.facts.recorded_port == port.id
    assert isinstance(step, Ready)
