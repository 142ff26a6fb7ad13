"""The agent's settings, read from its environment: every name and default. Pure."""

import ipaddress
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from openeni_crds.names import RUN_FOLDER

_LEVELS: Final = ("DEBUG", "INFO", "WARNING", "ERROR")
FOLDERS: Final = {
    "OPENENI_RUN": RUN_FOLDER,  # journal, socket, queue, marker: a tmpfs of the host
    "OPENENI_CNI_BIN_DIR": "/opt/cni/bin",
    "OPENENI_CNI_CONF_DIR": "/etc/cni/net.d",
    "OPENENI_CNI_EXECUTABLE": "/usr/local/libexec/openeni",  # copied to the bin folder
    "OPENENI_NETWORKMANAGER_DIR": "/run/NetworkManager/conf.d",
    "OPENENI_NETWORKD_DIR": "/run/systemd/network",
    "OPENENI_UDEV_DIR": "/run/udev/rules.d",
    "OPENENI_BUS": "/run/dbus/system_bus_socket",
}


class SettingsError(Exception):
    """One line with everything that is wrong in the environment."""


@dataclass(frozen=True)
class Settings:
    node: str
    run: Path
    bin_folder: Path
    conf_folder: Path
    executable: Path
    networkmanager: Path
    networkd: Path
    udev: Path
    bus: Path
    log_level: str
    local_dns: tuple[str, ...]
    service_cidrs: tuple[str, ...]  # empty: read from the cluster's ServiceCIDR objects

    @property
    def socket(self) -> Path:
        return self.run / "cni.sock"

    @property
    def queue(self) -> Path:
        return self.run / "queue"

    @property
    def journal(self) -> Path:
        return self.run / "journal"

    @property
    def served(self) -> Path:
        return self.run / "served"  # openeni.c looks for it, too


def from_environment(environment: Mapping[str, str]) -> Settings:
    """Read the environment. Raises SettingsError."""
    wrong: list[str] = []
    node = environment.get("NODE_NAME", "")
    if not node:
        wrong.append("NODE_NAME is missing: give it by fieldRef spec.nodeName")
    paths: dict[str, Path] = {}
    for name, default in FOLDERS.items():
        paths[name] = Path(environment.get(name) or default)
        if not paths[name].is_absolute():
            wrong.append(f"{name} {str(paths[name])!r} is not an absolute path")
    level = environment.get("OPENENI_LOG_LEVEL", "").upper() or "INFO"
    if level not in _LEVELS:
        wrong.append(f"OPENENI_LOG_LEVEL {level!r} is not one of {', '.join(_LEVELS)}")
    dns = _items(environment, "OPENENI_LOCAL_DNS", ipaddress.ip_address, wrong)
    cidrs = _items(environment, "OPENENI_SERVICE_CIDRS", _network, wrong)
    if wrong:
        raise SettingsError("; ".join(wrong))
    return Settings(
        node,
        paths["OPENENI_RUN"],
        paths["OPENENI_CNI_BIN_DIR"],
        paths["OPENENI_CNI_CONF_DIR"],
        paths["OPENENI_CNI_EXECUTABLE"],
        paths["OPENENI_NETWORKMANAGER_DIR"],
        paths["OPENENI_NETWORKD_DIR"],
        paths["OPENENI_UDEV_DIR"],
        paths["OPENENI_BUS"],
        level,
        dns,
        cidrs,
    )


def _items(
    environment: Mapping[str, str], name: str, parse: Callable[[str], object], wrong: list[str]
) -> tuple[str, ...]:
    found: list[str] = []
    for item in filter(None, map(str.strip, environment.get(name, "").split(","))):
        try:
            found.append(str(parse(item)))
        except ValueError as error:
            wrong.append(f"{name}: {error}")
    return tuple(found)


def _network(text: str) -> object:
    return ipaddress.ip_network(text, strict=False)
