"""What libcni reads of a network configuration list, and what it stops at. Pure.

The source is containernetworking/cni 1.3: `NetworkConfFromBytes` and `NetworkPluginConfFromBytes`
(libcni/conf.go), and `PluginConf` (pkg/types/types.go). It looks the keys of a list up as they are,
but has those of a plugin decoded by Go, which takes them in any case and null for nothing.
"""

from typing import Annotated, Final, TypeAlias

import msgspec
from msgspec import Meta, Raw, Struct

# In ASCII, as strings.ToLower and strconv.Atoi go about it
_Flag: TypeAlias = bool | Annotated[str, Meta(pattern=r"(?ai)\A(true|false)\Z")]
_Version = Annotated[str, Meta(pattern=r"(?a)\A([+-]?\d+(\.[+-]?\d+){0,2})?\Z")]
_Strings: TypeAlias = list[str | None]


class List(Struct, rename="camel"):
    name: str
    plugins: Annotated[list[Raw], Meta(min_length=1)]
    cni_version: str = ""
    cni_versions: list[_Version] = msgspec.field(default_factory=list[_Version])
    disable_check: _Flag = False
    disable_gc: _Flag = msgspec.field(name="disableGC", default=False)
    load_only_inlined_plugins: _Flag = False


class _IPAM(Struct):
    type: str = ""


class _DNS(Struct):
    nameservers: _Strings = msgspec.field(default_factory=_Strings)
    domain: str = ""
    search: _Strings = msgspec.field(default_factory=_Strings)
    options: _Strings = msgspec.field(default_factory=_Strings)


class _Attachment(Struct):
    containerid: str = ""
    ifname: str = ""


class Plugin(Struct):
    """A plugin of a list; the names are those of its keys in lower case."""

    type: Annotated[str, Meta(min_length=1)]
    capabilities: dict[str, bool | None] = msgspec.field(default_factory=dict[str, bool | None])
    name: str = ""
    cniversion: str = ""
    ipam: _IPAM = msgspec.field(default_factory=_IPAM)
    dns: _DNS = msgspec.field(default_factory=_DNS)
    prevresult: dict[str, Raw] = msgspec.field(default_factory=dict[str, Raw])
    attachments: list[_Attachment | None] = msgspec.field(
        name="cni.dev/valid-attachments", default_factory=list[_Attachment | None]
    )


_NESTED: Final = ("ipam", "dns", "cni.dev/valid-attachments")  # those with keys that Go decodes
# At import: `openeni_crds.meta.decodable`
_list_decoder: Final = msgspec.json.Decoder(List)
_plugin_decoder: Final = msgspec.json.Decoder(Plugin)
_keys_decoder: Final = msgspec.json.Decoder(dict[str, Raw])
_values_decoder: Final = msgspec.json.Decoder(list[Raw])


def read_list(content: bytes) -> List:
    """Return the list of a file. Raises one of DECODE_ERRORS where libcni has an error."""
    return _list_decoder.decode(content)


def read_plugin(content: Raw) -> Plugin:
    """Return a plugin of a list. Raises one of DECODE_ERRORS where libcni has an error."""
    keys = _lower_keys(content)
    for name in _NESTED:
        if name in keys:
            keys[name] = _with_lower_keys(keys[name])
    return _plugin_decoder.decode(msgspec.json.encode(keys))


def _lower_keys(content: Raw) -> dict[str, Raw]:
    """Return the keys of an object in lower case, without those that have no value.

    libcni sorts them before it decodes them: of two in different case the last one counts.
    """
    found = sorted(_keys_decoder.decode(content).items())
    return {key.lower(): value for key, value in found if bytes(value) != b"null"}


def _with_lower_keys(value: Raw) -> Raw:
    match bytes(value)[:1]:
        case b"{":
            return Raw(msgspec.json.encode(_lower_keys(value)))
        case b"[":
            values = _values_decoder.decode(value)
            return Raw(msgspec.json.encode([_with_lower_keys(one) for one in values]))
        case _:
            return value
