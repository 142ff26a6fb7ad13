"""The rules of an ENI's port: safe from any facts, and convergent from any facts."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from openeni_docs.eni_rules import entries
from openeni_operator.cloud.api import ACTIVE, DOWN
from openeni_operator.eni.facts import Elapsed, Facts
from openeni_operator.eni.lifecycle import RULES, next_step
from openeni_operator.eni.port_settings import PortSettings
from openeni_operator.eni.resize import NO_RESIZE, Resize
from openeni_operator.eni.steps import (
    AddAddresses,
    AttachPort,
    CreatePort,
    DeletePort,
    DetachPort,
    ForgetPort,
    Ready,
    RemoveFinalizer,
    TagPort,
    UntagPort,
    Wait,
)
from openeni_operator.eni.timing import ACTIVE_TIMEOUT, MAX_DETACHES
from openeni_testing.controller.ports import GROUPS, HERE, NONE, TAGS, a_port
from openeni_testing.controller.tiny_cloud import TinyCloud

ports = st.builds(
    a_port,
    st.sampled_from(["p1", "p2", "p3"]),
    device_id=st.sampled_from(["", HERE]),
    status=st.sampled_from(["DOWN", "BUILD", ACTIVE]),
    tags=st.sampled_from([TAGS, NONE, TAGS | {"a", "old"}, TAGS | {"others"}]),
    groups=st.sampled_from([GROUPS, NONE]),
    policy=st.sampled_from(["", "gold", "lead"]),
    security=st.sampled_from([None, True, False]),
)
settings = st.builds(
    PortSettings,
    st.just(GROUPS),
    st.sampled_from([NONE, frozenset({"a", "b"})]),
    st.sampled_from(["", "gold"]),
    st.sampled_from([NONE, frozenset({"a", "old"})]),
    st.sampled_from([NONE, frozenset({"gold", "lead"})]),
)
some = st.none() | st.floats(0, 300)
named = st.sampled_from(["", "p1", "p2"])
few = st.integers(0, 9)
elapsed = st.builds(Elapsed, some, some, few, some, named, few, some, named, some, some, some, few)
elapsed |= st.builds(
    Elapsed,
    detach_requested=some,
    detaching_port=named,
    inactive=some,
    reattachments=st.integers(0, 2),
)
resizes = st.builds(
    Resize, st.sampled_from([(), ("10.98.0.9",)]), st.sampled_from([(), ("s", "s")])
)
facts = st.builds(
    Facts,
    server_id=st.just(HERE),
    tags=st.just(TAGS),
    settings=settings,
    deleting=st.booleans(),
    ports=st.lists(ports, max_size=3, unique_by=lambda p: p.id).map(tuple),
    recorded_port=st.sampled_from(["", "p1", "p2", "p9"]),
    guest_prepared=st.booleans(),
    in_use=st.booleans(),
    given_up=st.booleans(),
    link_ready=st.booleans(),
    server_gone=st.booleans(),
    mass_loss=st.booleans(),
    behind=st.booleans(),
    unshown=st.integers(0, 2),
    resize=resizes,
    elapsed=elapsed,
    refused=st.sampled_from([None, TagPort("p1", "a"), UntagPort("p1", "old"), CreatePort()]),
)
documented = tuple(entries())


@given(facts)
def test_a_rule_returns_no_step_that_the_lifecycle_page_lacks(facts: Facts) -> None:
    for entry, rule in zip(documented, RULES, strict=True):
        step = rule(facts)
        if isinstance(step, Wait):
            assert step.reason in entry.waits
        else:
            assert step is None or type(step).__name__ in entry.steps


@given(facts)
def test_a_port_in_use_is_neither_detached_nor_deleted(facts: Facts) -> None:
    step = next_step(replace(facts, in_use=True, given_up=False))
    kept = facts.port.id if facts.port else None
    assert not (isinstance(step, DetachPort | DeletePort) and step.port == kept)


@given(facts)
def test_an_attached_port_is_kept_before_the_recorded_one(facts: Facts) -> None:
    """Pods may have its addresses, even if Neutron did not show it for a while."""
    attached = {p.id for p in facts.ports if p.device_id}
    kept = attached or {p.id for p in facts.ports}
    if facts.port is not None:
        assert facts.port.id in kept
        if facts.recorded_port in kept:
            assert facts.port.id == facts.recorded_port


@given(facts)
def test_no_attached_port_goes_while_it_may_be_in_use(facts: Facts) -> None:
    step = next_step(replace(facts, in_use=True, given_up=False))
    attached = {p.id for p in facts.ports if p.device_id}
    assert not (isinstance(step, DetachPort | DeletePort) and step.port in attached)


@given(facts)
def test_the_port_of_an_eni_that_is_not_deleted_is_kept(facts: Facts) -> None:
    """It is detached only to be attached anew: if it stays DOWN and no pod has its addresses."""
    step = next_step(replace(facts, deleting=False))
    port = facts.port
    if port is not None and isinstance(step, DetachPort | DeletePort) and step.port == port.id:
        assert isinstance(step, DetachPort)
        assert facts.given_up
        assert port.status == DOWN
        assert (facts.elapsed.inactive or 0) >= ACTIVE_TIMEOUT * 2**facts.elapsed.reattachments


@given(facts)
def test_only_a_port_with_the_enis_tags_is_deleted(facts: Facts) -> None:
    step = next_step(facts)
    if isinstance(step, DeletePort):
        (port,) = (p for p in facts.ports if p.id == step.port)
        assert port.tags >= TAGS


@given(facts)
def test_an_attached_port_is_deleted_only_if_its_server_is_gone_or_nova_fails_to_detach_it(
    facts: Facts,
) -> None:
    step = next_step(facts)
    if isinstance(step, DeletePort):
        (port,) = (p for p in facts.ports if p.id == step.port)
        elapsed = facts.elapsed
        failed = elapsed.detaching_port == port.id and elapsed.detaches >= MAX_DETACHES
        assert not port.device_id or facts.server_gone or failed


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
        assert known or (facts.elapsed.port_missing or 0) >= 60


@given(facts)
def test_many_ports_that_vanish_together_are_not_believed_to_be_gone(facts: Facts) -> None:
    """Unless it was this process that deleted the ENI's own, or for ten minutes."""
    step = next_step(replace(facts, mass_loss=True, ports=()))
    if isinstance(step, ForgetPort | RemoveFinalizer):
        known = facts.recorded_port in ("", facts.elapsed.deleted_port)
        assert known or (facts.elapsed.port_missing or 0) >= 600


