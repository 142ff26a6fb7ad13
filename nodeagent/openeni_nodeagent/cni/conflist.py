"""The network configuration list that openeni installs, with what an administrator added. Pure.

openeni makes the pod's interface, so it comes first. Plugins that an administrator has put into the
list are kept after it, in their order, and so are other keys of the list. With such plugins its
versions are the administrator's, too: libcni calls every plugin of a list in the highest version
that the list and libcni know (decision 0061), and asks none of them whether it knows it.
"""

from dataclasses import dataclass
from typing import Annotated, Final, NamedTuple, TypeAlias

import msgspec
from msgspec import Meta, Raw, Struct

from openeni_crds.meta import DECODE_ERRORS
from openeni_crds.names import CNI_NAME
from openeni_nodeagent.cni.protocol import VERSIONS

# libcni 1.2 and newer read `cniVersions` and use the highest version that both know. Older ones
# read `cniVersion` alone and would refuse 1.1.0.
CNI_VERSION: Final = "1.0.0"
# What the runtime passes for a pod with host ports or a limit of bandwidth; see `runtime_config`.
CAPABILITIES: Final = ("portMappings", "bandwidth")
# From 1.3 on libcni would add the plugins in a folder beside the list, of whose versions and
# capabilities openeni does not know.
_INLINED_ONLY: Final = "loadOnlyInlinedPlugins"


@dataclass(frozen=True)
class Conflist:
    content: bytes
    problem: str = ""  # with the list that was there, of which nothing could be kept


# What libcni reads of a list, and stops at: `NetworkConfFromBytes`, `NetworkPluginConfFromBytes`
# (libcni/conf.go) and `PluginConf` (pkg/types/types.go) of containernetworking/cni 1.3. It looks
# the keys of a list up as they are, but has those of a plugin decoded by Go, which takes them in
# any case and null for nothing. The patterns are in ASCII, as strings.ToLower and strconv.Atoi.
_Flag: TypeAlias = bool | Annotated[str, Meta(pattern=r"(?ai)\A(true|false)\Z")]
_Version = Annotated[str, Meta(pattern=r"(?a)\A([+-]?\d+(\.[+-]?\d+){0,2})?\Z")]
_Strings: TypeAlias = list[str | None]


class _List(Struct, rename="camel"):
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


class _Plugin(Struct):
    """Holds what libcni reads of a plugin; the names are those of its keys in lower case."""

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


class _Versions(NamedTuple):
    one: str  # for a libcni that reads `cniVersion` alone
    known: tuple[str, ...]  # oldest first


_OWN_VERSIONS: Final = _Versions(CNI_VERSION, VERSIONS)
_NESTED: Final = ("ipam", "dns", "cni.dev/valid-attachments")  # those with keys that Go decodes
# At import: `openeni_crds.meta.decodable`
_list_decoder: Final = msgspec.json.Decoder(_List)
_plugin_decoder: Final = msgspec.json.Decoder(_Plugin)
_values_decoder: Final = msgspec.json.Decoder(list[Raw])
_keys_decoder: Final = msgspec.json.Decoder(dict[str, Raw])
_OURS: Final = frozenset({"cniVersion", "cniVersions", "name", "plugins"})


def conflist(installed: bytes | None = None) -> Conflist:
    """Return the list to install in the place of the one that is there."""
    if installed is None:
        return Conflist(_encode({}, [], frozenset(), _OWN_VERSIONS))
    try:
        before = _list_decoder.decode(installed)
        given = [(_read_plugin(plugin), plugin) for plugin in before.plugins]
        keys = _keys_decoder.decode(installed)
    except DECODE_ERRORS as error:
        return Conflist(_encode({}, [], frozenset(), _OWN_VERSIONS), str(error))
    others = [(plugin, raw) for plugin, raw in given if plugin.type != CNI_NAME]
    taken = {name for plugin, _ in others for name, used in plugin.capabilities.items() if used}
    kept = {key: value for key, value in keys.items() if key not in _OURS}
    versions = _versions(before) if others else _OWN_VERSIONS
    return Conflist(_encode(kept, [raw for _, raw in others], frozenset(taken), versions))


def _read_plugin(content: Raw) -> _Plugin:
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


def _versions(given: _List) -> _Versions:
    """Return the versions of a list that openeni knows; all that it knows if none."""
    named = {given.cni_version, *given.cni_versions}  # as libcni reads them
    known = tuple(version for version in VERSIONS if version in named) or VERSIONS
    if given.cni_version in known:
        return _Versions(given.cni_version, known)
    return _Versions(next((v for v in reversed(known) if v <= CNI_VERSION), known[0]), known)


def _encode(
    kept: dict[str, Raw],
    chained: list[Raw],
    taken: frozenset[str],
    versions: _Versions,
) -> bytes:
    """Encode the list. A capability that a chained plugin declares is left to that plugin."""
    capabilities = {name: True for name in CAPABILITIES if name not in taken}
    own = {"type": CNI_NAME} | ({"capabilities": capabilities} if capabilities else {})
    body = {
        "cniVersion": versions.one,
        "cniVersions": versions.known,
        "name": CNI_NAME,
        _INLINED_ONLY: True,
        **kept,
        "plugins": [own, *chained],
    }
    return msgspec.json.format(msgspec.json.encode(body), indent=2) + b"\n"
