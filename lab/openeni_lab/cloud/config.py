"""The configuration files of the lab's OpenStack, as text.

The values were found by running these releases (keystone 30, neutron 29, nova 34, placement 16,
glance 33) on one machine without a message broker.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Final
from uuid import NAMESPACE_DNS, uuid5

from openeni_lab import layout
from openeni_lab.cloud.cloud_layout import KEYSTONE_URL, REGION, CloudLayout

Section = Mapping[str, object]
Document = Mapping[str, Section]


def files(cloud: CloudLayout, password: str) -> dict[Path, str]:
    """Return every file but the paste.ini files, which come with the services."""
    return {
        cloud.etc / "keystone/keystone.conf": _text(_keystone(cloud, password)),
        cloud.etc / "placement/placement.conf": _text(_placement(password)),
        cloud.etc / "glance/glance-api.conf": _text(_glance(cloud, password)),
        cloud.etc / "neutron/neutron.conf": _text(_neutron(cloud, password)),
        cloud.etc / "neutron/ml2_conf.ini": _text(_ml2()),
        cloud.etc / "nova/nova.conf": _text(_nova(cloud, password)),
        cloud.folder / "state/nova/compute_id": node_uuid(cloud.hosts[0]),
    }


def folders(cloud: CloudLayout) -> list[Path]:
    """Return the folders that the services expect to exist."""
    names = "state/neutron state/nova images/staging images/tasks lock"
    keys = "etc/keystone/fernet-keys etc/keystone/credential-keys"
    return [cloud.folder / name for name in f"{names} {keys}".split()]


def paste_files(cloud: CloudLayout) -> dict[Path, Path]:
    """Return the WSGI pipelines that come with the services: destination to source."""
    share = cloud.venv / "etc"
    return {
        cloud.etc / "neutron/api-paste.ini": share / "neutron/api-paste.ini",
        cloud.etc / "nova/api-paste.ini": share / "nova/api-paste.ini",
        cloud.etc / "glance/glance-api-paste.ini": share / "glance/glance-api-paste.ini",
    }


def node_uuid(host: str) -> str:
    """Return a compute host's stable id; the virt driver computes the same."""
    return str(uuid5(NAMESPACE_DNS, f"openeni-lab.{host}"))


def _text(document: Document) -> str:
    return "\n".join(
        f"[{name}]\n" + "".join(f"{key} = {value}\n" for key, value in section.items())
        for name, section in document.items()
    )


def _database(name: str, password: str) -> Section:
    address = f"127.0.0.1:{layout.MARIADB_PORT}/{name}?charset=utf8mb4"
    url = f"mysql+pymysql://os:{password}@{address}"
    return {"connection": url, "max_pool_size": 10, "max_overflow": 30}


def _client(user: str, password: str) -> dict[str, object]:
    return {
        "auth_url": KEYSTONE_URL,
        "auth_type": "password",
        "project_domain_id": "default",
        "user_domain_id": "default",
        "project_name": "service",
        "username": user,
        "password": password,
        "region_name": REGION,
    }


def _verifier(user: str, password: str) -> Section:
    """Return a section keystone_authtoken."""
    return {"www_authenticate_uri": KEYSTONE_URL, **_client(user, password)}


# Log to standard error: the lab's init writes one log for each service.
_LOG: Final[Section] = {"use_stderr": "true"}
_QUIET: Final[Document] = {"oslo_messaging_notifications": {"driver": "noop"}}


def _locks(cloud: CloudLayout) -> Document:
    return {"oslo_concurrency": {"lock_path": cloud.folder / "lock"}, **_QUIET}


def _keystone(cloud: CloudLayout, password: str) -> Document:
    keys = cloud.etc / "keystone"
    return {
        "DEFAULT": _LOG,
        "database": _database("keystone", password),
        "token": {"provider": "fernet", "expiration": 86400},
        "fernet_tokens": {"key_repository": keys / "fernet-keys"},
        "fernet_receipts": {
            "key_repository": keys / "fernet-keys"
        },  # the default is in the machine's /etc
        "credential": {"key_repository": keys / "credential-keys"},
        "cache": {"enabled": "true", "backend": "dogpile.cache.memory"},
        "identity": {"password_hash_rounds": 4},
    }


