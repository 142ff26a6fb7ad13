"""Objects of openeni in the node's kernel, as commands that delete them: what somebody may break.

They are found and deleted with `ip` and `nft`, by their protocol, alias and table.
"""

import json
import re
from collections.abc import Callable
from typing import Any, Final, TypeAlias

from openeni_crds import names
from openeni_testing.network.netns import Namespace
from openeni_testing.soak.observer import FAMILIES, PROTOCOL

Command: TypeAlias = tuple[str, ...]
# What `ip route` prints and does not read.
_UNREADABLE: Final = re.compile(r" (error -?\d+|pref \w+|linkdown|dead|offload)\b| \[detached\]")


def rules(node: Namespace, _: str) -> list[Command]:
    found: list[Command] = []
    for family in FAMILIES:
        for line in node.program("ip", family, "rule").splitlines():
            priority, _, rule = _UNREADABLE.sub("", line).partition(":")
            if f"proto {PROTOCOL}" in rule:
                found.append(("ip", family, "rule", "del", "pref", priority, *rule.split()))
    return found


def routes(node: Namespace, _: str) -> list[Command]:
    found: list[Command] = []
    for family in FAMILIES:
        listed = node.program(*f"ip {family} route show table all proto {PROTOCOL}".split())
        for line in listed.splitlines():
            words = _UNREADABLE.sub("", line).split()
            found.append(("ip", family, "route", "del", *words))
    return found


def neighbours(node: Namespace, _: str) -> list[Command]:
    found: list[Command] = []
    for family in FAMILIES:
        for which in ("nud permanent", "proxy"):
            listed = node.program(*f"ip {family} neigh show {which}".split())
            words = ("proxy",) if which == "proxy" else ()
            for line in listed.splitlines():
                address, _, device = line.split()[:3]
                found.append(("ip", family, "neigh", "del", *words, address, "dev", device))
    return found


def addresses(node: Namespace, nic: str) -> list[Command]:
    (link,) = json.loads(node.program("ip", "-j", "addr", "show", "dev", nic))
    return [
        ("ip", "addr", "del", f"{one['local']}/{one['prefixlen']}", "dev", nic)
        for one in link["addr_info"]
        if one["scope"] == "global"
    ]


def links(node: Namespace, _: str) -> list[Command]:
    """Pods' ends of pairs, and the host's slaves."""
    listed = json.loads(node.program("ip", "-j", "-d", "link", "show"))
    return [
        ("ip", "link", "del", link["ifname"])
        for link in listed
        if link.get("ifalias") == names.LINK_ALIAS
    ]


def filters(node: Namespace, _: str) -> list[Command]:
    """Chains with their rules, single rules, members of sets and maps, whole sets."""
    found: list[Command] = []
    for one in json.loads(node.program("nft", "-j", "-a", "list", "ruleset"))["nftables"]:
        ((kind, body),) = one.items()
        if body.get("table") != names.NFT_TABLE:
            continue
        place = f"{body['family']} {body['table']}"
        if kind == "chain":
            chain = f"chain {place} {body['name']}"
            found.append(("nft", f"flush {chain}; delete {chain}"))
        elif kind == "rule":
            rule = f"rule {place} {body['chain']} handle {body['handle']}"
            found.append(("nft", f"delete {rule}"))
        elif kind in ("set", "map"):
            for member in body.get("elem", []):
                where = f"{place} {body['name']}"
                found.append(("nft", f"delete element {where} {{ {_member(member)} }}"))
    return found


def _member(member: Any) -> str:
    """Return a member of a set, or a key with its value of a map, as `nft` reads it."""
    match member:
        case [key, value]:
            return f"{_member(key)} : {_member(value)}"
        case {"concat": fields}:
            return " . ".join(map(str, fields))
        case _:
            return str(member)


OBJECTS: Final[tuple[Callable[[Namespace, str], list[Command]], ...]] = (
    rules,
    routes,
    neighbours,
    addresses,
    links,
    filters,
)
IN_PODS: Final = (routes, neighbours, addresses)  # the pod's interface is its NIC
