"""What a person can get wrong ends in one line on the pool, and heals when it is put right."""

from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from openeni_lab import workloads
from openeni_lab.demonstration import Running
from openeni_lab.openeni import CLOUDS_FILE, write
from openeni_lab.openstack import client_environment
from openeni_lab.probe import has_ipvlan
from openeni_testing import running_lab as lab
from openeni_testing.waiting import wait_for

pytestmark = [pytest.mark.lab, pytest.mark.root]

NOBODY = "http://127.0.0.1:9/v3"  # the discard port: nobody listens


@pytest.fixture(autouse=True)
def no_traceback(running: Running) -> Iterator[None]:
    log = running.lab.layout.logs / "operator.log"
    before = log.stat().st_size
    yield
    assert "Traceback" not in log.read_text()[before:]


def _clouds(running: Running, **auth: str) -> bytes:
    clouds = yaml.safe_load(running.lab.layout.clouds_yaml.read_text())["clouds"]
    entry = clouds["openeni"]
    entry["auth"] |= auth
    return yaml.safe_dump({"clouds": {"default": entry}}).encode()


@pytest.mark.parametrize(
    ("wrong", "reason", "says"),
    [
        ({"application_credential_secret": "no"}, "CredentialsInvalid", "credential"),
        ({"auth_url": NOBODY}, "CloudUnreachable", "auth_url"),
        (None, "CloudNotConfigured", "clouds.yaml"),
    ],
    ids=["wrong password", "unreachable Keystone", "no clouds.yaml"],
)
def test_a_cloud_that_cannot_be_used_is_said_and_used_once_it_can(
    running: Running, wrong: dict[str, str] | None, reason: str, says: str
) -> None:
    machine = running.lab.machine
    if wrong is None:
        machine.check(["rm", CLOUDS_FILE])
    else:
        write(machine, CLOUDS_FILE, _clouds(running, **wrong))
    running.api.apply([workloads.pool("cloudy")])
    try:
        message = lab.wait_for_condition(running, "cloudy", "CloudReachable", "False", reason)
        assert says in message
        assert "\n" not in message
        assert running.api.items(lab.ENIS) == []
    finally:
        running.installation.mount_clouds(machine)
    lab.wait_for_condition(running, "cloudy", "CloudReachable", "True", "Reachable")
    wait_for(lambda: len(running.api.items(lab.ENIS)) == 2, "an ENI for each node", lab.PATIENCE)
    lab.remove(running, pools=("cloudy",))


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ({"subnets": [{"subnet": "nowhere"}]}, ("spec.subnets[0].subnet", "nowhere")),
        ({"securityGroups": ["nobody"]}, ("spec.securityGroups[0]", "nobody")),
    ],
    ids=["unknown subnet", "unknown security group"],
)
def test_a_name_that_the_cloud_does_not_know_is_named_with_its_field(
    running: Running, spec: dict[str, Any], says: tuple[str, str]
) -> None:
    running.api.apply([workloads.pool("unknown", **spec)])
    message = lab.wait_for_condition(running, "unknown", "Ready", "False", "NotFound")
    assert all(word in message for word in says)
    running.api.apply([workloads.pool("unknown")])
    lab.wait_for_condition(running, "unknown", "Ready", "True", "Ready")
    lab.remove(running, pools=("unknown",))


def test_a_subnet_with_dhcp_gets_no_eni_until_dhcp_is_off(running: Running) -> None:
    _openstack(running, "subnet", "set", "--dhcp", "pods")
    try:
        running.api.apply([workloads.pool("dhcp")])
        message = lab.wait_for_condition(running, "dhcp", "Supported", "False", "DHCPEnabled")
        assert "pods" in message
        assert running.api.items(lab.ENIS) == []
    finally:
        _openstack(running, "subnet", "set", "--no-dhcp", "pods")
    lab.wait_for_condition(running, "dhcp", "Ready", "True", "Ready")
    lab.remove(running, pools=("dhcp",))


def test_a_kernel_without_the_mode_gets_no_eni(running: Running) -> None:
    running.api.apply([workloads.pool("ipvlan-l3s")])
    if has_ipvlan():
        lab.wait_for_condition(running, "ipvlan-l3s", "Supported", "True", "Supported")
    else:
        message = lab.wait_for_condition(
            running, "ipvlan-l3s", "Supported", "False", "ModeUnsupported"
        )
        assert "n1" in message
        assert "n2" in message
        assert running.api.items(lab.ENIS) == []
    lab.remove(running, pools=("ipvlan-l3s",))


def _openstack(running: Running, *words: str) -> None:
    program = str(running.lab.built.openstack_venv / "bin" / "openstack")
    environment = client_environment(running.lab.layout)
    running.lab.machine.check([program, *words], env=environment, timeout=120)
