"""The contract of a Cloud, run against the one in memory and against a real OpenStack.

The real one (marker `inside`) is the entry $OS_CLOUD of $OS_CLIENT_CONFIG_FILE; it needs a network
`pods` with one subnet of the same name, a security group `pods` or `default`, and a server
`remote`, as the lab has them. The tests remove what they create.
"""

import os
import uuid
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import openstack
import pytest

from openeni_crds.terms import SecurityGroupTerm, SubnetTerm
from openeni_operator.cloud.api import ACTIVE, Cloud, NewPort, Port
from openeni_operator.cloud.call_limiter import CallLimiter, CallLimits
from openeni_operator.cloud.clouds import Clouds
from openeni_operator.cloud.errors import (
    CloudNotConfiguredError,
    CloudUnreachableError,
    CredentialsInvalidError,
    ResourceConflictError,
    ResourceNotFoundError,
    SubnetExhaustedError,
)
from openeni_operator.cloud.openstack import connect
from openeni_testing.cloud.memory import MemoryCloud
from openeni_testing.waiting import wait_for

INSIDE = (pytest.mark.cloud, pytest.mark.inside)
UNKNOWN_ID = "00000000-0000-4000-8000-000000000000"


@dataclass(frozen=True)
class Ground:
    """A cloud with the resources that the tests need."""

    cloud: Cloud
    server: str
    subnet: str  # names
    group: str
    tiny: str = ""  # id of a subnet with five addresses

    def wanted(self, count: int = 3) -> NewPort:
        subnet = self.cloud.find_subnets(SubnetTerm(name=self.subnet))[0]
        uid = str(uuid.uuid4())
        return NewPort(
            name=f"openeni-contract-{uid}",
            network_id=subnet.network_id,
            subnet_ids=(subnet.id,),
            count=count,
            security_group_ids=(
                self.cloud.find_security_groups(SecurityGroupTerm(name=self.group))[0].id,
            ),
            tags=("openeni-cluster=contract", f"openeni-eni={uid}"),
        )


@contextmanager
def in_memory() -> Generator[Ground]:
    cloud = MemoryCloud()
    tiny = cloud.add_subnet(cloud.add_network(), "tiny", "10.97.5.0/29")
    cloud.add_subnet(cloud.add_network(), "pods", "10.98.0.0/22")
    cloud.add_group("default")
    cloud.tags_of[tiny.id] = ("contract", "second")
    cloud.tags_of[cloud.add_group("contract-tagged").id] = ("contract",)
    yield Ground(cloud, cloud.add_server(), "pods", "default", tiny.id)


def real_file() -> Path:
    file = os.environ.get("OS_CLIENT_CONFIG_FILE", "")
    assert file, "run inside the lab: openeni-lab exec -- pytest -m inside"
    return Path(file)


@contextmanager
def real() -> Generator[Ground]:
    name = os.environ["OS_CLOUD"]
    sdk: Any = openstack.connect(cloud=name)
    server = next(s.id for s in sdk.compute.servers(name="remote") if s.name == "remote")
    cloud = connect(real_file(), name, CallLimiter(name, CallLimits(reads=1000, writes=1000)), 120)
    network = sdk.network.create_network(name="contract-tiny")
    try:
        subnet = sdk.network.create_subnet(
            network_id=network.id, name="tiny", cidr="10.97.5.0/29", ip_version=4, enable_dhcp=False
        )
        sdk.network.set_tags(subnet, ["contract", "second"])
        group = sdk.network.create_security_group(name="contract-tagged")
        try:
            sdk.network.set_tags(group, ["contract"])
            yield Ground(cloud, server, "pods", "default", subnet.id)
        finally:
            sdk.network.delete_security_group(group.id)
    finally:
        sdk.network.delete_network(network.id)


@pytest.fixture(scope="module", params=["memory", pytest.param("real", marks=INSIDE)])
def ground(request: pytest.FixtureRequest) -> Iterator[Ground]:
    with in_memory() if request.param == "memory" else real() as found:
        yield found


@pytest.fixture
def port(ground: Ground) -> Iterator[Port]:
    created = ground.cloud.create_port(ground.wanted())
    yield created
    for left in ground.cloud.ports_named(created.name):
        remove_port(ground, left)


def remove_port(ground: Ground, port: Port) -> None:
    if port.device_id:
        ground.cloud.detach(port.device_id, port.id)
        wait_for(lambda: not ground.cloud.port(port.id).device_id, "the port is detached")
    ground.cloud.delete_port(port.id)


