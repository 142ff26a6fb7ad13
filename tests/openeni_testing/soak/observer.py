"""An observer that shares no code with the agent: reads the journal's file, the kernel, the API.

`ip`, `nft` and a checksum are all that it trusts. Each function returns what it found, or what is
wrong, one sentence each.
"""

import json
import re
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, TypeAlias

from openeni_crds import names
from openeni_kube.store import Store
from openeni_testing.network.netns import Namespace

Owners: TypeAlias = dict[str, str]  # address -> container
PODS_TABLES: Final = {"9999", "9998", "9997"}
PROTOCOL: Final = "94"
# Names, tables and marks that depend on the NIC's index; the first mark is that of replies.
_NIC: Final = re.compile(
    r"\boeni[-_]\d+\b|\beni\d+(?![0-9a-z])|\b1\d{4}\b|\boif \d+\b"
    r"|(?<=fwmark )0x(?!10000/)[0-9a-f]+|(?<=mark )& 0x[0-9a-f]{8} \| 0x(?!00010000)[0-9a-f]{8}"
)
_TAIL: Final = re.compile(r" (error -?\d+|pref medium|linkdown|dead|\[detached\])")
FAMILIES: Final = ("-4", "-6")
SYSCTLS: Final = (  # of a NIC, which openeni has an opinion of
    *(f"net/ipv4/conf/{{}}/{name}" for name in ("forwarding", "rp_filter", "accept_local")),
    *(f"net/ipv4/conf/{{}}/{name}" for name in ("proxy_arp", "arp_ignore")),
    *(f"net/ipv6/conf/{{}}/{name}" for name in ("forwarding", "proxy_ndp", "accept_ra")),
    "net/ipv6/conf/{}/disable_ipv6",
)


def owners_in_journal(path: Path) -> tuple[Owners, list[str]]:
    """Return who has which address by the journal, and what no journal may say."""
    owners, wrong = Owners(), list[str]()
    containers: dict[str, list[str]] = {}
    for line in path.read_bytes().splitlines():
        checksum, _, body = line.partition(b" ")
        if int(checksum, 16) != zlib.crc32(body):
            wrong.append(f"the journal has a damaged line: {line!r}")
            continue
        record = json.loads(body)
        if record["type"] == "freed":
            for address in containers.pop(record["container_id"], ()):
                owners.pop(address, None)
        elif record["type"] == "granted":
            grant = record["grant"]
            container = grant["attachment"]["container_id"]
            containers[container] = grant["addresses"]
            for address in grant["addresses"]:
                if owners.setdefault(address, container) != container:
                    wrong.append(f"{address} granted to {container} and {owners[address]}")
    return owners, wrong


def owners_in_podips(store: Store) -> tuple[Owners, list[str]]:
    """Return who has which address by the PodIPs that are Ready, and what none may say."""
    owners, wrong = Owners(), list[str]()
    for body in store.list(names.PODIPS).items:
        spec, name = body["spec"], body["metadata"]["name"]
        conditions = body.get("status", {}).get("conditions", [])
        if not any(c["type"] == "Ready" and c["status"] == "True" for c in conditions):
            wrong.append(f"PodIP {name} is not Ready: {conditions}")
        for address in _addresses(spec):
            if owners.setdefault(address, spec["containerID"]) != spec["containerID"]:
                wrong.append(f"{address} has two PodIPs")
    return owners, wrong


def _addresses(spec: Mapping[str, Any]) -> list[str]:
    return [spec[key] for key in ("address", "addressIPv6") if spec.get(key)]


def routed(space: Namespace) -> dict[str, str]:
    """Return the addresses that the node has a route to a pod for, and the routes' devices."""
    found: dict[str, str] = {}
    for family in FAMILIES:
        listed = space.program(*f"ip {family} -j route show table all proto {PROTOCOL}".split())
        found |= {
            route["dst"]: route["dev"]
            for route in json.loads(listed or "[]")
            if route.get("table") in PODS_TABLES
        }
    return found


def pod_links(space: Namespace) -> list[str]:
    """Return the node's ends of pods' pairs, by the alias on them."""
    links = json.loads(space.program("ip", "-j", "-d", "link", "show"))
    return [
        link["ifname"]
        for link in links
        if link.get("ifalias") == names.LINK_ALIAS
        and link.get("linkinfo", {}).get("info_kind") == "veth"
    ]


def addresses_in(space: Namespace) -> set[str]:
    """Return the global addresses on a pod's eth0."""
    listed = json.loads(space.program("ip", "-j", "addr", "show", "dev", "eth0"))
    return {a["local"] for link in listed for a in link["addr_info"] if a["scope"] == "global"}


def members(space: Namespace) -> str:
    """Return all that stands between braces in the node's sets and maps, as text."""
    tables = json.loads(space.program("nft", "-j", "list", "ruleset"))["nftables"]
    sets = (one[kind] for one in tables for kind in ("set", "map") if kind in one)
    return json.dumps([one.get("elem", []) for one in sets if one["table"] == names.NFT_TABLE])


def fingerprint(space: Namespace, nic: str) -> list[str]:
    """Return what there is of openeni on the node, whatever the NIC's name and index are."""
    lines: list[str] = []
    for family in FAMILIES:
        rules = space.program("ip", family, "rule").splitlines()
        lines += [line for line in rules if f"proto {PROTOCOL}" in line]
        routes = f"ip {family} route show table all proto {PROTOCOL}"
        lines += space.program(*routes.split()).splitlines()
        lines += space.program(*f"ip {family} neigh show proxy".split()).splitlines()
        permanent = f"ip {family} neigh show nud permanent"
        lines += space.program(*permanent.split()).splitlines()
        address = f"ip {family} -o addr show scope global dev {nic}"
        lines += [line.partition(nic)[2] for line in space.program(*address.split()).splitlines()]
    (link,) = json.loads(space.program("ip", "-j", "link", "show", "dev", nic))
    lines.append(f"mtu {link['mtu']} {sorted(link['flags'])}")
    lines += [f"{path} {_sysctl(space, path.format(nic))}" for path in SYSCTLS]
    lines += pod_links(space)
    lines += space.program("nft", "-s", "list", "ruleset").splitlines()
    return sorted({_plain(line.replace(nic, "NIC")) for line in lines} - {"", "}"})


def _sysctl(space: Namespace, path: str) -> str:
    try:
        return space.sysctl(path)
    except FileNotFoundError:
        return "none"  # as of IPv6, on a link that somebody has given too small an MTU for it


def _plain(line: str) -> str:
    """Return a line without what depends on the NIC's index, or on the moment."""
    line = re.sub(r'comment ".*?"', "", _TAIL.sub("", line))
    return " ".join(_NIC.sub("#", line).split())


def differences(one: Iterable[object], other: Iterable[object]) -> list[str]:
    """Return what only one of both has."""
    mine, theirs = set(one), set(other)
    gone, new = sorted(map(str, mine - theirs)), sorted(map(str, theirs - mine))
    return [*(f"- {item}" for item in gone), *(f"+ {item}" for item in new)]
