"""The fake OpenStack with a clock of its own, and clients of it."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import openstack.config
import openstack.connection
import pytest

from openeni_operator.cloud.openstack import OpenStackCloud
from openeni_testing.cloud.faults import FakeClock
from openeni_testing.cloud.grounds import connect_to_fake
from openeni_testing.fake_openstack.cloud import FakeOpenStack
from openeni_testing.fake_openstack.keystone import Project
from openeni_testing.fake_openstack.resources import NetworkRecord, ServerRecord, SubnetRecord


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def fake(clock: FakeClock) -> Iterator[FakeOpenStack]:
    """Yield a cloud whose delays take no time: they advance the clock."""
    with FakeOpenStack(clock=clock, sleep=clock.advance) as cloud:
        cloud.state.add_group("default")
        yield cloud


@pytest.fixture
def network(fake: FakeOpenStack) -> NetworkRecord:
    return fake.state.add_network("pods")


@pytest.fixture
def subnet(fake: FakeOpenStack, network: NetworkRecord) -> SubnetRecord:
    return fake.state.add_subnet(network, "pods", "10.98.0.0/22")


@pytest.fixture
def server(fake: FakeOpenStack) -> ServerRecord:
    return fake.state.add_server("node-1")


@pytest.fixture
def log_in(tmp_path: Path) -> Callable[..., Any]:
    """Return a function that logs in at a fake with the real SDK."""

    def log_in(
        cloud: FakeOpenStack,
        project: Project | None = None,
        *,
        password: bool = False,
        timeout: float = 20,
    ) -> Any:
        file = tmp_path / "clouds.yaml"
        cloud.write_clouds_yaml(file, project=project, password=password)
        config = openstack.config.OpenStackConfig(
            config_files=[str(file)], secure_files=[], vendor_files=[], load_envvars=False
        )
        return openstack.connection.Connection(
            config=config.get_one(cloud="default", api_timeout=timeout)
        )

    return log_in


@pytest.fixture
def operators(fake: FakeOpenStack, tmp_path: Path) -> OpenStackCloud:
    """Return the operator's client, logged in."""
    return connect_to_fake(fake, tmp_path / "operators.yaml")


@pytest.fixture
def sdk(fake: FakeOpenStack, log_in: Callable[..., Any]) -> Any:
    return log_in(fake)