def test_a_port_is_created_with_all_its_addresses_in_one_request(
    ground: Ground, port: Port
) -> None:
    subnet = ground.cloud.find_subnets(SubnetTerm(name=ground.subnet))[0]
    addresses = [f.address for f in port.fixed_ips]
    assert len(set(addresses)) == 3
    assert {f.subnet_id for f in port.fixed_ips} == {subnet.id}
    assert all(ip_address(a) in ip_network(subnet.cidr) for a in addresses)
    assert addresses == sorted(addresses), "Neutron sorts them as text"
    assert (port.device_id, port.network_id) == ("", subnet.network_id)
    assert port.mac_address.startswith("fa:16:3e")


def test_a_port_is_found_by_name_id_and_network(ground: Ground, port: Port) -> None:
    assert [p.id for p in ground.cloud.ports_named(port.name)] == [port.id]
    assert ground.cloud.port(port.id).fixed_ips == port.fixed_ips
    assert port.id in {p.id for p in ground.cloud.ports_on(port.network_id)}
    assert ground.cloud.ports_named(port.name + "x") == ()


def test_tags_can_be_added_later(ground: Ground, port: Port) -> None:
    ground.cloud.tag_port(port.id, ("a=1", "b=2"))
    tagged = ground.cloud.port(port.id)
    assert tagged.tags == {"a=1", "b=2"}
    assert tagged.revision > port.revision


def test_a_port_is_attached_and_detached(ground: Ground, port: Port) -> None:
    ground.cloud.attach(ground.server, port.id)
    wait_for(lambda: ground.cloud.port(port.id).status == ACTIVE, "the port is ACTIVE")
    assert ground.cloud.port(port.id).device_id == ground.server
    assert ground.cloud.port(port.id).fixed_ips == port.fixed_ips
    with pytest.raises(ResourceConflictError):
        ground.cloud.attach(ground.server, port.id)
    ground.cloud.detach(ground.server, port.id)
    wait_for(lambda: not ground.cloud.port(port.id).device_id, "the port is detached")
    assert ground.cloud.port(port.id).fixed_ips == port.fixed_ips


def test_detaching_a_port_that_is_not_attached_succeeds(ground: Ground, port: Port) -> None:
    ground.cloud.detach(ground.server, port.id)
    assert not ground.cloud.port(port.id).device_id


def test_a_port_can_be_deleted_twice(ground: Ground, port: Port) -> None:
    ground.cloud.delete_port(port.id)
    with pytest.raises(ResourceNotFoundError):
        ground.cloud.port(port.id)
    assert ground.cloud.ports_named(port.name) == ()
    ground.cloud.delete_port(port.id)


def test_missing_resources_are_reported_as_not_found(ground: Ground, port: Port) -> None:
    for get in (ground.cloud.port, ground.cloud.network):
        with pytest.raises(ResourceNotFoundError):
            get(UNKNOWN_ID)
    with pytest.raises(ResourceNotFoundError):
        ground.cloud.attach(UNKNOWN_ID, port.id)
    assert ground.cloud.find_subnets(SubnetTerm(name="no-such-subnet")) == ()
    assert ground.cloud.find_security_groups(SecurityGroupTerm(id=UNKNOWN_ID)) == ()


def test_a_port_in_an_unknown_subnet_is_not_created(ground: Ground) -> None:
    with pytest.raises(ResourceNotFoundError):
        ground.cloud.create_port(replace(ground.wanted(), subnet_ids=(UNKNOWN_ID,)))


def test_no_port_is_left_when_the_subnet_is_exhausted(ground: Ground) -> None:
    tiny = ground.cloud.find_subnets(SubnetTerm(id=ground.tiny))[0]
    wanted = replace(ground.wanted(count=6), subnet_ids=(tiny.id,), network_id=tiny.network_id)
    with pytest.raises(SubnetExhaustedError):
        ground.cloud.create_port(wanted)
    assert ground.cloud.ports_named(wanted.name) == ()


