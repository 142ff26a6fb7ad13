"""The rules of an ENI's port: an example of each, and the words of each wait."""

from dataclasses import replace
from typing import Any

import pytest

from openeni_operator.cloud.api import ACTIVE
from openeni_operator.eni import lifecycle
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
from openeni_testing.controller.ports import ELSEWHERE, HERE, NONE, TAGS, a_port

LIVE = Facts(HERE, TAGS, guest_prepared=True)
DELETED = Facts(HERE, TAGS, deleting=True, recorded_port="p1", in_use=False)


STEPS = [
    pytest.param(LIVE, CreatePort(), id="without a port, create one"),
    pytest.param(replace(LIVE, ports=(a_port(tags=NONE),)), TagPort("p1"), id="restore tags first"),
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
        replace(DELETED, elapsed=Elapsed(port_missing=10, deleted_port="p9")),
        RemoveFinalizer(),
        id="remove the finalizer once the port was missing twice",
    ),
    pytest.param(
        replace(DELETED, ports=(a_port(device_id=HERE),)), DetachPort("p1"), id="detach first"
    ),
    pytest.param(replace(DELETED, ports=(a_port(),)), DeletePort("p1"), id="then delete the port"),
    pytest.param(
        replace(LIVE, recorded_port="p1", elapsed=Elapsed(port_missing=10)),
        ForgetPort(),
        id="forget a port that was missing twice",
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
    (replace(LIVE, ports=(a_port(),), guest_prepared=False), "network tools off the NIC"),
    (
        replace(LIVE, ports=(a_port(),), elapsed=Elapsed(attach_requested=9)),
        "whether it attached the port",
    ),
    (replace(LIVE, ports=(a_port(device_id=ELSEWHERE),)), "server-2, not to the node's server"),
    (replace(DELETED, ports=(a_port(device_id=ELSEWHERE),)), "server-2, not to the node's server"),
    (replace(LIVE, ports=(a_port(device_id=HERE, status="DOWN"),)), "attached but DOWN"),
    (
        replace(LIVE, ports=(a_port(device_id=HERE, status=ACTIVE),)),
        "find the NIC by its MAC address",
    ),
    (replace(DELETED, ports=(a_port(device_id=HERE),), in_use=True), "give up every address"),
    (
        replace(
            DELETED,
            ports=(a_port(device_id=HERE),),
            elapsed=Elapsed(detach_requested=3, detaching_port="p1"),
        ),
        "waiting for Nova to detach",
    ),
    (replace(LIVE, recorded_port="p1", elapsed=Elapsed(port_missing=3)), "checking again"),
    (replace(DELETED, elapsed=Elapsed(port_missing=3)), "checking again"),
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
