"""Read what a runtime adds to the configuration for one pod: host ports and bandwidth. Pure.

Each is decoded when it is asked for, so that a call that does not need it cannot fail for it. The
keys are those of containernetworking/cni's CONVENTIONS.md in any case: containerd sends `HostPort`
(go-cni's types have no JSON names), CRI-O `hostPort`, and plugins in Go read both.
"""

import ipaddress
from typing import Annotated, Any, Final, TypeVar

import msgspec
from msgspec import Meta, Struct

from openeni_crds.meta import DECODE_ERRORS
from openeni_nodeagent.cni.protocol import CNIError, Code
from openeni_nodeagent.event_reasons import PodReason
from openeni_nodeagent.pod_options import (
    UNLIMITED,
    Bandwidth,
    PortMapping,
    RateLimit,
    Transport,
    first_of_each,
)

# A pod that needs more wants a Service or the node's own network: docs/decisions/0083
MOST_HOST_PORTS: Final = 256
_PORTS: Final = "runtimeConfig.portMappings"
_KEYS: Final = {
    key.lower(): key
    for key in (
        *("hostPort", "containerPort", "protocol", "hostIP"),
        *("ingressRate", "ingressBurst", "egressRate", "egressBurst"),
    )
}

_Port = Annotated[int, Meta(ge=1, le=65535)]
_Rate = Annotated[int, Meta(ge=0, le=(1 << 63) - 1)]
_Burst = Annotated[int, Meta(ge=0, le=8 * ((1 << 32) - 1))]  # tc counts bytes in 32 bits


class _Mapping(Struct):
    host_port: Annotated[int, Meta(ge=0, le=65535)] = msgspec.field(name="hostPort", default=0)
    container_port: _Port = msgspec.field(name="containerPort", default=0)
    protocol: str = Transport.TCP
    host_ip: str = msgspec.field(name="hostIP", default="")


class _Limits(Struct, rename="camel"):
    ingress_rate: _Rate = 0
    ingress_burst: _Burst = 0
    egress_rate: _Rate = 0
    egress_burst: _Burst = 0


class _Mappings(Struct):
    mappings: tuple[dict[str, Any], ...] | None = msgspec.field(name="portMappings", default=None)


class _Bandwidth(Struct):
    bandwidth: dict[str, Any] | None = None


# At import: `openeni_crds.meta.decodable`
_mappings_decoder: Final = msgspec.json.Decoder(_Mappings)
_bandwidth_decoder: Final = msgspec.json.Decoder(_Bandwidth)
_mapping_decoder: Final = msgspec.json.Decoder(_Mapping)
_limits_decoder: Final = msgspec.json.Decoder(_Limits)
_S = TypeVar("_S", bound=Struct)


def port_mappings(runtime_config: bytes) -> tuple[PortMapping, ...]:
    """Return the host ports of `Config.runtime_config`. Raises CNIError that names the entry."""
    if not runtime_config:
        return ()
    found: list[PortMapping] = []
    given = _decode(_mappings_decoder, runtime_config, "runtimeConfig").mappings
    for number, entry in enumerate(given or ()):
        where = f"{_PORTS}[{number}]"
        mapping = _decode(_mapping_decoder, _with_known_keys(entry), where)
        if mapping.host_port:  # a port of the container alone is no mapping
            found.append(_mapping(mapping, where))
        if len(found) > MOST_HOST_PORTS:
            raise _too_many_host_ports()
    return first_of_each(found)


def bandwidth(runtime_config: bytes) -> Bandwidth:
    """Return the limits of `Config.runtime_config`. Raises CNIError that names the field."""
    if not runtime_config:
        return UNLIMITED
    entry = _decode(_bandwidth_decoder, runtime_config, "runtimeConfig").bandwidth
    limits = _decode(_limits_decoder, _with_known_keys(entry or {}), "runtimeConfig.bandwidth")
    return Bandwidth(
        _limit("ingress", limits.ingress_rate, limits.ingress_burst),
        _limit("egress", limits.egress_rate, limits.egress_burst),
    )


def _mapping(given: _Mapping, where: str) -> PortMapping:
    if not given.container_port:
        raise _invalid(where, f"hostPort {given.host_port} has no containerPort to lead to")
    try:
        transport = Transport(given.protocol.lower())
        host_ip = _host_ip(given.host_ip) if given.host_ip else ""
    except ValueError as error:
        raise _invalid(where, str(error)) from None
    return PortMapping(given.host_port, given.container_port, transport, host_ip)


def _host_ip(given: str) -> str:
    """Return an address in its one form. Raises ValueError."""
    address = ipaddress.ip_address(given)
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.scope_id is not None:
        raise ValueError(f"hostIP {address} has a zone, which no host port can have")
    # The address in it is what Go's net.ParseIP reads, so runtimes and portmap, too
    return str(address.ipv4_mapped or address)


def _limit(direction: str, rate: int, burst: int) -> RateLimit | None:
    if bool(rate) != bool(burst):
        both = f"{direction}Rate and {direction}Burst"
        raise _invalid("runtimeConfig.bandwidth", f"{both} must both be set, or neither")
    return RateLimit(rate, burst) if rate else None


def _with_known_keys(entry: dict[str, Any]) -> bytes:
    """Return an entry with its keys in the case of the conventions."""
    return msgspec.json.encode({_KEYS.get(key.lower(), key): v for key, v in entry.items()})


def _decode(decoder: "msgspec.json.Decoder[_S]", content: bytes, where: str) -> _S:
    try:
        return decoder.decode(content)
    except DECODE_ERRORS as error:
        raise _invalid(where, str(error)) from None


def _too_many_host_ports() -> CNIError:
    return _invalid(
        _PORTS,
        f"the pod has more than {MOST_HOST_PORTS} ports with a hostPort, and openeni gives one pod "
        "no more: spread them over several pods, use a Service of type LoadBalancer or NodePort, "
        "or hostNetwork: true",
        PodReason.TOO_MANY_HOST_PORTS,
    )


def _invalid(where: str, cause: str, reason: PodReason | None = None) -> CNIError:
    message = f"{where} of the network configuration: {cause}"
    return CNIError(Code.INVALID_CONFIG, message, reason=reason)
