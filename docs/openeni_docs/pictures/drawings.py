"""Draw what openeni is, the life of an address, and each datapath."""

from collections.abc import Iterable, Iterator
from typing import Final

from openeni_crds import names
from openeni_docs.pictures.svg import Box, Line, Shape, Text, picture

_STEPS: Final = (
    ("Neutron: one port\nwith N + 1 fixed IPs", "operator"),
    ("free\non the node", "agent"),
    ("granted\nto one pod", "agent"),
    ("cooling down\nspec.coolDown", "agent"),
    ("retired\nnever granted again", "agent"),
    ("freed\nin Neutron", "operator"),
)


def drawings() -> dict[str, str]:
    """Return every picture by the name of its file."""
    return {
        "overview.svg": _overview(),
        "address-life.svg": _life(),
        "datapath-veth.svg": _datapath("Veth", _veth()),
        "datapath-ipvlan-l2.svg": _datapath("IPVlan L2", _l2()),
        "datapath-ipvlan-l3s.svg": _datapath("IPVlan L3S and L3", _l3()),
    }


def _overview() -> str:
    return picture(
        "A pool becomes ENIs, an ENI is a port on a server, a pod gets one of its addresses",
        82,
        36,
        (
            Box(1, 1, 34, 20, "Kubernetes", "cluster", frame=True),
            Box(3, 4, 12, 5, "ENIPool\n(you apply it)", "cluster"),
            Box(20, 4, 13, 5, "operator\none leads", "cluster"),
            Box(20, 14, 13, 5, "ENI\none for each port", "cluster"),
            Box(3, 14, 12, 5, "PodIP\none for each pod", "cluster"),
            Box(47, 1, 34, 11, "OpenStack", "cloud", frame=True),
            Box(49, 5, 13, 5, "Neutron: port\n16 addresses", "cloud"),
            Box(66, 5, 13, 5, "Nova: attach\nto the server", "cloud"),
            Box(1, 24, 80, 11, "a node, which is a server", "node", frame=True),
            Box(3, 28, 12, 5, "kubelet,\nruntime", "node"),
            Box(20, 28, 13, 5, "node agent\ngrants, connects", "node"),
            Box(42, 28, 15, 5, "pod\n10.98.0.17", "pod"),
            Box(64, 28, 15, 5, "ENI: a NIC with\n10.98.0.10 to .25", "node"),
            Line(((15, 6), (20, 6))),
            Line(((33, 6), (49, 6)), "2. one POST", (37, 6)),
            Line(((62, 7), (66, 7))),
            Line(((26, 9), (26, 14)), "1. plans", (26, 12)),
            Line(((72, 10), (72, 28)), "3. a NIC appears", (58, 19)),
            Line(((26, 28), (26, 19)), "4. reports", (26, 23)),
            Line(((15, 30), (20, 30))),
            Line(((33, 30), (42, 30)), "5. ADD", (34, 30)),
            Line(((57, 30), (64, 30)), arrow=False),
            Line(((22, 28), (22, 22), (9, 22), (9, 19)), "6. records", (9, 22), dashed=True),
        ),
    )


def _life() -> str:
    shapes: list[Shape] = []
    for number, (text, owner) in enumerate(_STEPS):
        x = 1 + number * 17
        colour = "cloud" if owner == "operator" else "node"
        shapes.append(Box(x, 6, 14, 6, text, colour))
        shapes.append(Text(x + 1, 14, f"({owner})"))
        if number:
            shapes.append(Line(((x - 3, 9), (x, 9))))
    return picture(
        "The life of an address: on the port, free, granted, cooling down, free again or retired",
        101,
        19,
        (
            *shapes,
            Text(1, 4, "attached, LinkReady ->"),
            Line(((59, 6), (59, 3), (25, 3), (25, 6)), "seen gone from the kernel: free", (32, 3)),
            Text(27, 17, "ADD grants, DEL ends the grant: no call of the cloud, none of the API"),
            Line(((25, 12), (25, 18), (76, 18), (76, 12)), dashed=True),
        ),
    )


def _datapath(name: str, shapes: Iterable[Shape]) -> str:
    frame = (
        Box(1, 1, 58, 33, "the node", "node", frame=True),
        Box(3, 5, 14, 7, "pod 10.98.0.17", "pod", frame=True),
        Box(22, 5, 14, 7, "pod 10.98.0.18", "pod", frame=True),
        Box(22, 25, 20, 5, "ENI fa:16:3e:98:00:0a\n10.98.0.10 stays here", "node"),
        Box(45, 25, 12, 5, "node's NIC\n10.99.0.11", "node"),
        Box(66, 25, 14, 5, "Neutron\nport security", "cloud"),
        Line(((32, 30), (32, 32), (73, 32), (73, 30)), arrow=False),
    )
    return picture(f"The datapath {name}", 82, 35, (*frame, *shapes))


def _links(kind: str, prefix: str) -> Iterator[Shape]:
    for x in (5, 24):
        yield Box(x, 8, 10, 3, f"eth0, {kind}{prefix}", "pod")


def _veth() -> tuple[Shape, ...]:
    return (
        *_links("", "/32"),
        Box(3, 15, 14, 3, f"{names.LINK_PREFIX}…, a veth end", "node"),
        Box(22, 15, 14, 3, f"{names.LINK_PREFIX}…, a veth end", "node"),
        Line(((10, 11), (10, 15)), arrow=False),
        Line(((29, 11), (29, 15)), arrow=False),
        Box(
            3,
            20,
            54,
            3,
            f"node's stack: {names.RULE_TO_POD} to a pod, {names.RULE_FROM_VETH_POD} from a pod by "
            "its ENI's table; netfilter, kube-proxy",
        ),
        Line(((10, 18), (10, 20)), arrow=False),
        Line(((29, 18), (29, 20)), arrow=False),
        Line(((32, 23), (32, 25)), arrow=False),
        Line(((51, 23), (51, 25)), arrow=False),
        Text(38, 8, f"gateway {names.GATEWAY_V4}\nis {names.VETH_MAC}"),
    )


def _l2() -> tuple[Shape, ...]:
    return (
        *_links("ipvlan", ""),
        Line(((10, 11), (10, 22), (25, 22), (25, 25)), "subnet: past the node's stack", (2, 21)),
        Line(((29, 11), (29, 25)), arrow=False),
        Box(41, 8, 16, 4, f"{names.LINK_PREFIX}-<index>\nslave of the node", "node"),
        Line(((45, 12), (45, 15)), arrow=False),
        Box(36, 15, 21, 4, "node's stack: node,\nServices, other ENIs"),
        Line(((38, 19), (38, 25)), arrow=False),
        Line(((51, 19), (51, 25)), arrow=False),
    )


def _l3() -> tuple[Shape, ...]:
    return (
        *_links("ipvlan", ""),
        Box(41, 8, 16, 4, f"{names.LINK_PREFIX}-<index>\nslave of the node", "node"),
        Box(3, 15, 54, 4, "node's stack: the node routes for its pods; netfilter, kube-proxy"),
        Line(((10, 11), (10, 15)), arrow=False),
        Line(((29, 11), (29, 15)), arrow=False),
        Line(((48, 12), (48, 15)), arrow=False),
        Line(((32, 19), (32, 25)), arrow=False),
        Line(((51, 19), (51, 25)), arrow=False),
        Text(3, 22, "L3S: in and out. L3: what leaves"),
    )
