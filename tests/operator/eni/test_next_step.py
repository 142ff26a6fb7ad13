"""The rules of an ENI's port: an example of each, and the words of each wait."""

from dataclasses import replace
from typing import Any

import pytest

from openeni_operator.cloud.api import ACTIVE, FixedIP
from openeni_operator.eni import lifecycle
from openeni_operator.eni.facts import Elapsed, Facts
from openeni_operator.eni.lifecycle import next_step
from openeni_operator.eni.port_settings import PortSettings
from openeni_operator.eni.resize import Resize
from openeni_operator.eni.steps import (
    AddAddresses,
    AddClaimedAddress,
    AttachPort,
    ConfirmPort,
    CreatePort,
    DeletePort,
    DetachPort,
    ForgetPort,
    Ready,
    ReleaseAddresses,
    RemoveFinalizer,
    SetQoSPolicy,
    SetSecurityGroups,
    Step,
    TagPort,
    UntagPort,
    Wait,
)
from openeni_operator.eni.timing import attach_pause
from openeni_testing.controller.ports import ELSEWHERE, GROUPS, HERE, NONE, SETTINGS, TAGS, a_port

LIVE = Facts(HERE, TAGS, SETTINGS, guest_prepared=True)
INACTIVE = replace(LIVE, ports=(a_port(device_id=HERE, status="DOWN"),))
DELETED = Facts(HERE, TAGS, SETTINGS, deleting=True, recorded_port="p1", in_use=False)


def serving(settings: PortSettings, *, tags: frozenset[str] = TAGS, policy: str = "") -> Facts:
    """Return an ENI that serves pods, whose port has these tags and this QoS policy."""
    port = a_port(device_id=HERE, status=ACTIVE, tags=tags, policy=policy)
    return replace(LIVE, ports=(port,), link_ready=True, settings=settings)