@given(facts)
def test_nothing_is_attached_with_other_security_groups(facts: Facts) -> None:
    step = next_step(facts)
    if isinstance(step, AttachPort):
        (port,) = (p for p in facts.ports if p.id == step.port)
        assert port.security_group_ids == GROUPS


@given(facts)
def test_only_tags_that_the_pool_wanted_are_taken_off(facts: Facts) -> None:
    step = next_step(facts)
    if isinstance(step, UntagPort):
        assert step.tag in facts.settings.applied_tags - facts.settings.tags - TAGS


@given(facts)
def test_nothing_is_attached_before_the_guest_is_prepared(facts: Facts) -> None:
    if isinstance(next_step(facts), AttachPort):
        assert facts.guest_prepared


@given(facts)
def test_addresses_are_added_only_when_none_is_to_be_removed(facts: Facts) -> None:
    """Neutron would take back the removed ones for those that are added."""
    if isinstance(next_step(facts), AddAddresses):
        assert not facts.resize.release


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
    if len([p for p in facts.ports if p.device_id]) > 1:
        assert isinstance(step, Wait), "the pool puts another ENI in its place"
        assert {p.id for p in cloud.facts.ports} == {p.id for p in facts.ports if p.device_id}
        return
    (port,) = cloud.facts.ports
    assert (port.device_id, port.status) == (HERE, ACTIVE)
    assert port.tags >= TAGS
    assert facts.settings.differences(port) == ()
    assert cloud.facts.resize == NO_RESIZE
    assert cloud.facts.recorded_port == port.id
    assert isinstance(step, Ready)
