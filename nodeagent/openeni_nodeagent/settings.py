"""The agent's settings, read from its environment: every name and default. Pure."""

import ipaddress
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Final

from openeni_crds.names import MARK_BITS, MARK_MASK, RUN_FOLDER

_MARK_BITS: Final = 32  # of a packet's mark
_MOST_PORTS: Final = 65535
LOOPBACK: Final = IPv4Address("127.0.0.1")
_FLAGS: Final = ("true", "false")
_LEVELS: Final = ("DEBUG", "INFO", "WARNING", "ERROR")
FOLDERS: Final = {
    "OPENENI_RUN": RUN_FOLDER,  # journal, socket, queue, marker: a tmpfs of the host
    "OPENENI_CNI_BIN_DIR": "/opt/cni/bin",
    "OPENENI_CNI_CONF_DIR": "/etc/cni/net.d",
    "OPENENI_CNI_EXECUTABLE": "/usr/local/libexec/openeni",  # copied to the bin folder
    "OPENENI_NETWORKMANAGER_DIR": "/run/NetworkManager/conf.d",
    "OPENENI_NETWORKD_DIR": "/run/systemd/network",
    "OPENENI_NETWORKD_CONF_DIR": "/run/systemd/networkd.conf.d",
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
    networkd_conf: Path
    udev: Path
    bus: Path
    log_level: str
    local_dns: tuple[str, ...]
    service_cidrs: tuple[str, ...]  # empty: read from the cluster's ServiceCIDR objects
    mark_mask: int
    flow_offload: bool
    metrics_address: IPv4Address | IPv6Address
    metrics_port: int  # 0: they are not served

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
    mask = _mark_mask(environment, wrong)
    offload = _flag(environment, "OPENENI_FLOW_OFFLOAD", wrong)
    metrics = _metrics(environment, wrong)
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
        paths["OPENENI_NETWORKD_CONF_DIR"],
        paths["OPENENI_UDEV_DIR"],
        paths["OPENENI_BUS"],
        level,
        dns,
        cidrs,
        mask,
        offload,
        *metrics,
    )


def _metrics(
    environment: Mapping[str, str], wrong: list[str]
) -> tuple[IPv4Address | IPv6Address, int]:
    """Return the address and the port that metrics are served on."""
    address: IPv4Address | IPv6Address = LOOPBACK
    given = environment.get("OPENENI_METRICS_ADDRESS")
    port = environment.get("OPENENI_METRICS_PORT") or "0"
    try:
        address = ipaddress.ip_address(given) if given else LOOPBACK
    except ValueError as error:
        wrong.append(f"OPENENI_METRICS_ADDRESS: {error}")
    if not port.isdecimal() or int(port) > _MOST_PORTS:
        wrong.append(f"OPENENI_METRICS_PORT {port!r} is not a port; 0 serves no metrics")
        port = "0"
    return address, int(port)


def _mark_mask(environment: Mapping[str, str], wrong: list[str]) -> int:
    given = environment.get("OPENENI_MARK_MASK") or f"{MARK_MASK:#010x}"
    try:
        mask = int(given, 0)
    except ValueError:
        mask = 0
    ones = f"{mask:b}".rstrip("0")
    if not 0 < mask < 1 << _MARK_BITS or "0" in ones or len(ones) < MARK_BITS:
        wrong.append(
            f"OPENENI_MARK_MASK {given!r} is not a mask of {MARK_BITS} or more neighbouring bits "
            f"of {_MARK_BITS}, like {MARK_MASK:#010x}"
        )
    return mask


def _flag(environment: Mapping[str, str], name: str, wrong: list[str]) -> bool:
    """Return False if it is `false`; note what is neither `true` nor `false` as wrong."""
    given = environment.get(name) or "true"
    if given not in _FLAGS:
        wrong.append(f"{name} {given!r} is neither true nor false")
    return given != "false"


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
