"""The cloud of a lab as its administrators see it, by OpenStack's SDK."""

from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, Final

import openstack as sdk
import pytest

from openeni_crds.names import port_name, port_tags
from openeni_lab.cloud import access
from openeni_lab.layout import CLOUD_PROJECT, PODS_NETWORK
from openeni_lab.product.installed_lab import InstalledLab
from openeni_testing.lab.inside_network import network_of

OWN: Final = "openeni-alerts"  # what tests make is called so
_OLD: Final = """
UPDATE neutron.standardattributes SET created_at = created_at - INTERVAL 1 HOUR
WHERE id = (SELECT standard_attr_id FROM neutron.ports WHERE id = '{}');
"""


@dataclass(frozen=True)
class LabCloud:
    """Calls of the ENIs' project, and of the cloud's administrators."""

    installed: InstalledLab

    def create_subnet(self, cidr: str, first: str, last: str, *, dhcp: bool = False) -> str:
        """Create a subnet on a network of its own; return its name."""
        name = f"{OWN}-{cidr.partition('/')[0]}"
        with self._own() as own:
            network = own.network.create_network(name=name)
            own.network.create_subnet(
                name=name,
                network_id=network.id,
                ip_version=4,
                cidr=cidr,
                enable_dhcp=dhcp,
                allocation_pools=[{"start": first, "end": last}],
            )
        return name

    def change_subnet(self, name: str, **changes: Any) -> None:
        with self._own() as own:
            own.network.update_subnet(own.network.find_subnet(name), **changes)

    def create_groups(self, *names: str) -> None:
        """Create security groups with the tag `OWN`."""
        with self._own() as own:
            for name in names:
                own.network.set_tags(own.network.create_security_group(name=name), [OWN])

    def tag_group(self, name: str, *tags: str) -> None:
        with self._own() as own:
            own.network.set_tags(
                own.network.find_security_group(name, ignore_missing=False), list(tags)
            )

    def create_orphan(self, uid: str) -> None:
        """Create a port as of an ENI that is gone; it is an hour old."""
        cluster = self.installed.api.request("GET", "/api/v1/namespaces/kube-system")
        cluster_id = cluster["metadata"]["uid"]
        with self._own() as own:
            network = own.network.find_network(PODS_NETWORK)
            name = port_name(cluster_id, uid)
            port = own.network.create_port(network_id=network.id, name=name, description=OWN)
            own.network.set_tags(port, list(port_tags(cluster_id, uid)))
        socket = self.installed.lab.layout.state / "openstack" / "mysql.sock"
        client = ["mariadb", "--no-defaults", "--skip-ssl", "--user=root", f"--socket={socket}"]
        self.installed.lab.machine.check(client, stdin=_OLD.format(port.id).encode())

    def remove_orphans(self) -> None:
        with self._own() as own:
            for port in own.network.ports(description=OWN):
                own.network.delete_port(port)

    def set_port_quota(self, share: float) -> None:
        """Limit the project's ports so that this share of the quota is used."""
        with self._own() as own, self._admin() as admin:
            used = sum(1 for _ in own.network.ports(project_id=own.current_project_id))
            admin.network.update_quota(own.current_project_id, ports=int(used / share))

    def expiring_credential(self, expires: str) -> dict[str, str]:
        """Create an application credential; return what a clouds.yaml needs of it."""
        with self._own() as own:
            made = own.identity.create_application_credential(
                own.current_user_id, OWN, expires_at=expires
            )
        return {
            "application_credential_id": made.id,
            "application_credential_secret": made.secret,
        }

    def clean(self) -> None:
        """Remove what tests have made, the quota too."""
        self.remove_orphans()
        with self._own() as own, self._admin() as admin:
            admin.network.delete_quota(own.current_project_id)
            for network in own.network.networks():
                if network.name.startswith(OWN):
                    own.network.delete_network(network)
            for group in own.network.security_groups():
                if group.name.startswith(OWN):
                    own.network.delete_security_group(group)
            for credential in own.identity.application_credentials(own.current_user_id):
                if credential.name == OWN:
                    own.identity.delete_application_credential(own.current_user_id, credential)

    def _own(self) -> AbstractContextManager[Any]:
        return _connected(self.installed, CLOUD_PROJECT)

    def _admin(self) -> AbstractContextManager[Any]:
        return _connected(self.installed, "admin")


@contextmanager
def _connected(installed: InstalledLab, cloud: str) -> Generator[Any]:
    with pytest.MonkeyPatch.context() as patch, network_of(installed.lab.machine):
        for name, value in access.client_environment(installed.lab.layout, cloud).items():
            patch.setenv(name, value)
        with sdk.connect() as connection:
            yield connection
