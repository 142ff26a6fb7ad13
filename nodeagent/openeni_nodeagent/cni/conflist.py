"""The network configuration list that openeni installs, with what an administrator added. Pure.

openeni makes the pod's interface, so it comes first. Plugins that an administrator has put into the
list are kept after it, in their order, and so are other keys of the list. With such plugins its
versions are the administrator's, too: libcni calls every plugin of a list in the highest version
that the list and libcni know (decision 0061), and asks none of them whether it knows it.
"""

from dataclasses import dataclass
from typing import Final, NamedTuple

import msgspec

from openeni_crds.meta import DECODE_ERRORS
from openeni_crds.names import CNI_NAME
from openeni_nodeagent.cni import libcni
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


class _Versions(NamedTuple):
    one: str  # for a libcni that reads `cniVersion` alone
    known: tuple[str, ...]  # oldest first


_OWN_VERSIONS: Final = _Versions(CNI_VERSION, VERSIONS)
# At import: `openeni_crds.meta.decodable`
_keys_decoder: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_OURS: Final = frozenset({"cniVersion", "cniVersions", "name", "plugins"})


def conflist(installed: bytes | None = None) -> Conflist:
    """Return the list to install in the place of the one that is there."""
    if installed is None:
        return Conflist(_encode({}, [], frozenset(), _OWN_VERSIONS))
    try:
        before = libcni.read_list(installed)
        given = [(libcni.read_plugin(plugin), plugin) for plugin in before.plugins]
        keys = _keys_decoder.decode(installed)
    except DECODE_ERRORS as error:
        return Conflist(_encode({}, [], frozenset(), _OWN_VERSIONS), str(error))
    others = [(plugin, raw) for plugin, raw in given if plugin.type != CNI_NAME]
    taken = {name for plugin, _ in others for name, used in plugin.capabilities.items() if used}
    kept = {key: value for key, value in keys.items() if key not in _OURS}
    versions = _versions(before) if others else _OWN_VERSIONS
    return Conflist(_encode(kept, [raw for _, raw in others], frozenset(taken), versions))


def _versions(given: libcni.List) -> _Versions:
    """Return the versions of a list that openeni knows; all that it knows if none."""
    named = {given.cni_version, *given.cni_versions}  # as libcni reads them
    known = tuple(version for version in VERSIONS if version in named) or VERSIONS
    if given.cni_version in known:
        return _Versions(given.cni_version, known)
    return _Versions(next((v for v in reversed(known) if v <= CNI_VERSION), known[0]), known)


def _encode(
    kept: dict[str, msgspec.Raw],
    chained: list[msgspec.Raw],
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