STEPS = [
    pytest.param(LIVE, CreatePort(), id="without a port, create one"),
    pytest.param(
        replace(LIVE, ports=(a_port(tags=NONE),)),
        TagPort("p1", min(TAGS)),
        id="restore tags first, one by one",
    ),
    pytest.param(
        replace(LIVE, ports=(a_port(groups=NONE),)),
        SetSecurityGroups("p1"),
        id="then the security groups",
    ),
    pytest.param(replace(LIVE, ports=(a_port(),)), AttachPort("p1"), id="then attach it"),
    pytest.param(
        replace(LIVE, ports=(a_port("p2"), a_port("p1"))),
        DeletePort("p2"),
        id="keep the older of two ports",
    ),
    pytest.param(
        replace(LIVE, ports=(a_port("p2", device_id=HERE), a_port("p1"))),
        DeletePort("p1"),
        id="keep the attached one of two ports",
    ),
    pytest.param(
        replace(LIVE, ports=(a_port(device_id=HERE, status=ACTIVE),), link_ready=True),
        Ready(),
        id="ready once the agent has found the NIC",
    ),
    pytest.param(
        replace(INACTIVE, given_up=True, elapsed=Elapsed(inactive=480, reattachments=2)),
        DetachPort("p1"),
        id="attach one anew that stays DOWN and that no pod uses",
    ),
    pytest.param(
        replace(serving(SETTINGS), resize=Resize(("10.98.0.9",), ("s",))),
        ReleaseAddresses("p1", ("10.98.0.9",)),
        id="remove addresses that the agent has retired",
    ),
    pytest.param(
        replace(serving(SETTINGS), resize=Resize(add=("s",), claimed=FixedIP("s", "10.98.0.7"))),
        AddClaimedAddress("p1", "s", "10.98.0.7"),
        id="then add the address that a certain pod waits for",
    ),
    pytest.param(
        replace(serving(SETTINGS), resize=Resize(add=("s", "s"))),
        AddAddresses("p1", ("s", "s")),
        id="then add those that it lacks, in one call",
    ),
    pytest.param(
        replace(
            serving(PortSettings(GROUPS, qos_policy="gold")),
            resize=Resize(add=("s",)),
            elapsed=Elapsed(resize_refused=29, resize_refusals=1),
        ),
        SetQoSPolicy("p1", "gold"),
        id="but not for a while after a refusal, which holds up nothing else",
    ),
    pytest.param(
        replace(
            serving(SETTINGS),
            resize=Resize(add=("s",)),
            elapsed=Elapsed(resize_refused=31, resize_refusals=1, resize_requested=31),
        ),
        AddAddresses("p1", ("s",)),
        id="nor without a response to the last change",
    ),
    pytest.param(
        serving(PortSettings(GROUPS, tags=frozenset({"b", "a"}))),
        TagPort("p1", "a"),
        id="give it the pool's tags, one by one",
    ),
    pytest.param(
        replace(
            serving(PortSettings(GROUPS, tags=frozenset({"b", "a"}))), refused=TagPort("p1", "a")
        ),
        TagPort("p1", "b"),
        id="go on with the next one if one is refused",
    ),
    pytest.param(
        replace(serving(PortSettings(GROUPS, frozenset({"a"}))), refused=TagPort("p1", "a")),
        TagPort("p1", "a"),
        id="and try the refused one again when no other is left",
    ),
    pytest.param(
        serving(PortSettings(GROUPS, applied_tags=frozenset({"a"})), tags=TAGS | {"a", "x"}),
        UntagPort("p1", "a"),
        id="take off a tag of the pool that it no longer wants, and nobody else's",
    ),
    pytest.param(
        serving(PortSettings(GROUPS, applied_tags=TAGS), tags=TAGS),
        Ready(),
        id="never take off the tags that tell whose port it is",
    ),
    pytest.param(
        serving(PortSettings(GROUPS, qos_policy="gold"), policy="lead"),
        SetQoSPolicy("p1", "gold"),
        id="give it the pool's QoS policy",
    ),
    pytest.param(
        serving(PortSettings(GROUPS, applied_policies=frozenset({"gold"})), policy="gold"),
        SetQoSPolicy("p1", ""),
        id="take off the QoS policy that the pool gave it",
    ),
    pytest.param(
        serving(PortSettings(GROUPS, applied_policies=frozenset({"gold"})), policy="lead"),
        Ready(),
        id="and not that of somebody else",
    ),
    pytest.param(
        replace(DELETED, recorded_port=""),
        RemoveFinalizer(),
        id="without a port, remove the finalizer",
    ),
    pytest.param(
        replace(DELETED, elapsed=Elapsed(deleted_port="p1")),
        RemoveFinalizer(),
        id="remove the finalizer after our own deletion",
    ),
    pytest.param(
        replace(DELETED, elapsed=Elapsed(port_missing=60, deleted_port="p9")),
        RemoveFinalizer(),
        id="remove the finalizer once the port was missing twice",
    ),
    pytest.param(
        replace(DELETED, ports=(a_port(device_id=HERE),)), DetachPort("p1"), id="detach first"
    ),
    pytest.param(replace(DELETED, ports=(a_port(),)), DeletePort("p1"), id="then delete the port"),
    pytest.param(
        replace(LIVE, recorded_port="p1", elapsed=Elapsed(port_missing=60)),
        ForgetPort(),
        id="forget a port that was missing twice",
    ),
    pytest.param(
        replace(LIVE, ports=(a_port(device_id=HERE),), recorded_port="p1", behind=True),
        ConfirmPort("p1"),
        id="have a port confirmed that is older than before",
    ),
    pytest.param(
        replace(LIVE, recorded_port="p1", mass_loss=True, elapsed=Elapsed(port_missing=600)),
        ForgetPort(),
        id="or, with many others, for long",
    ),
    pytest.param(
        replace(LIVE, ports=(a_port(),), elapsed=Elapsed(attach_requested=60)),
        AttachPort("p1"),
        id="attach again what did not show up in time",
    ),
    pytest.param(
        replace(LIVE, ports=(a_port(),), elapsed=Elapsed(attach_requested=120, attach_refusals=2)),
        AttachPort("p1"),
        id="later if the server had no slot",
    ),
]


@pytest.mark.parametrize(("facts", "step"), STEPS)
def test_the_next_step(facts: Facts, step: Step) -> None:
    assert next_step(facts) == step