def test_names_and_ids_find_the_same_resources(ground: Ground) -> None:
    by_name = ground.cloud.find_subnets(SubnetTerm(name=ground.subnet))
    assert ground.cloud.find_subnets(SubnetTerm(id=by_name[0].id)) == by_name
    assert ground.cloud.subnets_of(by_name[0].network_id) == by_name
    assert (by_name[0].dhcp, by_name[0].slaac, by_name[0].ip_version) == (False, False, 4)
    assert by_name[0].pools
    group = ground.cloud.find_security_groups(SecurityGroupTerm(name=ground.group))
    assert ground.cloud.find_security_groups(SecurityGroupTerm(id=group[0].id)) == group
    assert ground.cloud.network(by_name[0].network_id).mtu >= 1280


def test_tags_find_every_resource_that_has_all_of_them(ground: Ground) -> None:
    for tags in (("contract",), ("contract", "second"), ("second", "contract")):
        subnets = ground.cloud.find_subnets(SubnetTerm(tags=tags))
        assert [s.id for s in subnets] == [ground.tiny]
    (group,) = ground.cloud.find_security_groups(SecurityGroupTerm(tags=("contract",)))
    assert group.name == "contract-tagged"
    assert ground.cloud.find_subnets(SubnetTerm(tags=("contract", "third"))) == ()


def test_the_projects_port_quota_allows_the_port_there_is(ground: Ground, port: Port) -> None:
    assert ground.cloud.place.project_id
    quota = ground.cloud.port_quota()
    assert quota == -1 or quota >= 1


def test_a_server_exists_or_not(ground: Ground) -> None:
    assert ground.cloud.server_exists(ground.server)
    assert not ground.cloud.server_exists(UNKNOWN_ID)


def clouds(file: Path, timeout: float = 20) -> Clouds:
    return Clouds(
        file,
        lambda path, name, limiter: connect(path, name, limiter, timeout),
        lambda name: CallLimiter(name, CallLimits()),
    )


@pytest.mark.cloud
@pytest.mark.inside
def test_a_wrong_password_is_reported_until_the_file_is_corrected(tmp_path: Path) -> None:
    name, good = os.environ["OS_CLOUD"], real_file().read_text()
    secret = next(
        line.split(":", 1)[1].strip()
        for line in good.splitlines()
        if "application_credential_secret" in line
    )
    file = tmp_path / "clouds.yaml"
    file.write_text(good.replace(secret, "wrong"))
    mounted = clouds(file)
    with pytest.raises(CredentialsInvalidError, match=f"cloud '{name}' rejects the credentials"):
        mounted.get(name)
    file.write_text(good)
    assert mounted.get(name).find_subnets(SubnetTerm(name="pods"))
    assert mounted.get(name) is mounted.get(name)


def test_a_missing_file_is_reported(tmp_path: Path) -> None:
    with pytest.raises(CloudNotConfiguredError, match=r"put a clouds\.yaml there"):
        clouds(tmp_path / "clouds.yaml").get("default")


def test_a_missing_entry_is_reported(tmp_path: Path) -> None:
    file = tmp_path / "clouds.yaml"
    file.write_text("clouds:\n  other:\n    auth: {auth_url: http://127.0.0.1:1/v3}\n")
    with pytest.raises(CloudNotConfiguredError, match="default"):
        clouds(file).get("default")


@pytest.mark.parametrize(
    "text", ["clouds: [", "clouds: {default: 7}", "- 1", "\tpassword: hunter2"]
)
def test_a_malformed_file_is_reported_without_quoting_it(tmp_path: Path, text: str) -> None:
    file = tmp_path / "clouds.yaml"
    file.write_text(text)
    with pytest.raises(CloudNotConfiguredError) as raised:
        clouds(file).get("default")
    assert "hunter2" not in str(raised.value)
    assert "\n" not in str(raised.value)


def test_incomplete_credentials_are_reported(tmp_path: Path) -> None:
    file = tmp_path / "clouds.yaml"
    file.write_text("clouds:\n  default:\n    auth: {username: x}\n")
    with pytest.raises((CredentialsInvalidError, CloudNotConfiguredError)) as raised:
        clouds(file).get("default")
    assert "\n" not in str(raised.value)


def test_an_unreachable_keystone_is_reported(tmp_path: Path) -> None:
    file = tmp_path / "clouds.yaml"
    file.write_text(
        "clouds:\n  default:\n    auth:\n      auth_url: http://127.0.0.1:1/v3\n"
        "      username: u\n      password: hunter2\n      project_name: p\n"
        "      user_domain_id: default\n      project_domain_id: default\n"
    )
    with pytest.raises(CloudUnreachableError, match="make its auth_url") as raised:
        clouds(file).get("default")
    assert "hunter2" not in str(raised.value)
