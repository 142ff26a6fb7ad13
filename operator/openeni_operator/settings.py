"""The operator's settings, with defaults and bounds, read once from the environment."""

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

LOG_LEVELS: Final = ("DEBUG", "INFO", "WARNING", "ERROR")
DEFAULT_CLOUDS_FILE: Final = "/etc/openstack/clouds.yaml"
LOOPBACK: Final = IPv4Address("127.0.0.1")
Address = IPv4Address | IPv6Address


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
    cloud_timeout: float = 120  # an attach is synchronous and can take a minute on slow clouds
    cloud_writes: float = 5
    cloud_reads: float = 20
    cloud_attaches: float = 1


def from_environment(environment: Mapping[str, str]) -> Settings:
    """Read the settings. Raises SettingsError for the first invalid one."""
    default = Settings()
    reader = _Reader(environment)
    return Settings(
        clouds_file=environment.get("OPENENI_CLOUDS_FILE")
        or environment.get("OS_CLIENT_CONFIG_FILE")
        or default.clouds_file,
        workers=reader.integer("OPENENI_WORKERS", default.workers, 1, 64),
        resync=reader.number("OPENENI_RESYNC_SECONDS", default.resync, 5, 3600),
        log_level=reader.choice("OPENENI_LOG_LEVEL", default.log_level, LOG_LEVELS),
        namespace=environment.get("OPENENI_NAMESPACE", ""),
        pod=environment.get("OPENENI_POD", ""),
        probe_address=reader.address("OPENENI_PROBE_ADDRESS", default.probe_address),
        probe_port=reader.integer("OPENENI_PROBE_PORT", default.probe_port, 0, 65535),
        cloud_timeout=reader.number("OPENENI_CLOUD_TIMEOUT_SECONDS", default.cloud_timeout, 5, 600),
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

    def choice(self, name: str, default: str, allowed: tuple[str, ...]) -> str:
        text = self.environment.get(name, "").strip().upper() or default
        if text not in allowed:
            raise SettingsError(f"{name} must be one of {', '.join(allowed)}, not {text!r}")
        return text
