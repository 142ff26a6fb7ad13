"""What the chart's values have in common: maps that refuse unknown keys, and free types.

Defaults stand in values.yaml alone. What has no default in the types is required, so that a value
set to null is refused by its name; maps and lists may be null, which is how Helm clears a default.
"""

from typing import Annotated, Any, Final

from msgspec import Meta, Struct, UnsetType

# Values of Kubernetes' own types: the API server checks them.
Free = dict[str, Any] | UnsetType
FreeList = list[dict[str, Any]] | UnsetType
Strings = dict[str, str] | UnsetType

# Patterns for Go's regexp, which has no lookahead.
_OCTET: Final = "(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
IPV4: Final = f"{_OCTET}([.]{_OCTET}){{3}}"
_GROUP: Final = "[0-9a-fA-F]{1,4}"
IPV6: Final = (
    "("
    + "|".join(
        (
            f"({_GROUP}:){{7}}{_GROUP}",
            f"({_GROUP}:){{1,7}}:",
            *(f"({_GROUP}:){{1,{7 - n}}}(:{_GROUP}){{1,{n}}}" for n in range(1, 7)),
            f":((:{_GROUP}){{1,7}}|:)",
        )
    )
    + ")"
)
NAMESPACE: Final = "^([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)?$"  # or none
NAME: Final = "[0-9A-Za-z]([-.0-9A-Za-z]*[0-9A-Za-z])?"  # of a host


class Section(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, rename="camel"):
    """A map of values: a key that is not listed is refused."""


class KubernetesService(Section, frozen=True, kw_only=True):
    """The API server as the chart's pods reach it."""

    host: Annotated[
        str,
        Meta(
            pattern=f"^({NAME}|{IPV6})?$",
            description="Name or address of the API server, without port and brackets. Empty: the "
            "Service `kubernetes`, which needs kube-proxy or a replacement of it on every node.",
        ),
    ]
    port: Annotated[int, Meta(ge=1, le=65535, description="Its port; used when `host` is set.")]
