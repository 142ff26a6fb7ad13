"""The cloud of a cluster whose operators are killed, as far as cluster and observer need it."""

from pathlib import Path
from typing import Final, Protocol

from openeni_testing.fake_openstack.audit import Audit
from openeni_testing.fake_openstack.cloud import FakeOpenStack
from openeni_testing.fake_openstack.faults import FaultPlan
from openeni_testing.fake_openstack.port_table import Observe
from openeni_testing.fake_openstack.resources import PortRecord

SUBNETS: Final = (("pods", "10.98.0.0/20"), ("pods-v6", "fd00:98::/64"))  # of one network
GROUPS: Final = ("pods", "more")
POLICY: Final = "pods"  # of QoS
# Of the fast clock, in seconds.
LIST_LAG: Final = 4.0  # the operator waits 30 for a port to be shown
ATTACH_SECONDS: Final = 2.0
CALL_SECONDS: Final = 0.1
_TIMES: Final = {"attach port": 2.0, "create port": 1.0, "delete port": 1.0}


class Services(Protocol):
    """A cloud that has SUBNETS, GROUPS and POLICY, and whose calls a test disturbs and counts."""

    @property
    def faults(self) -> FaultPlan: ...

    @property
    def audit(self) -> Audit: ...

    def write_clouds_yaml(self, path: Path) -> None: ...

    def add_server(self, name: str) -> str:
        """Return the ID of another server."""
        ...

    def remove_server(self, server_id: str, *, with_ports: bool) -> None: ...

    def ports(self) -> list[PortRecord]:
        """Return the ports of ENIs, as they are now."""
        ...

    def observe_ports(self, observe: Observe) -> None:
        """Call `observe` with each change of a port from now on."""
        ...


class FakeServices:
    """The fake that speaks HTTP: its lists of ports are behind, and its calls take time."""

    def __init__(self, cloud: FakeOpenStack) -> None:
        self.cloud = cloud
        state = cloud.state
        network = state.add_network()
        for subnet in SUBNETS:
            state.add_subnet(network, *subnet)
        for name in GROUPS:
            state.add_group(name)
        state.add_policy(POLICY)
        state.settings.list_lag_seconds = LIST_LAG
        state.settings.attach_seconds = state.settings.detach_seconds = ATTACH_SECONDS
        cloud.latency.default, cloud.latency.of_operation = CALL_SECONDS, dict(_TIMES)

    @property
    def faults(self) -> FaultPlan:
        return self.cloud.faults

    @property
    def audit(self) -> Audit:
        return self.cloud.audit

    def write_clouds_yaml(self, path: Path) -> None:
        self.cloud.write_clouds_yaml(path)

    def add_server(self, name: str) -> str:
        return self.cloud.state.add_server(name).id

    def remove_server(self, server_id: str, *, with_ports: bool) -> None:
        self.cloud.state.remove_server(server_id, with_ports=with_ports)

    def ports(self) -> list[PortRecord]:
        return self.cloud.state.ports.all()

    def observe_ports(self, observe: Observe) -> None:
        self.cloud.state.ports.observe = observe
