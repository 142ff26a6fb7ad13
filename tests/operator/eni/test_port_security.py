"""Port security of a port comes with the pool's security groups, and only with them."""

from dataclasses import replace

import pytest

from openeni_operator.cloud.api import Port
from openeni_operator.eni.facts import Facts
from openeni_operator.eni.lifecycle import next_step
from openeni_operator.eni.port_settings import PortSettings
from openeni_operator.eni.steps import AttachPort, SetSecurityGroups, Step
from openeni_testing.controller.ports import GROUPS, HERE, NONE, SETTINGS, TAGS, a_port

NO_GROUPS = PortSettings()
GROUPS_STEP, ATTACH = SetSecurityGroups("p1"), AttachPort("p1")
BOTH_STEP = SetSecurityGroups("p1", enable_port_security=True)
BOTH = ("security groups", "port security")


@pytest.mark.parametrize(
    ("settings", "port", "differences", "step"),
    [
        (SETTINGS, a_port(security=True), (), ATTACH),
        (SETTINGS, a_port(security=None), (), ATTACH),
        (SETTINGS, a_port(groups=NONE, security=True), BOTH[:1], GROUPS_STEP),
        (SETTINGS, a_port(groups=NONE, security=False), BOTH, BOTH_STEP),
        (SETTINGS, a_port(groups=GROUPS, security=False), BOTH[1:], BOTH_STEP),
        (NO_GROUPS, a_port(groups=NONE, security=False), (), ATTACH),
        (NO_GROUPS, a_port(groups=GROUPS, security=True), BOTH[:1], GROUPS_STEP),
    ],
)
def test_a_port_is_secured_where_its_groups_need_it(
    settings: PortSettings, port: Port, differences: tuple[str, ...], step: Step
) -> None:
    assert settings.differences(port) == differences
    facts = Facts(HERE, TAGS, settings, ports=(port,), guest_prepared=True)
    assert next_step(facts) == step
    deleted = replace(facts, deleting=True, recorded_port="p1", in_use=False)
    assert not isinstance(next_step(deleted), SetSecurityGroups)
