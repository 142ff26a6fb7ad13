"""Log-ins at the fake OpenStack, by the operator and by the SDK."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from keystoneauth1.exceptions import Unauthorized

from openeni_operator.cloud.api import NewPort, Place
from openeni_operator.cloud.errors import CredentialsInvalidError
from openeni_operator.cloud.openstack import OpenStackCloud, connect
from openeni_testing.cloud.faults import FakeClock
from openeni_testing.cloud.grounds import connect_to_fake, unlimited
from openeni_testing.fake_openstack.cloud import FakeOpenStack
from openeni_testing.fake_openstack.faults import ErrorBefore
from openeni_testing.fake_openstack.resources import SubnetRecord
from openeni_testing.fake_openstack.responses import unauthorized


def wanted(subnet: SubnetRecord, name: str = "eni") -> NewPort:
    return NewPort(name, subnet.network_id, (subnet.id,), 1, (), ())


def names(fake: FakeOpenStack) -> list[str]:
    return [port.name for port in fake.state.ports.all()]


@pytest.mark.parametrize("password", [False, True])
def test_both_ways_to_log_in_lead_to_the_project(
    fake: FakeOpenStack, log_in: Callable[..., Any], password: bool
) -> None:
    fake.keystone.add_project("other")
    connection = log_in(fake, password=password)
    assert connection.current_project_id == fake.project.id
    assert list(connection.network.ports()) == []
    assert fake.audit.counts["connect"] == 1


@pytest.mark.parametrize("password", [False, True])
def test_wrong_and_disabled_credentials_are_refused(
    fake: FakeOpenStack, log_in: Callable[..., Any], password: bool
) -> None:
    connection = log_in(fake, password=password)
    fake.project.password, fake.project.secret = "new", "new"
    with pytest.raises(Unauthorized):
        connection.session.get_token()
    log_in(fake, password=password).session.get_token()
    fake.project.enabled = False
    with pytest.raises(Unauthorized):
        log_in(fake, password=password).session.get_token()


def test_the_operator_reports_credentials_that_keystone_rejects(
    fake: FakeOpenStack, tmp_path: Path
) -> None:
    fake.project.enabled = False
    with pytest.raises(CredentialsInvalidError, match="rejects the credentials"):
        connect_to_fake(fake, tmp_path / "clouds.yaml")


def test_a_token_that_expires_costs_one_more_log_in(
    fake: FakeOpenStack, operators: OpenStackCloud, subnet: SubnetRecord, clock: FakeClock
) -> None:
    operators.create_port(wanted(subnet, "a"))
    clock.advance(fake.settings.token_seconds)
    operators.create_port(wanted(subnet, "b"))
    fake.keystone.expire_tokens()
    operators.create_port(wanted(subnet, "c"))
    assert names(fake) == ["a", "b", "c"]
    assert fake.audit.counts == {"connect": 3, "create port": 5}
    refused = [c.operation for c in fake.audit.calls if c.status == 401]
    assert refused == ["create port"] * 2


def test_a_token_that_no_service_takes_is_reported(
    fake: FakeOpenStack, operators: OpenStackCloud, subnet: SubnetRecord
) -> None:
    fake.faults.add("create port", ErrorBefore(unauthorized()), times=math.inf)
    with pytest.raises(CredentialsInvalidError):
        operators.create_port(wanted(subnet))
    assert fake.audit.operations[-3:] == ["create port", "connect", "create port"]
    assert names(fake) == []


def test_clouds_stand_beside_each_other_in_one_file(tmp_path: Path) -> None:
    file = tmp_path / "clouds.yaml"
    with FakeOpenStack(region="here") as one, FakeOpenStack(region="there", seed=1) as two:
        one.write_clouds_yaml(file, "one")
        two.write_clouds_yaml(file, "two", password=True)
        places = [connect(file, name, unlimited(name), 20).place for name in ("one", "two")]
    assert [place.region for place in places] == ["here", "there"]
    assert [place.project_id for place in places] == [one.project.id, two.project.id]
    assert one.project.id != two.project.id


@pytest.mark.parametrize("named", [True, False], ids=["named", "not named"])
def test_the_place_of_a_cloud_has_its_region_whether_the_entry_names_it_or_not(
    tmp_path: Path, *, named: bool
) -> None:
    file = tmp_path / "clouds.yaml"
    with FakeOpenStack(region="here") as cloud:
        entry = cloud.clouds_entry()
        if not named:
            del entry["region_name"]
        file.write_text(yaml.safe_dump({"clouds": {"default": entry}}))
        place = connect(file, "default", unlimited("default"), 20).place
    assert place == Place(cloud.project.id, "here")
