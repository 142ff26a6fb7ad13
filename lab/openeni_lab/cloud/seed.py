"""Fill an empty OpenStack through its own APIs, from inside the lab's network.

`python -m openeni_lab.cloud.seed` reads one JSON document and prints another. The stages
`identity` and `cloud` run once, when the template is made. `servers` runs at each start and
only adds what is missing.
"""

import fcntl
import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from ipaddress import ip_network
from pathlib import Path
from typing import Any, Final

import openstack

from openeni_lab import layout

SERVER_SECONDS: Final = 300.0
# What is in a subnet and in no allocation pool is for hosts with fixed addresses.
PODS_POOL: Final = ("10.98.0.10", "10.98.3.199")
PODS_POOL_V6: Final = ("fd00:98::1:0", "fd00:98::1:ffff")
NODES_POOL: Final = ("10.99.0.100", "10.99.0.199")
FLAVOR: Final = "node"
IMAGE: Final = "blank"
ENDPOINTS: Final = {
    "neutron": ("network", layout.NEUTRON_PORT, ""),
    "nova": ("compute", layout.NOVA_PORT, "/v2.1"),
    "placement": ("placement", layout.PLACEMENT_PORT, ""),
    "glance": ("image", layout.GLANCE_PORT, ""),
}

ADDRESSES: Final = {
    "public": layout.NODES_GATEWAY,
    "internal": "127.0.0.1",
    "admin": "127.0.0.1",
}

Inputs = Mapping[str, Any]


def identity(plan: Inputs) -> dict[str, Any]:
    """Create services, their users, the project and the operator's application credential."""
    keystone: Any = openstack.connect(cloud="admin").identity
    roles = [keystone.find_role(name, ignore_missing=False) for name in ("admin", "service")]
    project = keystone.create_project(name="service", domain_id="default")
    for name, (kind, port, path) in ENDPOINTS.items():
        service = keystone.create_service(name=name, type=kind)
        for interface, address in ADDRESSES.items():
            url = f"http://{address}:{port}{path}"
            keystone.create_endpoint(
                service_id=service.id, interface=interface, url=url, region_id="RegionOne"
            )
        user = keystone.create_user(name=name, password=plan["password"], domain_id="default")
        for role in roles:
            keystone.assign_project_role_to_user(project, user, role)
    return _project(keystone, plan)


def _project(keystone: Any, plan: Inputs) -> dict[str, Any]:
    name = layout.CLOUD_PROJECT
    project = keystone.create_project(name=name, domain_id="default")
    user = keystone.create_user(name=name, password=plan["password"], domain_id="default")
    member = keystone.find_role("member", ignore_missing=False)
    keystone.assign_project_role_to_user(project, user, member)
    own: Any = openstack.connect(cloud=name)
    credential = own.identity.create_application_credential(
        own.current_user_id, "openeni", secret=plan["credential_secret"]
    )
    return {"credential_id": credential.id}


def cloud(plan: Inputs) -> dict[str, Any]:
    """Create the flavor, a zone for each compute host, the networks, the security group, QoS.

    The QoS policy has no rule: the lab's mechanism driver could enforce none.
    """
    admin: Any = openstack.connect(cloud="admin")
    admin.compute.create_flavor(name=FLAVOR, ram=64, vcpus=1, disk=1)  # disk=0 is refused
    for zone, host in plan["zones"].items():
        aggregate = admin.compute.create_aggregate(name=zone, availability_zone=zone)
        admin.compute.add_host_to_aggregate(aggregate, host)
    admin.network.create_qos_policy(name=layout.PODS_NETWORK, shared=True)
    own: Any = openstack.connect(cloud=layout.CLOUD_PROJECT)
    nodes = own.network.create_network(name=layout.NODES_NETWORK)
    pods = own.network.create_network(name=layout.PODS_NETWORK)
    _subnet(own, nodes, nodes.name, layout.NODES_GATEWAY, cidr=layout.NODES_CIDR, pool=NODES_POOL)
    _subnet(own, pods, pods.name, layout.PODS_GATEWAY, cidr=layout.PODS_CIDR, pool=PODS_POOL)
    name, gateway = layout.PODS_SUBNET_V6, layout.PODS_GATEWAY_V6
    _subnet(own, pods, name, gateway, cidr=layout.PODS_CIDR_V6, pool=PODS_POOL_V6)
    group = own.network.create_security_group(name="pods", description="All ingress is allowed")
    for version in ("IPv4", "IPv6"):
        own.network.create_security_group_rule(
            security_group_id=group.id, direction="ingress", ether_type=version
        )
    return {}


