"""The network configuration list that openeni installs, with what an administrator added. Pure.

openeni makes the pod's interface, so it comes first. Plugins that an administrator has put into the
list are kept after it, in their order, and so are other keys of the list. With such plugins its
versions are the administrator's, too: libcni calls every plugin of a list in the highest version
that the list and libcni know (decision 0061), and asks none of them whether it knows it.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final, NamedTuple, TypeAlias, cast

import msgspec
from msgspec import Meta, Struct

from openeni_crds.meta import DECODE_ERRORS, Json, decodable, decode
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
# any case and null for nothing. The patterns are in ASCII, as strings.ToLower and strconv.Atoi,
# which has 64 bits.
_Flag: TypeAlias = bool | Annotated[str, Meta(pattern=r"(?ai)\A(true|false)\Z")]
_Version = Annotated[str, Meta(pattern=r"(?a)\A([+-]?\d{1,18}(\.[+-]?\d{1,18}){0,2})?\Z")]
_Strings: TypeAlias = list[str | None]


@decodable
class _List(Struct, rename="camel"):
    name: str
    plugins: Annotated[list[dict[str, Any]], Meta(min_length=1)]
    cni_version: str = ""
    cni_versions: list[_Version] = msgspec.field(default_factory=list[_Version])
    disable_check: _Flag = False
    disable_gc: _Flag = msgspec.field(name="disableGC", default=False)
    load_only_inlined_plugins: _Flag = False


@decodable
class _ListOfVersions(_List, rename="camel"):
    """A list with `cniVersions`: libcni looks at the other one, too."""

    cni_version: _Version = ""


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


@decodable
class _Plugin(Struct):
    """Holds what libcni reads of a plugin; the names are those of its keys, folded."""

    type: Annotated[str, Meta(min_length=1)]
    capabilities: dict[str, bool | None] = msgspec.field(default_factory=dict[str, bool | None])
    name: str = ""
    cniversion: str = ""
    ipam: _IPAM = msgspec.field(default_factory=_IPAM)
    dns: _DNS = msgspec.field(default_factory=_DNS)
    prevresult: Json = msgspec.field(default_factory=Json)
    attachments: list[_Attachment | None] = msgspec.field(
        name="cni.dev/valid-attachments", default_factory=list[_Attachment | None]
    )


class _Versions(NamedTuple):
    one: str  # for a libcni that reads `cniVersion` alone
    known: tuple[str, ...]  # oldest first


_OWN_VERSIONS: Final = _Versions(CNI_VERSION, VERSIONS)
_SHOWN: Final = 30  # characters of a number
_NESTED: Final = ("ipam", "dns", "cni.dev/valid-attachments")  # those with keys that Go decodes
_OURS: Final = frozenset({"cniVersion", "cniVersions", "name", "plugins"})
_FLAGS: Final = ("disableCheck", "disableGC", _INLINED_ONLY)
# The last: a lone surrogate, which JSON can have and a file of UTF-8 cannot.
READ_ERRORS: Final = (*DECODE_ERRORS, ValueError)


def conflist(installed: bytes | None = None) -> Conflist:
    """Return the list to install in the place of the one that is there."""
    if installed is None:
        return Conflist(_BARE)
    try:
        return Conflist(_with_kept(read_object(installed)))
    except READ_ERRORS as error:
        return Conflist(_BARE, str(error))


def read_object(content: bytes) -> Json:
    """Return what Go reads: bytes that are no UTF-8 are U+FFFD, of equal keys the last one counts.

    A number that float64 has not is an error. Raises ValueError and RecursionError.
    """
    text = content.decode(errors="replace")
    found = json.loads(text, parse_float=_finite, parse_int=_whole, parse_constant=_refuse)
    if isinstance(found, dict):
        return cast("Json", found)
    raise ValueError("it is no object")


def folded(given: Mapping[str, Any]) -> Json:
    """Return what Go decodes of an object: keys in any case, without those that have no value.

    libcni sorts them before it decodes them: of two in different case the last one counts.
    """
    return {key.casefold(): value for key, value in sorted(given.items()) if value is not None}


def _finite(text: str) -> float:
    if abs(number := float(text)) == float("inf"):
        raise ValueError(f"{text[:_SHOWN]} is too large a number")
    return number


def _whole(text: str) -> int:
    _finite(text)
    return int(text)


def _refuse(text: str) -> None:
    raise ValueError(f"{text} is no JSON")


def _with_kept(keys: Json) -> bytes:
    """Return the list with what is kept of another. Raises one of READ_ERRORS."""
    before = decode(keys, _ListOfVersions if "cniVersions" in keys else _List)
    given = [(_read_plugin(plugin), plugin) for plugin in before.plugins]
    others = [(plugin, content) for plugin, content in given if plugin.type != CNI_NAME]
    taken = {name for plugin, _ in others for name, used in plugin.capabilities.items() if used}
    kept = {key: value for key, value in keys.items() if key not in _OURS}
    kept |= {key: _is_set(kept[key]) for key in _FLAGS if key in kept}
    versions = _versions(before) if others else _OWN_VERSIONS
    return _encode(kept, [content for _, content in others], frozenset(taken), versions)


def _is_set(flag: _Flag) -> bool:
    """Return a flag as older libcni, which knows no strings, reads it too."""
    return flag if isinstance(flag, bool) else flag.lower() == "true"


def _read_plugin(content: Json) -> _Plugin:
    """Return a plugin of a list. Raises ValidationError where libcni has an error."""
    keys = folded(content)
    for name in _NESTED:
        if name in keys:
            keys[name] = _with_folded_keys(keys[name])
    return decode(keys, _Plugin)


def _with_folded_keys(value: object) -> object:
    match value:
        case dict():
            return folded(cast("Json", value))
        case list():
            return [_with_folded_keys(one) for one in cast("list[object]", value)]
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
    kept: Json,
    chained: list[Json],
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


_BARE: Final = _encode({}, [], frozenset(), _OWN_VERSIONS)