WAITS = [
    (replace(LIVE, elapsed=Elapsed(create_requested=5)), "does not show it yet"),
    (
        replace(DELETED, elapsed=Elapsed(create_requested=5), recorded_port=""),
        "does not show it yet",
    ),
    (
        replace(LIVE, ports=(a_port(),), guest_prepared=False),
        "network tools off the NIC of port p1",
    ),
    (
        replace(LIVE, ports=(a_port(),), elapsed=Elapsed(attach_requested=9)),
        "whether it attached port p1 to server server-1",
    ),
    (replace(LIVE, ports=(a_port(device_id=ELSEWHERE),)), "server-2, not to the node's server"),
    (replace(DELETED, ports=(a_port(device_id=ELSEWHERE),)), "server-2, not to the node's server"),
    (
        replace(LIVE, ports=(a_port(device_id=HERE, status=ACTIVE, enabled=False),)),
        "openstack port set --enable p1",
    ),
    (
        replace(INACTIVE, elapsed=Elapsed(detach_requested=9, detaching_port="p1")),
        "waiting for Nova to detach it from server server-1, to attach it anew",
    ),
    (
        replace(INACTIVE, elapsed=Elapsed(attach_requested=9, reattachments=1)),
        "attached anew: it is not yet ACTIVE",
    ),
    (INACTIVE, "port p1 is attached to server server-1 but DOWN"),
    (
        replace(LIVE, ports=(a_port(device_id=HERE, status=ACTIVE),)),
        "find the NIC of port p1 by its MAC address",
    ),
    (
        replace(DELETED, ports=(a_port(device_id=HERE),), in_use=True),
        "give up every address of port p1",
    ),
    (
        replace(
            DELETED,
            ports=(a_port(device_id=HERE),),
            elapsed=Elapsed(detach_requested=3, detaching_port="p1"),
        ),
        "waiting for Nova to detach port p1 from server server-1",
    ),
    (
        replace(LIVE, recorded_port="p1", elapsed=Elapsed(port_missing=3)),
        "no longer shows port p1; checking again",
    ),
    (replace(DELETED, elapsed=Elapsed(port_missing=3)), "checking again"),
    (
        replace(LIVE, ports=(a_port("p1", device_id=HERE), a_port("p2", device_id=HERE))),
        "ports p1, p2 of this ENI are attached",
    ),
    (replace(DELETED, mass_loss=True, elapsed=Elapsed(port_missing=599)), "port p1 nor many"),
    (
        replace(serving(SETTINGS), resize=Resize(add=("s",)), elapsed=Elapsed(resize_requested=9)),
        "a change of the port's addresses got no response",
    ),
    (
        replace(LIVE, ports=(a_port(),), elapsed=Elapsed(attach_requested=119, attach_refusals=2)),
        "whether it attached port p1 to server server-1",
    ),
]


@pytest.mark.parametrize(("facts", "words"), WAITS)
def test_a_wait_names_what_it_waits_for(facts: Facts, words: str) -> None:
    step = next_step(facts)
    assert isinstance(step, Wait)
    assert words in step.message
    assert step.after > 0


def test_every_rule_decides_in_an_example_above() -> None:
    """No rule is shadowed by those before it, and none lacks an example."""
    examples: list[Any] = [*(p.values[0] for p in STEPS), *(facts for facts, _ in WAITS)]
    deciding = {next((r for r in lifecycle.RULES if r(facts)), None) for facts in examples}
    assert deciding >= set(lifecycle.RULES)


@pytest.mark.parametrize("waited", [0, 1, 10, 50, 90])
def test_what_takes_long_is_looked_at_less_often(waited: float) -> None:
    building = replace(LIVE, ports=(a_port(device_id=HERE, status="BUILD"),))
    step = next_step(replace(building, elapsed=Elapsed(attach_requested=waited)))
    assert isinstance(step, Wait)
    assert step.after == min(30, max(2, waited / 4))


def test_a_server_without_a_slot_is_asked_less_and_less_often() -> None:
    pauses = [attach_pause(refusals) for refusals in range(12)]
    assert pauses == sorted(pauses)
    assert (pauses[0], pauses[1], pauses[2], pauses[-1]) == (60, 60, 120, 3600)
