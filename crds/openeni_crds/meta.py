"""The parts of Kubernetes' own objects that openeni reads, and how objects become values."""

import re
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Final, TypeVar

import msgspec
from msgspec import Meta, Struct

Json = dict[str, Any]
T = TypeVar("T")
S = TypeVar("S", bound=Struct)
_DECODABLE: Final[set[type]] = set()
# Of bytes that msgspec cannot decode: the second for text that is no UTF-8, the third for brackets
# that are nested thousands deep.
DECODE_ERRORS: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)

Name = Annotated[  # a DNS subdomain, as Kubernetes names objects
    str, Meta(min_length=1, max_length=253, pattern="^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")
]
Id = Annotated[str, Meta(min_length=1, max_length=64)]  # of a thing in OpenStack: a UUID
CloudName = Annotated[str, Meta(min_length=1, max_length=63)]  # an entry of clouds.yaml
Duration = Annotated[str, Meta(max_length=32)]  # such as 90s or 1h30m: rules.py holds it to that
Address = Annotated[str, Meta(min_length=2, max_length=45)]
Count = Annotated[int, Meta(ge=0, le=2**31 - 1)]
Generation = Annotated[int, Meta(ge=0)]
# fromisoformat alone takes many other forms.
_TIME: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z")
_UNITS: Final = {"s": 1, "m": 60, "h": 3600}


def decodable(model: type[S]) -> type[S]:
    """Decorate a model that `decode` accepts: msgspec's type information is built here, at import.

    msgspec 0.22 builds it at a type's first use, without a lock: two threads that decode their
    first object of a type at the same time end the process with SIGSEGV (StructInfo_Convert in
    msgspec/_core.c publishes the information before it is complete).
    """
    msgspec.json.Decoder(model)
    _DECODABLE.add(model)
    return model


class OwnerReference(Struct, frozen=True, rename="camel", omit_defaults=True):
    api_version: str
    kind: str
    name: str
    uid: str
    controller: bool = False
    block_owner_deletion: bool = False


@decodable
class ObjectMeta(Struct, frozen=True, rename="camel", omit_defaults=True):
    """The metadata that openeni reads. Labels and annotations must not be changed in place."""

    name: str
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    generation: int = 0
    creation_timestamp: str = ""
    deletion_timestamp: str = ""
    finalizers: tuple[str, ...] = ()
    labels: dict[str, str] = {}  # msgspec copies an empty default
    annotations: dict[str, str] = {}
    owner_references: tuple[OwnerReference, ...] = ()

    @property
    def deleting(self) -> bool:
        return bool(self.deletion_timestamp)


class Operator(StrEnum):
    IN = "In"
    NOT_IN = "NotIn"
    EXISTS = "Exists"
    DOES_NOT_EXIST = "DoesNotExist"


class Requirement(Struct, frozen=True, rename="camel", omit_defaults=True):
    """One expression of a label selector."""

    key: Annotated[
        str, Meta(min_length=1, max_length=317, description="Key of the label that is compared.")
    ]
    operator: Annotated[
        Operator,
        Meta(
            description="In and NotIn compare the label's value with `values`; Exists and "
            "DoesNotExist ask whether the label is there. An absent label matches NotIn."
        ),
    ]
    values: Annotated[
        tuple[Annotated[str, Meta(max_length=63)], ...],
        Meta(
            max_length=32,
            description="Values to compare with: at least one with In and NotIn, else none.",
        ),
    ] = ()

    def matches(self, labels: dict[str, str]) -> bool:
        there = self.key in labels
        if self.operator is Operator.EXISTS:
            return there
        if self.operator is Operator.DOES_NOT_EXIST:
            return not there
        # NotIn matches an absent key: the rule of apimachinery's labels.Requirement
        return (there and labels[self.key] in self.values) == (self.operator is Operator.IN)


class LabelSelector(Struct, frozen=True, rename="camel", omit_defaults=True):
    """A label selector as Kubernetes defines it: both parts must match; {} matches everything."""

    match_labels: Annotated[
        dict[
            Annotated[str, Meta(max_length=317)],  # 253 of a prefix, "/", 63 of a name
            Annotated[str, Meta(max_length=63)],
        ],
        Meta(max_length=32, description="Labels that must be there with exactly these values."),
    ] = {}
    match_expressions: Annotated[
        tuple[Requirement, ...], Meta(max_length=32, description="Expressions that must all hold.")
    ] = ()

    def matches(self, labels: dict[str, str]) -> bool:
        return all(labels.get(k) == v for k, v in self.match_labels.items()) and all(
            e.matches(labels) for e in self.match_expressions
        )


def parse_time(text: str) -> datetime:
    """Return a time of metav1.Time's form, RFC 3339 in UTC with whole seconds.

    Raises ValueError: the API server's `date-time` admits other forms, such as small letters.
    """
    if not _TIME.fullmatch(text):
        raise ValueError(f"{text[:40]!r} is not a time such as 2026-01-31T12:00:00Z")
    return datetime.fromisoformat(text)


def seconds(duration: str) -> int:
    """Return the seconds of a duration such as `90s` or `1h30m`."""
    total, digits = 0, ""
    for character in duration:
        if character.isdigit():
            digits += character
        else:
            total += int(digits) * _UNITS[character]
            digits = ""
    return total


def decode(body: Json, into: type[T]) -> T:
    """Turn an object of the API into a value; fields we do not know are passed over.

    Raises msgspec.ValidationError naming the field where the object does not fit, and TypeError
    for a type that is not `decodable`: the first two threads to use it could crash the process.
    """
    if into not in _DECODABLE:
        raise TypeError(f"{into.__name__} is not marked as decodable")
    return msgspec.convert(body, into)


def encode(value: Struct) -> Json:
    """Turn a value into JSON's words; fields at their default are left out where declared so."""
    body: Json = msgspec.to_builtins(value)
    return body
