"""Decide whether the container runtime of this node is configured for openeni. Pure.

A runtime takes the first configuration of its folder by name and reports its network as ready as
soon as there is one. So openeni's comes once it can serve pods, never beside that of another CNI
plugin unless somebody wants the node to migrate, and goes once no pool serves the node and no pod
is left.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

import msgspec
from msgspec import Struct

from openeni_crds.conditions import Condition, Reason, Type, condition
from openeni_crds.meta import decodable, decode
from openeni_crds.names import CNI_NAME
from openeni_nodeagent.cni.conflist import READ_ERRORS, folded, read_object

CONFLIST: Final = f"10-{CNI_NAME}.conflist"
SUFFIXES: Final = (".conf", ".conflist", ".json")  # those that containerd and CRI-O read
# They configure no network of their own: one that calls the next plugin, and the loopback device,
# which is all that pods would get if it came first.
_DELEGATING: Final = frozenset({"multus", "multus-shim"})
_LOOPBACK: Final = "loopback"


class Action(Enum):
    INSTALL = "install"
    REMOVE = "remove"
    LEAVE = "leave"


@dataclass(frozen=True)
class ConfigurationFacts:
    """Facts that the decision depends on."""

    selected: bool  # a pool selects this node
    enis: int  # of this node, in any state
    link_ready: bool  # of one of them
    grants: int
    installed: bool  # openeni's configuration is there
    others: tuple[str, ...] = ()  # names of other plugins' configurations, sorted
    migrating: bool = False  # somebody wants openeni in the place of the others


@dataclass(frozen=True)
class Decision:
    action: Action
    condition: Condition  # CNIConfigured, of every ENI of this node
    serving: bool = False  # the node can serve a pod now


def decide(facts: ConfigurationFacts) -> Decision:
    """Return what to do now, and what to report."""
    before = [name for name in facts.others if name < CONFLIST]
    if facts.installed:
        if not facts.selected and not facts.enis and not facts.grants:
            return Decision(Action.REMOVE, _waiting())
        found = _other(before) if before else _configured(facts.others)
        return Decision(Action.INSTALL, found, facts.link_ready)  # again: an upgrade can change it
    if facts.others and not facts.migrating:
        return Decision(Action.LEAVE, _other(facts.others))
    if facts.link_ready:
        found = _other(before) if before else _configured(facts.others)
        return Decision(Action.INSTALL, found, serving=True)
    return Decision(Action.LEAVE, _waiting())


def _configured(others: Iterable[str]) -> Condition:
    unused = ", ".join(others)
    message = f"not used by this node's container runtime: {unused}" if unused else ""
    return condition(Type.CNI_CONFIGURED, Reason.CONFIGURED, message, status=True)


def _waiting() -> Condition:
    message = f"{CONFLIST} is installed once an ENI of this node can carry pods"
    return condition(Type.CNI_CONFIGURED, Reason.WAITING_FOR_NIC, message, status=False)


def _other(names: Iterable[str]) -> Condition:
    message = (
        f"another CNI plugin is configured on this node: {', '.join(names)}; remove that plugin "
        "from the node (docs/migration.md), or exclude the node by the pool's spec.nodeSelector"
    )
    return condition(Type.CNI_CONFIGURED, Reason.OTHER_CNI, message, status=False)


@decodable
class _Named(Struct):
    type: str = ""


@decodable
class _Configuration(_Named):
    """A network configuration (`type`) or a list of them (`plugins`), their keys in any case."""

    plugins: list[dict[str, Any]] = msgspec.field(default_factory=list[dict[str, Any]])


def is_other(name: str, content: bytes) -> bool:
    """Return whether a file of the runtime's folder is the configuration of another CNI plugin."""
    if name == CONFLIST or not name.endswith(SUFFIXES):
        return False
    try:
        found = decode(folded(read_object(content)), _Configuration)
        plugins = [decode(folded(plugin), _Named) for plugin in found.plugins]
    except READ_ERRORS:
        return True  # the runtime stops at it
    kinds = {one.type for one in (found, *plugins)} - {""}
    alone = _DELEGATING if name < CONFLIST else {*_DELEGATING, _LOOPBACK}
    return not kinds or not kinds <= alone