def _placement(password: str) -> Document:
    return {
        "DEFAULT": _LOG,
        "placement_database": _database("placement", password),
        "api": {"auth_strategy": "keystone"},
        "keystone_authtoken": _verifier("placement", password),
    }


def _glance(cloud: CloudLayout, password: str) -> Document:
    images = cloud.folder / "images"
    return {
        "DEFAULT": {"enabled_backends": "store:file", **_LOG},
        "glance_store": {"default_backend": "store"},
        "store": {"filesystem_store_datadir": images},
        "os_glance_staging_store": {"filesystem_store_datadir": images / "staging"},
        "os_glance_tasks_store": {"filesystem_store_datadir": images / "tasks"},
        "database": _database("glance", password),
        "keystone_authtoken": _verifier("glance", password),
        "paste_deploy": {
            "flavor": "keystone",
            "config_file": cloud.etc / "glance/glance-api-paste.ini",
        },
    }


def _neutron(cloud: CloudLayout, password: str) -> Document:
    return {
        "DEFAULT": {
            "state_path": cloud.folder / "state/neutron",
            "transport_url": "fake://",
            "core_plugin": "ml2",
            "service_plugins": "qos",
            "auth_strategy": "keystone",
            "api_paste_config": cloud.etc / "neutron/api-paste.ini",
            "dhcp_agent_notification": "false",
            "notify_nova_on_port_status_changes": "true",
            "notify_nova_on_port_data_changes": "true",
            "send_events_interval": 1,
            "rpc_workers": 0,
            **_LOG,
        },
        "database": _database("neutron", password),
        **_locks(cloud),
        "quotas": {"quota_port": 2000},
        "keystone_authtoken": _verifier("neutron", password),
        "nova": {"endpoint_type": "internal", **_client("neutron", password)},
    }


def _ml2() -> Document:
    return {
        "ml2": {
            "type_drivers": "local,flat,vlan,vxlan",
            "tenant_network_types": "vxlan",
            "mechanism_drivers": "openeni_lab",
            # Without the second extension Neutron accepts tags in POST /ports and ignores them.
            "extension_drivers": "port_security,tag_ports_during_bulk_creation,qos",
        },
        "ml2_type_vxlan": {"vni_ranges": "1:1000"},
        "ml2_type_vlan": {"network_vlan_ranges": "physnet1:100:200"},
        "ml2_type_flat": {"flat_networks": "*"},
    }


def _nova(cloud: CloudLayout, password: str) -> Document:
    return {
        "DEFAULT": {
            "host": cloud.hosts[0],
            "my_ip": "127.0.0.1",
            "state_path": cloud.folder / "state/nova",
            "transport_url": "fake://",
            "compute_driver": "openeni_lab_virt.LabDriver",
            "sync_power_state_interval": -1,
            "shutdown_timeout": 0,
            **_LOG,
        },
        "api": {"auth_strategy": "keystone"},
        "wsgi": {"api_paste_config": cloud.etc / "nova/api-paste.ini"},
        "api_database": _database("nova_api", password),
        "database": _database("nova", password),
        "conductor": {"workers": 1},
        "scheduler": {"workers": 1, "discover_hosts_in_cells_interval": 30},
        "filter_scheduler": {"track_instance_changes": "false"},
        "quota": {"instances": -1, "cores": -1, "ram": -1},
        **_locks(cloud),
        "glance": {"api_servers": f"http://127.0.0.1:{layout.GLANCE_PORT}"},
        "vnc": {"enabled": "false"},
        "spice": {"enabled": "false"},
        "keystone_authtoken": _verifier("nova", password),
        "placement": _client("placement", password),
        "neutron": _client("neutron", password),
        "service_user": {"send_service_user_token": "true", **_client("nova", password)},
    }
