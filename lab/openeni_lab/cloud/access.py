"""Read what the rest of the lab needs to know of its cloud: its servers, and how to be a client."""

import json
from pathlib import Path
from typing import Any

import yaml

from openeni_lab.cloud.cloud_layout import PUBLIC_KEYSTONE_URL
from openeni_lab.layout import Layout


def servers_file(lab: Layout) -> Path:
    """Return where the servers are recorded once all of them are ACTIVE."""
    return lab.state / "servers.json"


def servers(lab: Layout) -> dict[str, dict[str, str]]:
    """Return each server's `id`, and its first NIC's `port`, `mac` and `address`, by its name."""
    found: dict[str, dict[str, str]] = json.loads(servers_file(lab).read_text())
    return found


def operator_cloud(lab: Layout) -> dict[str, Any]:
    """Return the entry `openeni` of clouds.yaml as an operator on a node needs it."""
    known = yaml.safe_load(lab.clouds_yaml.read_text())["clouds"]["openeni"]
    return {
        **known,
        "interface": "public",
        "auth": {**known["auth"], "auth_url": PUBLIC_KEYSTONE_URL},
    }


def client_environment(lab: Layout, cloud: str = "openeni") -> dict[str, str]:
    """Return the environment of an OpenStack client inside the lab.

    The catalog's addresses are addresses of the lab's network, so a client cannot work outside.
    """
    local = "127.0.0.1,localhost"
    return {
        "OS_CLIENT_CONFIG_FILE": str(lab.clouds_yaml),
        "OS_CLOUD": cloud,
        "XDG_CACHE_HOME": str(lab.state / "cache"),
        "no_proxy": local,
        "NO_PROXY": local,
    }
