"""Clouds with what the contract suite needs: in memory, on fake services, on real ones."""

import os
import uuid
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from ipaddress import ip_network
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import openstack

from openeni_crds.terms import SecurityGroupTerm, SubnetTerm
from openeni_operator.cloud.admission import CallLimits
from openeni_operator.cloud.api import Cloud, NewPort, Port
from openeni_operator.cloud.call_limiter import CallLimiter
from openeni_operator.cloud.openstack import OpenStackCloud, connect
from openeni_testing.cloud.memory import MemoryCloud
from openeni_testing.fake_openstack.cloud import FakeOpenStack
from openeni_testing.waiting import wait_for

V4: Final = "pods"  # names of the subnets of one network
V6: Final = "pods-v6"
TINY_V6: Final = "tiny-v6"
_PODS: Final = ((V4, "10.98.0.0/22"), (V6, "fd00:98::/64"))
_TINY: Final = (("tiny", "10.97.5.0/29"), (TINY_V6, "fd00:97:5::/125"))
_SLAAC: Final = ("slaac", "fd00:97:6::/64")


@dataclass(frozen=True)
class Ground:
    """A cloud with the resources that the tests need."""

    cloud: Cloud
    server: str
    tiny: str  # ID of a subnet with five addresses, beside an IPv6 subnet with seven
    slaac: str  # ID of a subnet that uses SLAAC
    disable_port_security: Callable[[str], object]  # as somebody else may
    group: str = "default"
    policy: str = "pods"

    def wanted(self, *subnets: str, count: int = 3) -> NewPort:
        """Return a port to create, in subnets of these names on one network."""
        found = [self.cloud.find_subnets(SubnetTerm(name=name))[0] for name in subnets or (V4,)]
        uid = str(uuid.uuid4())
        return NewPort(
            name=f"openeni-contract-{uid}",
            network_id=found[0].network_id,
            subnet_ids=tuple(subnet.id for subnet in found),
            count=count,
            security_group_ids=(
                self.cloud.find_security_groups(SecurityGroupTerm(name=self.group))[0].id,
            ),
            tags=("openeni-cluster=contract", f"openeni-eni={uid}"),
        )

    def remove(self, port: Port) -> None:
        """Detach the port, if it is attached, and delete it."""
        if port.device_id:
            self.cloud.detach(port.device_id, port.id)
            wait_for(lambda: not self.cloud.port(port.id).device_id, "the port is detached")
        self.cloud.delete_port(port.id)


@contextmanager
def in_memory() -> Generator[Ground]:
    cloud = MemoryCloud()
    for subnets in (_TINY, _PODS):
        network = cloud.add_network(port_security=True)
        for subnet in subnets:
            cloud.add_subnet(network, *subnet)
    slaac = cloud.add_subnet(cloud.add_network(), *_SLAAC, dhcp=True, ipv6_mode="slaac")
    tiny = next(s.id for s in cloud.subnets.values() if s.name == "tiny")
    cloud.add_group("default")
    cloud.tags_of[tiny] = ("contract", "second")
    cloud.tags_of[cloud.add_group("contract-tagged").id] = ("contract",)
    cloud.add_policy("pods")
    yield Ground(cloud, cloud.add_server(), tiny, slaac.id, cloud.disable_port_security)


@contextmanager
def on_fake_services() -> Generator[Ground]:
    """Yield the operator's cloud on the fake that speaks HTTP, through the real SDK."""
    with FakeOpenStack() as fake, TemporaryDirectory() as folder:
        state = fake.state
        network = state.add_network()
        tiny = state.add_subnet(network, *_TINY[0], tags=("contract", "second"))
        state.add_subnet(network, *_TINY[1])
        network = state.add_network()
        for subnet in _PODS:
            state.add_subnet(network, *subnet)
        slaac = state.add_subnet(state.add_network(), *_SLAAC, dhcp=True, ipv6_mode="slaac")
        state.add_group("default")
        state.add_group("contract-tagged", tags=("contract",))
        state.add_policy("pods")
        cloud = connect_to_fake(fake, Path(folder) / "clouds.yaml")
        update = partial(state.update_port, groups=(), port_security=False)
        yield Ground(cloud, state.add_server().id, tiny.id, slaac.id, update)


def connect_to_fake(fake: FakeOpenStack, file: Path, timeout: float = 20) -> OpenStackCloud:
    """Log in at the fake as the operator does, by a clouds.yaml that is written there."""
    fake.write_clouds_yaml(file)
    return connect(file, "default", unlimited("default"), timeout)


def unlimited(name: str) -> CallLimiter:
    """Return a limiter that lets every call through at once."""
    return CallLimiter(name, CallLimits(reads=1e6, writes=1e6, attaches=1e6))


def real_file() -> Path:
    file = os.environ.get("OS_CLIENT_CONFIG_FILE", "")
    assert file, "run inside the lab: openeni-lab exec -- pytest -m inside"
    return Path(file)


@contextmanager
def on_real_services() -> Generator[Ground]:
    name = os.environ["OS_CLOUD"]
    sdk: Any = openstack.connect(cloud=name)
    server = next(s.id for s in sdk.compute.servers(name="remote") if s.name == "remote")
    cloud = connect(real_file(), name, unlimited(name), 120)
    with ExitStack() as made:
        networks = [_made_network(sdk, made, f"contract-{word}") for word in ("tiny", "slaac")]
        tiny = [_made_subnet(sdk, networks[0], *subnet, enable_dhcp=False) for subnet in _TINY]
        sdk.network.set_tags(tiny[0], ["contract", "second"])
        modes = {"ipv6_address_mode": "slaac", "ipv6_ra_mode": "slaac"}
        slaac = _made_subnet(sdk, networks[1], *_SLAAC, **modes)
        group = sdk.network.create_security_group(name="contract-tagged")
        made.callback(sdk.network.delete_security_group, group.id)
        sdk.network.set_tags(group, ["contract"])
        off: dict[str, Any] = {"security_groups": [], "port_security_enabled": False}
        update = partial(sdk.network.update_port, **off)
        yield Ground(cloud, server, tiny[0].id, slaac.id, update)


def _made_network(sdk: Any, made: ExitStack, name: str) -> Any:
    network = sdk.network.create_network(name=name)
    made.callback(sdk.network.delete_network, network.id)
    return network


def _made_subnet(sdk: Any, network: Any, name: str, cidr: str, **attributes: Any) -> Any:
    version = ip_network(cidr).version
    return sdk.network.create_subnet(
        network_id=network.id, name=name, cidr=cidr, ip_version=version, **attributes
    )
