"""Parse a CNI call: its environment and its network configuration. Pure.

Each command decodes what it needs, so that a DEL cannot fail for anything else.
"""

import re
from collections.abc import Mapping
from typing import Final, TypeVar

import msgspec
from msgspec import Struct

from openeni_crds.meta import DECODE_ERRORS
from openeni_crds.podip import MAX_CONTAINER_ID
from openeni_nodeagent.cni.protocol import (
    NEWEST,
    VERSIONS,
    CNIError,
    Code,
    Command,
    Config,
    GCAttachment,
    PrevResult,
    Request,
)
from openeni_nodeagent.event_reasons import PodReason

_PLAIN_VERSION: Final = re.compile(r"[0-9A-Za-z.+-]{1,31}")  # as config_version.h takes it over
_IDENTIFIER: Final = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.\-]*")  # of containers and networks
# dev_valid_name() of net/core/dev.c: at most 15 bytes, and 0xa0 is a space to the kernel, though it
# may be a part of a character. A `%` would have the kernel make up a name (__dev_alloc_name).
_INTERFACE: Final = re.compile(rb"[^/:%\x00\t-\r \xa0]{1,15}")
# The first two are no files; `all` and `default` are directories of sysctls, so that IPv4 refuses a
# link of that name (sysctl_dev_name_is_allowed); and each namespace has its `lo`.
_TAKEN_INTERFACES: Final = frozenset({".", "..", "all", "default", "lo"})
_UNDECODABLE: Final = "\ufffd"  # see `frame.decode_environment`


class _VersionOnly(Struct):
    version: str = msgspec.field(name="cniVersion", default="")


class _Given(Struct):
    """The configuration without what only some commands need, which stays undecoded."""

    version: str = msgspec.field(name="cniVersion", default="")
    name: str = ""
    prev_result: msgspec.Raw = msgspec.field(name="prevResult", default=msgspec.Raw())
    runtime_config: msgspec.Raw = msgspec.field(name="runtimeConfig", default=msgspec.Raw())
    attachments: msgspec.Raw = msgspec.field(
        name="cni.dev/valid-attachments", default=msgspec.Raw()
    )
    # So the first text of 1.1.0 called it.
    first_attachments: msgspec.Raw = msgspec.field(
        name="cni.dev/attachments", default=msgspec.Raw()
    )


# At import: `openeni_crds.meta.decodable`
_version_decoder: Final = msgspec.json.Decoder(_VersionOnly)
_given_decoder: Final = msgspec.json.Decoder(_Given)
_prev_result_decoder: Final = msgspec.json.Decoder(PrevResult | None)
_attachments_decoder: Final = msgspec.json.Decoder(tuple[GCAttachment, ...] | None)
_T = TypeVar("_T")


def parse(environment: Mapping[str, str], stdin: bytes) -> Request:
    """Parse one call. Raises CNIError that names the variable or field at fault."""
    try:
        command = Command(environment.get("CNI_COMMAND", ""))
    except ValueError:
        raise _bad("CNI_COMMAND", environment.get("CNI_COMMAND", "")) from None
    config = _config(command, stdin)
    arguments = cni_arguments(environment)
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


def configured_version(stdin: bytes) -> str:
    """Return the version that an error repeats: the configuration's, or the newest without one."""
    try:
        version = _version_decoder.decode(stdin).version
    except DECODE_ERRORS:
        return NEWEST
    return version if _PLAIN_VERSION.fullmatch(version) else NEWEST


def _config(command: Command, stdin: bytes) -> Config:
    if command in {Command.DEL, Command.STATUS}:  # what they do not need cannot make them fail
        config = Config(_decode(_version_decoder, stdin).version)
        _require_version(command, config.cni_version)
        return config
    given = _decode(_given_decoder, stdin)
    _require_version(command, given.version)
    prev_result, attachments = None, None
    if command == Command.CHECK:
        prev_result = _decode_field(_prev_result_decoder, given.prev_result, "prevResult")
    if command == Command.GC:
        attachments = _attachments(given)
    if command == Command.ADD and bytes(given.prev_result) not in {b"", b"null"}:
        raise CNIError(
            Code.INVALID_CONFIG,
            "ADD with prevResult: openeni makes the pod's interface, so it must be the first "
            "plugin of its list",
            reason=PodReason.OTHER_PLUGIN_FIRST,
        )
    runtime_config = bytes(given.runtime_config)
    if runtime_config == b"null":
        runtime_config = b""
    return Config(given.version, given.name, prev_result, attachments, runtime_config)


