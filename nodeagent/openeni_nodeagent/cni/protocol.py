"""The CNI specification 1.1 as values: requests and error codes, for versions 0.4.0 to 1.1.0.

Source: https://www.cni.dev/docs/spec/ (version 1.1.0).
"""

from enum import IntEnum, StrEnum
from typing import Final

import msgspec
from msgspec import Struct

from openeni_nodeagent.event_reasons import PodReason

VERSIONS: Final = ("0.4.0", "1.0.0", "1.1.0")  # openeni.c has them, too
NEWEST: Final = VERSIONS[-1]
MOST_CHARACTERS: Final = 4096  # of an error: a runtime shows it, and it may quote what was given


class Command(StrEnum):
    """Says what a runtime asks for; the executable answers VERSION itself."""

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
    """An error for the runtime, which shows it in the pod's events: one line, no traceback.

    With a `reason` the agent records an Event of its own on the pod. What is too long is cut off.
    """

    def __init__(
        self, code: Code, message: str, details: str = "", *, reason: PodReason | None = None
    ) -> None:
        self.code = code
        self.message = message[:MOST_CHARACTERS]
        self.details = details[:MOST_CHARACTERS]
        super().__init__(self.message)
        self.reason = reason


class GCAttachment(Struct, frozen=True):
    """One entry of `cni.dev/valid-attachments`, the runtime's list for GC."""

    container_id: str = msgspec.field(name="containerID")
    interface: str = msgspec.field(name="ifname")


class PrevInterface(Struct, frozen=True):
    name: str
    mac: str | None = None
    sandbox: str = ""


class PrevIP(Struct, frozen=True):
    address: str
    interface: int | None = None  # an index of `interfaces`


class PrevResult(Struct, frozen=True):
    """The result of the attachment's ADD, as the last plugin of the list has left it."""

    interfaces: tuple[PrevInterface, ...] | None = None
    ips: tuple[PrevIP, ...] | None = None


class Config(Struct, frozen=True):
    """The fields of the network configuration that the command needs; others are not looked at."""

    cni_version: str
    name: str = ""
    prev_result: PrevResult | None = None  # for CHECK
    attachments: tuple[GCAttachment, ...] | None = None  # for GC
    runtime_config: bytes = b""  # see `runtime_config`


class Request(Struct, frozen=True):
    """One call of the runtime; fields that the command does not need may be ""."""

    command: Command
    container_id: str
    interface: str
    netns: str
    pod_uid: str
    pod_namespace: str
    pod_name: str
    config: Config
