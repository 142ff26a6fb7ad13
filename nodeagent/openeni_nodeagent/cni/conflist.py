"""The network configuration list that openeni installs, with what an administrator added. Pure.

openeni makes the pod's interface, so it comes first. Plugins that an administrator has put into the
list are kept after it, in their order, and so are other keys of the list.
"""

from dataclasses import dataclass
from typing import Final

import msgspec
from msgspec import Struct

from openeni_crds.names import CNI_NAME
from openeni_nodeagent.cni.protocol import DECODE_ERRORS, VERSIONS

# libcni 1.2 and newer read `cniVersions` and use the highest version that both know. Older ones
# read `cniVersion` alone and would refuse 1.1.0.
CNI_VERSION: Final = "1.0.0"
# What the runtime passes for a pod with host ports or a limit of bandwidth; see `runtime_config`.
CAPABILITIES: Final = ("portMappings", "bandwidth")


@dataclass(frozen=True)
class Conflist:
    content: bytes
    problem: str = ""  # with the list that was there, of which nothing could be kept


class _Chained(Struct):
    """What every plugin of a list must have, and what decides about openeni's own entry."""

    type: str
    capabilities: dict[str, bool] = {}


class _List(Struct):
    plugins: list[msgspec.Raw]


# At import: `openeni_crds.meta.decodable`
_list_decoder: Final = msgspec.json.Decoder(_List)
_chained_decoder: Final = msgspec.json.Decoder(_Chained)
_keys_decoder: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_OURS: Final = frozenset({"cniVersion", "cniVersions", "name", "plugins"})


def conflist(installed: bytes | None = None) -> Conflist:
    """Return the list to install in the place of the one that is there."""
    if installed is None:
        return Conflist(_encode({}, [], frozenset()))
    try:
        given = [(_chained_decoder.decode(p), p) for p in _list_decoder.decode(installed).plugins]
        keys = _keys_decoder.decode(installed)
    except DECODE_ERRORS as error:
        return Conflist(_encode({}, [], frozenset()), str(error))
    others = [(plugin, raw) for plugin, raw in given if plugin.type != CNI_NAME]
    taken = {name for plugin, _ in others for name, used in plugin.capabilities.items() if used}
    kept = {key: value for key, value in keys.items() if key not in _OURS}
    return Conflist(_encode(kept, [raw for _, raw in others], frozenset(taken)))


def _encode(
    kept: dict[str, msgspec.Raw], chained: list[msgspec.Raw], taken: frozenset[str]
) -> bytes:
    """Encode the list. A capability that a chained plugin declares is left to that plugin."""
    capabilities = {name: True for name in CAPABILITIES if name not in taken}
    own = {"type": CNI_NAME} | ({"capabilities": capabilities} if capabilities else {})
    body = {
        "cniVersion": CNI_VERSION,
        "cniVersions": VERSIONS,
        "name": CNI_NAME,
        **kept,
        "plugins": [own, *chained],
    }
    return msgspec.json.format(msgspec.json.encode(body), indent=2) + b"\n"