def _attachments(given: _Given) -> tuple[GCAttachment, ...] | None:
    """Return the runtime's list, None if there is none; a null is an empty list in Go."""
    for field, content in (
        ("cni.dev/valid-attachments", given.attachments),
        ("cni.dev/attachments", given.first_attachments),
    ):
        if bytes(content):
            return _decode_field(_attachments_decoder, content, field) or ()
    return None


def _decode(decoder: "msgspec.json.Decoder[_T]", content: bytes, field: str = "") -> _T:
    """Decode the configuration, or one field of it."""
    try:
        return decoder.decode(content)
    except DECODE_ERRORS as error:
        what = f"{field} of the network configuration" if field else "the network configuration"
        raise CNIError(Code.DECODE, f"{what} is invalid: {error}") from None


def _decode_field(
    decoder: "msgspec.json.Decoder[_T | None]", content: msgspec.Raw, field: str
) -> _T | None:
    """Decode a field that may be missing or null."""
    return _decode(decoder, bytes(content), field) if bytes(content) else None


def _require_version(command: Command, version: str) -> None:
    if version not in VERSIONS:
        raise CNIError(
            Code.INCOMPATIBLE_VERSION,
            f"cniVersion {version!r} is not one of {', '.join(VERSIONS)}",
        )
    if command in {Command.GC, Command.STATUS} and version != NEWEST:
        raise CNIError(
            Code.INCOMPATIBLE_VERSION, f"{command} needs cniVersion {NEWEST}, not {version}"
        )


def cni_arguments(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the arguments in CNI_ARGS by name."""
    text = environment.get("CNI_ARGS", "")
    pairs = [item.partition("=") for item in text.split(";") if item]
    return {key: value for key, _, value in pairs}


def _check(request: Request) -> None:
    if request.command == Command.STATUS:
        return
    if request.command != Command.DEL:
        _check_name(request.config.name)
    if request.command == Command.GC:
        _check_gc(request)
        return
    _check_attachment(request)
    if request.command == Command.ADD:
        _check_pod(request)


def _check_name(name: str) -> None:
    if not name:
        raise CNIError(Code.INVALID_CONFIG, "the network configuration has no name")
    if not _IDENTIFIER.fullmatch(name):
        raise CNIError(
            Code.INVALID_CONFIG, f"name {name!r} of the network configuration is not valid"
        )


def _check_attachment(request: Request) -> None:
    _require_variables(request)
    if request.command == Command.DEL:
        return  # one that no ADD accepts has no grant: the DEL finds nothing, and succeeds
    if not _IDENTIFIER.fullmatch(request.container_id):
        raise _bad("CNI_CONTAINERID", request.container_id)
    if not _is_interface_name(request.interface):
        raise _bad("CNI_IFNAME", request.interface)
    if request.command == Command.CHECK and request.config.prev_result is None:
        raise CNIError(Code.INVALID_CONFIG, "CHECK needs prevResult")


def _require_variables(request: Request) -> None:
    """Raise CNIError that names all missing variables, as commands.h does."""
    wanted = {"CNI_CONTAINERID": request.container_id, "CNI_IFNAME": request.interface}
    if request.command != Command.DEL:
        wanted["CNI_NETNS"] = request.netns
    if missing := [name for name, value in wanted.items() if not value]:
        names = ", ".join(missing)
        raise CNIError(Code.INVALID_ENVIRONMENT, f"the container runtime has not set {names}")


def _is_interface_name(name: str) -> bool:
    fits = _INTERFACE.fullmatch(name.encode()) is not None
    return fits and name not in _TAKEN_INTERFACES and _UNDECODABLE not in name


def _check_pod(request: Request) -> None:
    if len(request.container_id) > MAX_CONTAINER_ID:
        raise CNIError(
            Code.INVALID_ENVIRONMENT,
            f"CNI_CONTAINERID is longer than {MAX_CONTAINER_ID}, which no PodIP can record",
        )
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
