"""How long the rules wait for what the cloud has accepted and does not show."""

from dataclasses import replace

import pytest

from openeni_operator.cloud.api import ACTIVE
from openeni_operator.eni.facts import Elapsed, Facts
from openeni_operator.eni.lifecycle import next_step
from openeni_operator.eni.resize import Resize
from openeni_operator.eni.safeguards import until_resize
from openeni_operator.eni.steps import DeletePort, DetachPort, ForgetPort, Ready, Step, Wait
from openeni_operator.eni.timing import DETACH_TIMEOUT, MASS_LOSS_TIME, MAX_DETACHES, POLL
from openeni_testing.controller.ports import HERE, SETTINGS, TAGS, a_port

DELETED = Facts(HERE, TAGS, SETTINGS, deleting=True, recorded_port="p1", in_use=False)


def detached(times: int, seconds: float = DETACH_TIMEOUT, port: str = "p1") -> Facts:
    """Return an ENI that is deleted; Nova was last asked to detach a port so long ago."""
    elapsed = Elapsed(detach_requested=seconds, detaching_port=port, detaches=times)
    return replace(DELETED, ports=(a_port(device_id=HERE),), elapsed=elapsed)


@pytest.mark.parametrize(
    ("facts", "step"),
    [
        (detached(MAX_DETACHES - 1), DetachPort("p1")),
        (detached(MAX_DETACHES), DeletePort("p1")),
        (detached(MAX_DETACHES, port="p9"), DetachPort("p1")),
    ],
)
def test_a_port_is_deleted_where_it_is_once_nova_has_failed_to_detach_it(
    facts: Facts, step: Step
) -> None:
    assert next_step(facts) == step


def test_nova_gets_its_time_for_the_last_request_too() -> None:
    step = next_step(detached(MAX_DETACHES, DETACH_TIMEOUT - 1))
    assert isinstance(step, Wait)
    assert "waiting for Nova to detach port p1 from server server-1" in step.message


@pytest.mark.parametrize("unshown", [1, 2, 3])
def test_a_port_that_neutron_never_showed_is_forgotten_later_and_later(unshown: int) -> None:
    def step_after(seconds: float) -> Step:
        facts = Facts(HERE, TAGS, SETTINGS, recorded_port="p1", unshown=unshown)
        return next_step(replace(facts, elapsed=Elapsed(port_missing=seconds)))

    time = MASS_LOSS_TIME * 2 ** (unshown - 1)
    early = step_after(time - 1)
    assert isinstance(early, Wait)
    assert "Neutron has created port p1 and does not show it" in early.message
    assert f"looked at for {time / 60:.0f} minutes" in early.message
    assert step_after(time) == ForgetPort()


def test_an_eni_that_yields_to_an_address_in_transit_looks_again_soon() -> None:
    port = a_port(device_id=HERE, status=ACTIVE)
    serving = Facts(HERE, TAGS, SETTINGS, ports=(port,), guest_prepared=True, link_ready=True)
    facts = replace(serving, resize=Resize(add=("s",)), yields=True)
    assert next_step(facts) == Ready()
    after, _ = until_resize(facts) or (None, "")
    assert after == POLL
    assert until_resize(replace(serving, yields=True)) is None
