"""Users' mistakes: each is one line on the pool, and the pool recovers once it is fixed."""

import uuid
from collections.abc import Iterator, Mapping
from typing import Any, Final

import pytest

from openeni_crds.names import LABEL_IPVLAN, LABEL_VETH
from openeni_lab.cloud.access import operator_cloud
from openeni_lab.product import workloads
from openeni_lab.product.installed_lab import InstalledLab
from openeni_lab.product.pods import OPERATOR
from openeni_testing.cloud.clouds_secret import write_clouds_secret
from openeni_testing.lab import installed_lab as lab
from openeni_testing.waiting import wait_for

pytestmark = [pytest.mark.lab, pytest.mark.root]

NOBODY = "http://127.0.0.1:9/v3"  # the discard port: nobody listens


@pytest.fixture(autouse=True)
def no_traceback(installed: InstalledLab) -> Iterator[None]:
    before = lab.container(installed, OPERATOR).runtime_id
    yield
    assert "Traceback" not in lab.log_of(installed, OPERATOR)
    assert lab.container(installed, OPERATOR).runtime_id == before


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


def write_clouds(installed: InstalledLab, faults: Mapping[str, dict[str, str] | None]) -> None:
    """Write a Secret of good entries, some of them changed or removed by `faults`."""
    known = operator_cloud(installed.lab.layout)
    clouds = {
        name: {**known, "auth": {**known["auth"], **(faults.get(name, {}) or {})}}
        for name in ("default", *FAULTS)
        if faults.get(name, {}) is not None
    }
    write_clouds_secret(installed, clouds)


def test_each_cloud_that_cannot_be_used_is_reported_and_used_once_it_can(
    installed: InstalledLab,
) -> None:
    write_clouds(installed, {name: wrong for name, (wrong, _, _) in FAULTS.items()})
    try:
        installed.api.apply(
            workloads.pool(name, cloud=name, addresses=1, enis=1) for name in FAULTS
        )
        for name, (_, reason, says) in FAULTS.items():
            message = lab.wait_for_condition(installed, name, "CloudReachable", "False", reason)
            assert says in message
            assert "\n" not in message
        assert lab.enis_of(installed, *FAULTS) == []
    finally:
        write_clouds(installed, {})  # the pools cannot go without their cloud
    for name in FAULTS:
        lab.wait_for_condition(installed, name, "CloudReachable", "True", "Reachable")
    expected = {(name, node) for name in FAULTS for node in installed.nodes}

    def served() -> bool:
        enis = lab.enis_of(installed, *FAULTS)
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
    installed: InstalledLab, spec: dict[str, Any], says: tuple[str, str]
) -> None:
    installed.api.apply([workloads.pool("unknown", **spec)])
    message = lab.wait_for_condition(installed, "unknown", "Ready", "False", "NotFound")
    assert all(word in message for word in says)
    installed.api.apply([workloads.pool("unknown")])
    lab.wait_for_condition(installed, "unknown", "Ready", "True", "Ready")


@pytest.mark.long
def test_a_subnet_with_dhcp_gets_no_eni_and_its_pods_say_so_until_dhcp_is_off(
    installed: InstalledLab,
) -> None:
    installed.api.apply([workloads.pool("served")])  # else the runtime is not configured
    lab.deploy(installed, "served", "served", 1)
    lab.openstack(installed, "subnet", "set", "--dhcp", "pods")
    try:
        installed.api.apply([workloads.pool("dhcp")])
        message = lab.wait_for_condition(installed, "dhcp", "Supported", "False", "DHCPEnabled")
        assert "pods" in message
        assert lab.enis_of(installed, "dhcp") == []
        installed.api.apply([workloads.deployment("dhcp", "dhcp", 1)])
        event = wait_for(lambda: lab.pod_events(installed, "dhcp"), "the pod's Event", 90)[0]
        assert event["reason"] == "NoENIReady"
        assert "ENIPool dhcp: DHCPEnabled" in event["note"]
    finally:
        lab.openstack(installed, "subnet", "set", "--no-dhcp", "pods")
    lab.wait_for_condition(installed, "dhcp", "Ready", "True", "Ready")
    lab.wait_for_pods(installed, "dhcp", 1)


def test_a_node_whose_kernel_lacks_the_datapath_gets_no_eni(installed: InstalledLab) -> None:
    """The node has no machine; its labels say what an agent would have found out."""
    labels = {LABEL_IPVLAN: "false", LABEL_VETH: "true", "test.openeni.io/old-kernel": "yes"}
    node = {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": "old-kernel", "labels": labels},
        "spec": {"providerID": f"openstack:///{uuid.uuid4()}", "unschedulable": True},
    }
    selector = {"matchLabels": {"test.openeni.io/old-kernel": "yes"}}
    installed.api.apply([node, workloads.pool("ipvlan-l2", nodeSelector=selector)])
    message = lab.wait_for_condition(
        installed, "ipvlan-l2", "Supported", "False", "ModeUnsupported"
    )
    assert "old-kernel" in message
    assert lab.enis_of(installed, "ipvlan-l2") == []
    installed.api.delete("/api/v1/nodes/old-kernel")
    lab.wait_for_condition(installed, "ipvlan-l2", "Supported", "True", "Supported")
