"""The answers to CNI calls: the result of ADD, and errors, in the format of each version. Pure.

The format of older results is in the specification at the tags spec-v0.4.0 and spec-v1.0.0.
"""

from dataclasses import dataclass
from typing import Any, Final

import msgspec

from openeni_nodeagent.cni.protocol import CNIError

_SCOPE_LINK: Final = 253  # RT_SCOPE_LINK of rtnetlink.h


@dataclass(frozen=True)
class ResultInterface:
    name: str
    mac: str
    sandbox: str = ""  # path of the pod's namespace; "" for the host's end
    mtu: int = 0


@dataclass(frozen=True)
class ResultRoute:
    destination: str
    gateway: str = ""


@dataclass(frozen=True)
class AddResult:
    """The result of ADD: its interfaces, one address and gateway for each family, routes."""

    host: ResultInterface | None  # None with ipvlan: the host's slave is not of this ADD
    pod: ResultInterface
    addresses: tuple[str, ...]
    gateways: tuple[str, ...]  # one for each of `addresses`; "" if none is needed
    routes: tuple[ResultRoute, ...]


def encode_result(version: str, result: AddResult) -> bytes:
    """Encode a result in the format of the configuration's version."""
    listed = [interface for interface in (result.host, result.pod) if interface]
    ips: list[dict[str, Any]] = []
    for address, gateway in zip(result.addresses, result.gateways, strict=True):
        six = ":" in address
        ip: dict[str, Any] = {
            "address": f"{address}/{128 if six else 32}",
            "interface": listed.index(result.pod),
        }
        if gateway:
            ip["gateway"] = gateway
        if version == "0.4.0":
            ip["version"] = "6" if six else "4"
        ips.append(ip)
    return msgspec.json.encode(
        {
            "cniVersion": version,
            "interfaces": [_interface(interface, version) for interface in listed],
            "ips": ips,
            "routes": [_route(route, version) for route in result.routes],
            "dns": {},
        }
    )


def encode_error(version: str, error: CNIError) -> bytes:
    body = {"cniVersion": version, "code": int(error.code), "msg": error.message}
    return msgspec.json.encode(body | ({"details": error.details} if error.details else {}))


def _interface(interface: ResultInterface, version: str) -> dict[str, Any]:
    body: dict[str, Any] = {"name": interface.name, "mac": interface.mac}
    if interface.sandbox:
        body["sandbox"] = interface.sandbox
    if interface.mtu and version == "1.1.0":
        body["mtu"] = interface.mtu
    return body


def _route(route: ResultRoute, version: str) -> dict[str, Any]:
    body: dict[str, Any] = {"dst": route.destination}
    if route.gateway:
        body["gw"] = route.gateway
    elif version == "1.1.0" and ":" not in route.destination:  # IPv6 has one scope alone
        body["scope"] = _SCOPE_LINK
    return body
