"""The CNI specification 1.1 as values: requests, results and errors, for versions 0.4.0 to 1.1.0.

Source: https://www.cni.dev/docs/spec/ (version 1.1.0). The format of older results is in the same
document at the tags spec-v0.4.0 and spec-v1.0.0.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta, Struct

VERSIONS: Final = ("0.4.0", "1.0.0", "1.1.0")
_CONTAINER_ID: Final = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.\-]*")
_INTERFACE: Final = re.compile(r"[^\s/:]{1,15}")  # IFNAMSIZ, and what the kernel refuses


class Command(StrEnum):
    ADD = "ADD"
    DEL = "DEL"
    CHECK = "CHECK"
    GC = "GC"
    STATUS = "STATUS"


class Code(IntEnum):
    """Error codes of the specification; from 100 on a plugin's own."""

    INCOMPATIBLE_VERSION = 1
    UNKNOWN_CONTAINER = 3
    INVALID_ENVIRONMENT = 4
    IO = 5
    DECODE = 6
    INVALID_CONFIG = 7
    TRY_AGAIN = 11
    UNHEALTHY = 100  # CHECK found a difference
    INTERNAL = 999


class CNIError(Exception):
    """An error for the runtime, which shows it in the pod's events: one line, no traceback."""

    def __init__(self, code: Code, message: str, details: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.details = details


class GCAttachment(Struct, frozen=True):
    """One entry of `cni.dev/valid-attachments`, the runtime's list for GC."""

    container_id: str = msgspec.field(name="containerID")
    interface: str = msgspec.field(name="ifname")


class ResultIP(Struct, frozen=True):
    address: str


class PrevResult(Struct, frozen=True):
    ips: tuple[ResultIP, ...] = ()


class Config(Struct, frozen=True):
    """The fields of the network configuration that openeni reads; others are ignored."""

    cni_version: str = msgspec.field(name="cniVersion", default="")
    name: Annotated[str, Meta(max_length=256)] = ""
    prev_result: PrevResult | None = msgspec.field(name="prevResult", default=None)
    attachments: tuple[GCAttachment, ...] | None = msgspec.field(
        name="cni.dev/valid-attachments", default=None
    )


_config_decoder: Final = msgspec.json.Decoder(Config)  # at import: `openeni_crds.meta.decodable`


@dataclass(frozen=True)
class Request:
    """One call of the runtime; fields that the command does not need may be ""."""

    command: Command
    container_id: str
    interface: str
    netns: str
    pod_uid: str
    pod_namespace: str
    pod_name: str
    config: Config


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
    """The result of ADD: both interfaces, one address and gateway for each family, routes."""

    host: ResultInterface
    pod: ResultInterface
    addresses: tuple[str, ...]
    gateways: tuple[str, ...]  # one for each of `addresses`; "" if none is needed
    routes: tuple[ResultRoute, ...]


def parse(environment: Mapping[str, str], stdin: bytes) -> Request:
    """Parse one call. Raises CNIError that names the variable or field at fault."""
    try:
        command = Command(environment.get("CNI_COMMAND", ""))
    except ValueError:
        raise _bad("CNI_COMMAND", environment.get("CNI_COMMAND", "")) from None
    config = _config(stdin)
    arguments = _arguments(environment.get("CNI_ARGS", ""))
    request = Request(
        command,
        container_id=environment.get("CNI_CONTAINERID", ""),
        interface=environment.get("CNI_IFNAME", ""),
        netns=environment.get("CNI_NETNS", ""),
        pod_uid=arguments.get("K8S_POD_UID", ""),
        pod_namespace=arguments.get("K8S_POD_NAMESPACE", ""),
        pod_name=arguments.get("K8S_POD_NAME", ""),
        config=config,
    )
    _check(request)
    return request


def encode_result(version: str, result: AddResult) -> bytes:
    """Encode a result in the format of the configuration's version."""
    interfaces = [_interface(i, version) for i in (result.host, result.pod)]
    ips: list[dict[str, Any]] = []
    for address, gateway in zip(result.addresses, result.gateways, strict=True):
        six = ":" in address
        ip: dict[str, Any] = {"address": f"{address}/{128 if six else 32}", "interface": 1}
        if gateway:
            ip["gateway"] = gateway
        if version == "0.4.0":
            ip["version"] = "6" if six else "4"
        ips.append(ip)
    routes = [
        {"dst": r.destination} | ({"gw": r.gateway} if r.gateway else {}) for r in result.routes
    ]
    return msgspec.json.encode(
        {"cniVersion": version, "interfaces": interfaces, "ips": ips, "routes": routes, "dns": {}}
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


def _config(stdin: bytes) -> Config:
    try:
        config = _config_decoder.decode(stdin)
    except msgspec.MsgspecError as error:
        raise CNIError(Code.DECODE, f"the network configuration is invalid: {error}") from None
    if config.cni_version not in VERSIONS:
        raise CNIError(
            Code.INCOMPATIBLE_VERSION,
            f"cniVersion {config.cni_version!r} is not one of {', '.join(VERSIONS)}",
        )
    return config


def _arguments(text: str) -> dict[str, str]:
    pairs = (item.partition("=") for item in text.split(";") if item)
    return {key: value for key, _, value in pairs}


def _check(request: Request) -> None:
    if request.command == Command.STATUS:
        return
    if not request.config.name:
        raise CNIError(Code.INVALID_CONFIG, "the network configuration has no name")
    if request.command == Command.GC:
        _check_gc(request)
        return
    _check_attachment(request)
    if request.command == Command.ADD:
        _check_pod(request)


def _check_attachment(request: Request) -> None:
    if not _CONTAINER_ID.fullmatch(request.container_id):
        raise _bad("CNI_CONTAINERID", request.container_id)
    if not _INTERFACE.fullmatch(request.interface) or request.interface in {".", ".."}:
        raise _bad("CNI_IFNAME", request.interface)
    if request.command != Command.DEL and not request.netns:
        raise _bad("CNI_NETNS", request.netns)
    if request.command == Command.CHECK and request.config.prev_result is None:
        raise CNIError(Code.INVALID_CONFIG, "CHECK needs prevResult")


def _check_pod(request: Request) -> None:
    wanted = {
        "K8S_POD_UID": request.pod_uid,
        "K8S_POD_NAMESPACE": request.pod_namespace,
        "K8S_POD_NAME": request.pod_name,
    }
    missing = [name for name, value in wanted.items() if not value]
    if missing:
        raise CNIError(Code.INVALID_ENVIRONMENT, f"CNI_ARGS has no {', '.join(missing)}")


def _check_gc(request: Request) -> None:
    if request.config.attachments is None:
        raise CNIError(
            Code.INVALID_CONFIG,
            "GC needs cni.dev/valid-attachments: without the runtime's list nothing is freed",
        )


def _bad(variable: str, value: str) -> CNIError:
    what = f"{variable} {value!r} is not valid" if value else f"{variable} is missing"
    return CNIError(Code.INVALID_ENVIRONMENT, what)
