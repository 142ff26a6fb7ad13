"""Why an ENI makes no progress stands in its conditions, with the cloud's own words."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from openeni_crds.conditions import Reason, Status, Type, find
from openeni_operator.cloud.errors import (
    CloudError,
    CloudNotConfiguredError,
    DeniedError,
    InvalidRequestError,
    UnexpectedOutcomeError,
)
from openeni_testing.cloud.faults import Fault
from openeni_testing.controller.simulation import Simulation

OTHER_SERVER = "server-of-somebody-else"


def shown(sim: Simulation, type_: Type) -> tuple[Status, str, str]:
    """Return the status, reason and message of the only ENI's condition."""
    (eni,) = sim.enis()
    found = find(eni.status.conditions, type_)
    assert found is not None
    return found.status, found.reason, found.message


@pytest.mark.parametrize(
    ("operation", "error"),
    [
        ("create port", DeniedError("policy does not allow create_port")),
        ("create port", InvalidRequestError("security group sg-1 does not exist")),
        ("create port", UnexpectedOutcomeError("no JSON")),
        ("get server", CloudNotConfiguredError("clouds.yaml has no entry 'default'")),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_a_refusal_is_quoted_until_the_cloud_accepts(operation: str, error: CloudError) -> None:
    sim = Simulation()
    sim.cloud.fail(operation, *[Fault(error)] * 3)
    sim.add_pool()
    sim.settle(1)
    for type_ in (Type.PORT_READY, Type.READY):
        assert shown(sim, type_) == (Status.FALSE, error.reason, error.message)
    sim.settle(300)
    assert len(sim.ready()) == 1


def test_a_port_that_does_not_become_active_needs_a_look_at_its_host() -> None:
    sim = Simulation()
    sim.cloud.attach_seconds = 600
    sim.add_pool()
    sim.settle(60)
    assert shown(sim, Type.ATTACHED)[:2] == (Status.FALSE, Reason.WAITING_FOR_ATTACH)
    sim.settle(200)
    status, reason, message = shown(sim, Type.ATTACHED)
    assert (status, reason) == (Status.FALSE, Reason.PORT_NOT_ACTIVE)
    assert "is attached to server server-0004 but BUILD: check Neutron's agent on the" in message
    sim.settle(600)
    assert len(sim.ready()) == 1


def test_a_port_that_somebody_disabled_stays_so_and_is_named() -> None:
    sim = Simulation()
    sim.add_pool()
    sim.settle(60)
    (port,) = sim.cloud.ports.values()
    disabled = replace(port, enabled=False, status="DOWN", revision=port.revision + 1)
    sim.cloud.ports[port.id] = disabled
    sim.settle(400)
    status, reason, message = shown(sim, Type.ATTACHED)
    assert (status, reason) == (Status.FALSE, Reason.PORT_DISABLED)
    assert f"run openstack port set --enable {port.id}" in message
    assert sim.cloud.ports[port.id] == disabled
    sim.cloud.ports[port.id] = replace(port, revision=port.revision + 2)
    sim.settle(60)
    assert len(sim.ready()) == 1


def test_an_attachment_that_nova_confirms_and_neutron_does_not_show_is_checked() -> None:
    sim = Simulation()
    sim.cloud.after_call = unbind_after(sim, "attach port")
    sim.add_pool()
    sim.settle(30)
    status, reason, message = shown(sim, Type.ATTACHED)
    assert (status, reason) == (Status.FALSE, Reason.ATTACH_UNKNOWN)
    assert message.endswith("checking the port")
    sim.cloud.after_call = lambda _: None
    sim.settle(600)
    assert len(sim.ready()) == 1


def unbind_after(sim: Simulation, operation: str) -> Callable[[str], None]:
    """Return a hook that takes every port from its server after an operation."""

    def unbind(called: str) -> None:
        if called == operation:
            bind(sim, "", "DOWN")

    return unbind


def bind(sim: Simulation, server: str, status: str) -> None:
    for port in tuple(sim.cloud.ports.values()):
        changed = replace(port, device_id=server, status=status, revision=port.revision + 1)
        sim.cloud.ports[port.id] = changed


def test_a_port_that_somebody_attached_elsewhere_names_that_server() -> None:
    sim = Simulation()
    sim.add_pool()
    sim.settle(60)
    (eni,) = sim.enis()
    assert eni.status.port is not None
    sim.granted[eni.name] = {eni.status.port.addresses[0]}  # a pod runs: the ENI stays
    bind(sim, OTHER_SERVER, "ACTIVE")
    sim.settle(400)
    found = find(sim.eni(eni.name).status.conditions, Type.ATTACHED)
    assert found is not None
    assert (found.status, found.reason) == (Status.FALSE, Reason.ATTACHED_ELSEWHERE)
    assert f"attached to server {OTHER_SERVER}, not to the node's server" in found.message
