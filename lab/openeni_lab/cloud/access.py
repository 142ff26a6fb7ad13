"""Read what the rest of the lab needs to know of its cloud: its servers, and how to be a client."""

import json
from pathlib import Path

from openeni_lab.layout import Layout


def servers_file(lab: Layout) -> Path:
    """Return where the servers are recorded once all of them are ACTIVE."""
    return lab.state / "servers.json"


def servers(lab: Layout) -> dict[str, dict[str, str]]:
    """Return each server's `id`, and its first NIC's `port`, `mac` and `address`, by its name."""
    found: dict[str, dict[str, str]] = json.loads(servers_file(lab).read_text())
    return found


def client_environment(lab: Layout, cloud: str = "openeni") -> dict[str, str]:
    """Return the environment of an OpenStack client inside the lab.

    The catalog's addresses are loopback addresses of the lab, so a client cannot work outside.
    """
    local = "127.0.0.1,localhost"
    return {
        "OS_CLIENT_CONFIG_FILE": str(lab.clouds_yaml),
        "OS_CLOUD": cloud,
        "XDG_CACHE_HOME": str(lab.state / "cache"),
        "no_proxy": local,
        "NO_PROXY": local,
    }