def _subnet(
    own: Any, network: Any, name: str, gateway: str, *, cidr: str, pool: tuple[str, str]
) -> None:
    """Create a subnet whose addresses Neutron alone assigns: no DHCP, no router advertisements."""
    own.network.create_subnet(
        name=name,
        network_id=network.id,
        ip_version=ip_network(cidr).version,
        cidr=cidr,
        gateway_ip=gateway,
        enable_dhcp=False,
        allocation_pools=[{"start": pool[0], "end": pool[1]}],
    )


def servers(plan: Inputs) -> dict[str, Any]:
    """Boot the missing servers; return the id, port, MAC and address of each, by name."""
    own: Any = openstack.connect(cloud=layout.CLOUD_PROJECT)
    admin: Any = openstack.connect(cloud="admin")
    existing = {server.name for server in own.compute.servers()}
    image = _image(admin)
    for wanted in plan["servers"]:
        if wanted["name"] not in existing:
            _boot(own, image, wanted)
    return {wanted["name"]: _booted(own, wanted) for wanted in plan["servers"]}


def _image(admin: Any) -> str:
    """Return the image, created in each lab: Glance records the absolute path of its file."""
    image = admin.image.find_image(IMAGE) or admin.image.create_image(
        name=IMAGE,
        container_format="bare",
        disk_format="raw",
        visibility="public",
        data=bytes(1024),
    )
    return str(image.id)


def _boot(own: Any, image: str, wanted: Inputs) -> None:
    own.compute.create_server(
        name=wanted["name"],
        image_id=image,
        flavor_id=own.compute.find_flavor(FLAVOR, ignore_missing=False).id,
        networks=[{"port": _port(own, wanted).id}],
        availability_zone=wanted["zone"],
    )


def _port(own: Any, wanted: Inputs) -> Any:
    """Return the port of the server's first NIC; a killed `up` may have created it."""
    network = own.network.find_network(wanted["network"], ignore_missing=False)
    return own.network.find_port(wanted["name"]) or own.network.create_port(
        name=wanted["name"],
        network_id=network.id,
        fixed_ips=[{"ip_address": address} for address in wanted["addresses"]],
    )


def _booted(own: Any, wanted: Inputs) -> dict[str, str]:
    deadline = time.monotonic() + SERVER_SECONDS
    while True:
        server = own.compute.find_server(wanted["name"], ignore_missing=False)
        server = own.compute.get_server(server.id)
        if server.status == "ACTIVE":
            break
        if server.status == "ERROR" or time.monotonic() > deadline:
            fault: dict[str, Any] = server.fault or {"message": "no fault recorded"}
            raise SystemExit(f"server {wanted['name']} is {server.status}: {fault['message']}")
        time.sleep(0.1)
    port = own.network.find_port(wanted["name"], ignore_missing=False)
    found = {"port": port.id, "mac": port.mac_address, "address": wanted["addresses"][0]}
    return {"id": server.id, **found}


STAGES: Final[Mapping[str, Callable[[Inputs], dict[str, Any]]]] = {
    "identity": identity,
    "cloud": cloud,
    "servers": servers,
}


def main() -> None:
    """Read the stage and its input from standard input, since `ps` shows arguments."""
    plan: dict[str, Any] = json.load(sys.stdin)
    # The process of a killed `up` may still run, and what it creates is not listed yet.
    with Path(os.environ["OS_CLIENT_CONFIG_FILE"]).open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        print(json.dumps(STAGES[plan["stage"]](plan)))


if __name__ == "__main__":
    main()
