"""The operator's settings, with defaults and bounds, read once from the environment."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

from openeni_operator.cloud.admission import SLOT_SECONDS

LOG_LEVELS: Final = ("DEBUG", "INFO", "WARNING", "ERROR")
DEFAULT_CLOUDS_FILE: Final = "/etc/openstack/clouds.yaml"
MAX_WORKERS: Final = 64
LOOPBACK: Final = IPv4Address("127.0.0.1")
Address = IPv4Address | IPv6Address


class OrphanMode(StrEnum):
    """What is done about ports of this cluster that have no ENI and that nobody uses."""

    REPORT = "Report"
    DELETE = "Delete"


class SettingsError(Exception):
    """A setting is invalid; the message is one line that names the variable."""


@dataclass(frozen=True)
class Settings:
    """Durations are in seconds, rates in calls per second."""

    clouds_file: str = DEFAULT_CLOUDS_FILE
    workers: int = 16
    resync: float = 300
    log_level: str = "INFO"
    namespace: str = ""  # of the agents' pods; "" if they are not the operator's to look at
    pod: str = ""  # its name, to be elected by; "" or no namespace: it is the only operator
    probe_address: Address = LOOPBACK
    probe_port: int = 9441  # 0 disables the probes
    metrics: bool = False  # serve them beside the probes, to everybody who can reach the address
    cloud_timeout: float = 120  # an attach is synchronous and can take a minute on slow clouds
    cloud_writes: float = 5
    cloud_reads: float = 20
    cloud_attaches: float = 1
    orphans: OrphanMode = OrphanMode.REPORT

    @property
    def threads(self) -> int:
        """The threads of each cloud: as many as calls of half a second need to use the limits."""
        calls = self.cloud_writes + self.cloud_reads + self.cloud_attaches
        return max(self.workers, min(MAX_WORKERS, math.ceil(calls * SLOT_SECONDS)))


def from_environment(environment: Mapping[str, str]) -> Settings:
    """Read the settings. Raises SettingsError for the first invalid one."""
    default = Settings()
    reader = _Reader(environment)
    return Settings(
        clouds_file=environment.get("OPENENI_CLOUDS_FILE")
        or environment.get("OS_CLIENT_CONFIG_FILE")
        or default.clouds_file,
        workers=reader.integer("OPENENI_WORKERS", default.workers, 1, MAX_WORKERS),
        resync=reader.number("OPENENI_RESYNC_SECONDS", default.resync, 5, 3600),
        log_level=reader.choice("OPENENI_LOG_LEVEL", default.log_level, LOG_LEVELS),
        namespace=environment.get("OPENENI_NAMESPACE", ""),
        pod=environment.get("OPENENI_POD", ""),
        probe_address=reader.address("OPENENI_PROBE_ADDRESS", default.probe_address),
        probe_port=reader.integer("OPENENI_PROBE_PORT", default.probe_port, 0, 65535),
        metrics=reader.boolean("OPENENI_METRICS", default=default.metrics),
        cloud_timeout=reader.number("OPENENI_CLOUD_TIMEOUT_SECONDS", default.cloud_timeout, 5, 600),
        orphans=OrphanMode(reader.choice("OPENENI_ORPHANS", default.orphans, tuple(OrphanMode))),
        cloud_writes=reader.number(
            "OPENENI_CLOUD_WRITES_PER_SECOND", default.cloud_writes, 0.1, 1000
        ),
        cloud_reads=reader.number("OPENENI_CLOUD_READS_PER_SECOND", default.cloud_reads, 0.1, 1000),
        cloud_attaches=reader.number(
            "OPENENI_CLOUD_ATTACHES_PER_SECOND", default.cloud_attaches, 0.1, 1000
        ),
    )


@dataclass(frozen=True)
class _Reader:
    environment: Mapping[str, str]

    def number(self, name: str, default: float, low: float, high: float) -> float:
        text = self.environment.get(name, "").strip()
        if not text:
            return default
        try:
            value = float(text)
        except ValueError:
            value = low - 1
        if not low <= value <= high:
            raise SettingsError(
                f"{name} must be a number between {low:g} and {high:g}, not {text!r}"
            )
        return value

    def integer(self, name: str, default: int, low: int, high: int) -> int:
        value = self.number(name, default, low, high)
        if value != int(value):
            raise SettingsError(f"{name} must be a whole number, not {value:g}")
        return int(value)

    def address(self, name: str, default: Address) -> Address:
        text = self.environment.get(name, "").strip()
        try:
            return ip_address(text) if text else default
        except ValueError:
            raise SettingsError(f"{name} must be an IP address, not {text!r}") from None

    def boolean(self, name: str, *, default: bool) -> bool:
        text = self.environment.get(name, "").strip().lower()
        if text not in ("", "true", "false"):
            raise SettingsError(f"{name} must be true or false, not {text!r}")
        return text == "true" if text else default

    def choice(self, name: str, default: str, allowed: tuple[str, ...]) -> str:
        text = self.environment.get(name, "").strip() or default
        found = next((word for word in allowed if word.lower() == text.lower()), None)
        if found is None:
            raise SettingsError(f"{name} must be one of {', '.join(allowed)}, not {text!r}")
        return found
