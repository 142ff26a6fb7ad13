"""What a person can get wrong ends in one line on the pool, and heals when it is put right."""

import uuid
from collections.abc import Iterator, Mapping
from typing import Any, Final

import pytest
import yaml

from openeni_crds.names import LABEL_IPVLAN, LABEL_VETH
from openeni_lab.cloud.openstack import client_environment
from openeni_lab.product import workloads
from openeni_lab.product.demonstration import Running
from openeni_lab.product.installation import CLOUDS_FILE, write
from openeni_testing.lab import running as lab
from openeni_testing.waiting import wait_for

pytestmark = [pytest.mark.lab, pytest.mark.root]

NOBODY = "http://127.0.0.1:9/v3"  # the discard port: nobody listens


@pytest.fixture(autouse=True)
def no_traceback(running: Running) -> Iterator[None]:
    log = running.lab.layout.logs / "operator.log"
    before = log.stat().st_size
    yield
    assert "Traceback" not in log.read_text()[before:]


# An entry of clouds.yaml by its fault: what is wrong in it, the reason, what the message names.
FAULTS: Final[Mapping[str, tuple[dict[str, str] | None, str, str]]] = {
    "wrong-password": (
        {"application_credential_secret": "no"},
        "CredentialsInvalid",
        "credential",
    ),
    "unreachable": ({"auth_url": NOBODY}, "CloudUnreachable", "auth_url"),
    "absent": (None, "CloudNotConfigured", "clouds.yaml"),
}


def write_clouds(running: Running, faults: Mapping[str, dict[str, str] | None]) -> None:
    """Write a clouds.yaml of good entries, but for what `faults` puts into some or leaves out."""
    known = yaml.safe_load(running.lab.layout.clouds_yaml.read_text())["clouds"]["openeni"]
    clouds = {
        name: {**known, "auth": {**known["auth"], **(faults.get(name, {}) or {})}}
        for name in ("default", *FAULTS)
        if faults.get(name, {}) is not None
    }
    write(running.lab.machine, CLOUDS_FILE, yaml.safe_dump({"clouds": clouds}).encode())


def test_each_cloud_that_cannot_be_used_is_reported_and_used_once_it_can(running: Running) -> None:
    write_clouds(running, {name: wrong for name, (wrong, _, _) in FAULTS.items()})
    try:
        running.api.apply(workloads.pool(name, cloud=name, addresses=1, enis=1) for name in FAULTS)
        for name, (_, reason, says) in FAULTS.items():
            message = lab.wait_for_condition(running, name, "CloudReachable", "False", reason)
            assert says in message
            assert "\n" not in message
        assert lab.enis_of(running, *FAULTS) == []
    finally:
        write_clouds(running, {})  # the pools cannot go without their cloud
    for name in FAULTS:
        lab.wait_for_condition(running, name, "CloudReachable", "True", "Reachable")
    expected = {(name, node) for name in FAULTS for node in running.installation.nodes}

    def served() -> bool:
        enis = lab.enis_of(running, *FAULTS)
        assert {(e["spec"]["poolName"], e["spec"]["nodeName"]) for e in enis} == expected
        return True

    wait_for(served, "an ENI of each pool for each node", lab.PATIENCE)


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ({"subnets": [{"name": "nowhere"}]}, ("spec.subnets[0]", "nowhere")),
        ({"securityGroups": [{"name": "nobody"}]}, ("spec.securityGroups[0]", "nobody")),
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


def test_a_subnet_with_dhcp_gets_no_eni_until_dhcp_is_off(running: Running) -> None:
    _openstack(running, "subnet", "set", "--dhcp", "pods")
    try:
        running.api.apply([workloads.pool("dhcp")])
        message = lab.wait_for_condition(running, "dhcp", "Supported", "False", "DHCPEnabled")
        assert "pods" in message
        assert lab.enis_of(running, "dhcp") == []
    finally:
        _openstack(running, "subnet", "set", "--no-dhcp", "pods")
    lab.wait_for_condition(running, "dhcp", "Ready", "True", "Ready")


def test_a_node_whose_kernel_lacks_the_datapath_gets_no_eni(running: Running) -> None:
    """The node has no machine: what its kernel can do is what an agent would have labelled."""
    labels = {LABEL_IPVLAN: "false", LABEL_VETH: "true", "test.openeni.io/old-kernel": "yes"}
    node = {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": "old-kernel", "labels": labels},
        "spec": {"providerID": f"openstack:///{uuid.uuid4()}", "unschedulable": True},
    }
    selector = {"matchLabels": {"test.openeni.io/old-kernel": "yes"}}
    running.api.apply([node, workloads.pool("ipvlan-l2", nodeSelector=selector)])
    message = lab.wait_for_condition(running, "ipvlan-l2", "Supported", "False", "ModeUnsupported")
    assert "old-kernel" in message
    assert lab.enis_of(running, "ipvlan-l2") == []
    running.api.delete("/api/v1/nodes/old-kernel")
    lab.wait_for_condition(running, "ipvlan-l2", "Supported", "True", "Supported")


def _openstack(running: Running, *words: str) -> None:
    program = str(running.lab.built.openstack_venv / "bin" / "openstack")
    environment = client_environment(running.lab.layout)
    running.lab.machine.check([program, *words], env=environment, timeout=120)
