"""Check the readiness of the lab's OpenStack, from inside the lab's network namespace.

An open port does not suffice: uWSGI listens before it has loaded the service. So the check requests
a list from each service, and the compute hosts from Nova. Standard library only, since it runs
often: `python -S -m openeni_lab.cloud.ready SECRETS HOSTS SECONDS NAME...` waits at most SECONDS
for the named services. If some are not ready, it prints them and exits with 1.
"""

import json
import sys
import time
from collections.abc import Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final
from urllib.error import URLError
from urllib.request import ProxyHandler, Request, build_opener

from openeni_lab import layout
from openeni_lab.cloud.cloud_layout import KEYSTONE_URL

ANSWER_SECONDS: Final = 60.0
LISTS: Final = {
    "placement": f"http://127.0.0.1:{layout.PLACEMENT_PORT}/resource_providers",
    "neutron": f"http://127.0.0.1:{layout.NEUTRON_PORT}/v2.0/networks",
    "glance": f"http://127.0.0.1:{layout.GLANCE_PORT}/v2/images",
}
NOVA: Final = f"http://127.0.0.1:{layout.NOVA_PORT}/v2.1"

_open = build_opener(ProxyHandler({})).open


class ReadinessProbe:
    """Checks each of `names` (services, and `nova-compute`) until it has answered once."""

    def __init__(self, password: str, hosts: int, names: Sequence[str]) -> None:
        self._password = password
        self._hosts = hosts
        self._token = ""
        self._missing = list(names)

    def missing(self) -> list[str]:
        """Return the names that have not answered yet."""
        if not self._token:
            self._token = _token(self._password)
        if self._token:
            self._missing = [name for name in self._missing if not self._answers(name)]
        return self._missing

    def _answers(self, name: str) -> bool:
        if name == "keystone":
            return True
        if name == "nova":
            return _get(f"{NOVA}/servers", self._token) is not None
        if name == "nova-compute":
            return self._computes() >= self._hosts
        return _get(LISTS[name], self._token) is not None

    def _computes(self) -> int:
        """Return the number of compute hosts that are up and that cells have discovered."""
        services = _get(f"{NOVA}/os-services?binary=nova-compute", self._token) or {}
        hypervisors = _get(f"{NOVA}/os-hypervisors", self._token) or {}
        up = [one for one in services.get("services", []) if one["state"] == "up"]
        return min(len(up), len(hypervisors.get("hypervisors", [])))


def _token(password: str) -> str:
    user = {"name": "admin", "domain": {"id": "default"}, "password": password}
    scope = {"project": {"name": "admin", "domain": {"id": "default"}}}
    identity = {"methods": ["password"], "password": {"user": user}}
    body = json.dumps({"auth": {"identity": identity, "scope": scope}}).encode()
    request = Request(  # noqa: S310 - a constant http:// address
        f"{KEYSTONE_URL}/auth/tokens", body, {"Content-Type": "application/json"}
    )
    try:
        with _open(request, timeout=ANSWER_SECONDS) as answer:
            return str(answer.headers["X-Subject-Token"])
    except (URLError, OSError):
        return ""


def _get(url: str, token: str) -> dict[str, Any] | None:
    headers = {"X-Auth-Token": token, "Accept": "application/json"}
    request = Request(url, headers=headers)  # noqa: S310 - a constant http:// address
    try:
        with _open(request, timeout=ANSWER_SECONDS) as answer:
            body: dict[str, Any] = json.load(answer)
            return body if answer.status == HTTPStatus.OK else None
    except (URLError, OSError, ValueError):
        return None


def main(secrets: str, hosts: str, seconds: str, *names: str) -> int:
    """Return 0 if everything answers in time."""
    probe = ReadinessProbe(json.loads(Path(secrets).read_text())["password"], int(hosts), names)
    deadline = time.monotonic() + float(seconds)
    while missing := probe.missing():
        if time.monotonic() > deadline:
            print(", ".join(missing))
            return 1
        time.sleep(0.1)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
