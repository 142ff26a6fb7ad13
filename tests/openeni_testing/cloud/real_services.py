"""The real services of a lab as the cloud of a cluster whose operator suffers faults.

Operators reach them through a `FaultProxy`; the test itself looks at Neutron past it.
"""

import os
import threading
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

import openstack
import yaml

from openeni_lab import layout
from openeni_lab.cloud.seed import FLAVOR, IMAGE
from openeni_testing.cloud.fault_proxy import FaultProxy
from openeni_testing.cloud.grounds import real_file
from openeni_testing.fake_openstack.audit import Audit
from openeni_testing.fake_openstack.faults import FaultPlan
from openeni_testing.fake_openstack.messages import Json
from openeni_testing.fake_openstack.port_table import Observe
from openeni_testing.fake_openstack.resources import Address, PortRecord
from openeni_testing.killed.fast_time import FastTime
from openeni_testing.killed.services import GROUPS

LOOK_SECONDS: Final = 0.5  # between two looks while nobody calls: Nova detaches after its answer
SERVER_SECONDS: Final = 300
_LOCAL: Final = "http://127.0.0.1"


class RealServices:
    """Has the subnets and the groups of `killed.services` once it is made by `real_services`."""

    def __init__(self, sdk: Any, proxy: FaultProxy) -> None:
        self._sdk, self._proxy = sdk, proxy
        self._ending = threading.Event()
        self._looking: threading.Thread | None = None

    @property
    def faults(self) -> FaultPlan:
        return self._proxy.faults

    @property
    def audit(self) -> Audit:
        return self._proxy.audit

    def write_clouds_yaml(self, path: Path) -> None:
        entry: Json = yaml.safe_load(real_file().read_text())["clouds"][os.environ["OS_CLOUD"]]
        entry["auth"] |= {"auth_url": f"{self._proxy.url('identity')}/v3"}
        entry |= {
            "network_endpoint_override": self._proxy.url("network"),
            "compute_endpoint_override": f"{self._proxy.url('compute')}/v2.1",
        }
        path.write_text(yaml.safe_dump({"clouds": {"default": entry}}))

    def add_server(self, name: str) -> str:
        """Boot a server on the nodes' network."""
        compute, network = self._sdk.compute, self._sdk.network
        nodes = network.find_network(layout.NODES_NETWORK, ignore_missing=False)
        server = compute.create_server(
            name=f"fault-{name}",
            image_id=self._sdk.image.find_image(IMAGE, ignore_missing=False).id,
            flavor_id=compute.find_flavor(FLAVOR, ignore_missing=False).id,
            networks=[{"uuid": nodes.id}],
        )
        return str(compute.wait_for_server(server, interval=0.2, wait=SERVER_SECONDS).id)

    def remove_server(self, server_id: str, *, with_ports: bool) -> None:
        """Delete a server. Nova unbinds its ports, if they were not `with_ports` deleted before."""
        for port in self.ports() if with_ports else ():
            if port.device_id == server_id:
                self._sdk.network.delete_port(port.id)
        _remove(self._sdk, self._sdk.compute.get_server(server_id))

    def ports(self) -> list[PortRecord]:
        listed = self._sdk.network.get("/ports", timeout=SERVER_SECONDS).json()["ports"]
        return [_record(body) for body in listed if body["name"].startswith("openeni-")]

    def observe_ports(self, observe: Observe) -> None:
        """Look after each call that may have changed them, and again and again, from a thread."""
        self._looking = threading.Thread(target=self._look, args=(observe,), name="observer")
        self._looking.start()

    def close(self) -> None:
        self._ending.set()
        self._proxy.changed.set()
        if self._looking is not None:
            self._looking.join()

    def _look(self, observe: Observe) -> None:
        known: dict[str, PortRecord] = {}
        while not self._ending.is_set():
            self._proxy.changed.wait(LOOK_SECONDS)
            self._proxy.changed.clear()
            now = {port.id: port for port in self.ports()}
            for port_id in known.keys() | now.keys():
                before, after = known.get(port_id), now.get(port_id)
                if before != after:
                    observe(before, after)
            known = now


@contextmanager
def real_services(time: FastTime) -> Generator[RealServices]:
    """Yield the services of the lab that the test runs in; seconds of faults are of `time`."""
    sdk: Any = openstack.connect(cloud=os.environ["OS_CLOUD"])
    services = {
        "identity": f"{_LOCAL}:{layout.KEYSTONE_PORT}",
        "network": f"{_LOCAL}:{layout.NEUTRON_PORT}",
        "compute": f"{_LOCAL}:{layout.NOVA_PORT}",
    }
    with ExitStack() as made:
        for name in GROUPS:
            if sdk.network.find_security_group(name) is None:
                group = sdk.network.create_security_group(name=name)
                made.callback(sdk.network.delete_security_group, group.id)
        before = {server.id for server in sdk.compute.servers()}
        made.callback(_remove_servers, sdk, before)
        proxy = made.enter_context(FaultProxy(services, clock=time.seconds, sleep=time.sleep))
        found = RealServices(sdk, proxy)
        made.callback(found.close)
        yield found


def _remove_servers(sdk: Any, kept: set[str]) -> None:
    for server in sdk.compute.servers():
        if server.id not in kept:
            _remove(sdk, server)


def _remove(sdk: Any, server: Any) -> None:
    sdk.compute.delete_server(server.id)
    sdk.compute.wait_for_delete(server, interval=0.2, wait=SERVER_SECONDS)


def _record(body: Json) -> PortRecord:
    return PortRecord(
        id=body["id"],
        name=body["name"],
        network_id=body["network_id"],
        project_id=body["project_id"],
        mac=body["mac_address"],
        created_at=body["created_at"],
        addresses=tuple(Address(f["subnet_id"], f["ip_address"]) for f in body["fixed_ips"]),
        groups=tuple(body["security_groups"]),
        qos_policy_id=body.get("qos_policy_id"),
        tags=tuple(body["tags"]),
        status=body["status"],
        device_id=body["device_id"],
        revision=body["revision_number"],
    )
