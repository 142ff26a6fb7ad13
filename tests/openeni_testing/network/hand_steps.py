"""What an administrator types on a node to try an ENI by hand, with `ip` and nothing of openeni.

docs/howto/by-hand.md has the same commands, and tests/docs/test_by_hand.py compares. A step runs
its commands through whatever runs them: in a namespace of the test's own, or on a node of the lab.
A pod is a network namespace: its name (or the id of a thread in it) for `ip link set ... netns`,
and how to run a program in it.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from openeni_lab.machine.sysctl import set_command
from openeni_testing.waiting import wait_for

Run = Callable[..., str]  # run(*argv) -> output; fails with what the program said
_SLAVES: Final = frozenset({"ipvlan", "macvlan", "vlan", "bond", "bridge"})


@dataclass(frozen=True)
class HandPod:
    """A network namespace that plays a pod."""

    netns: str
    run: Run


def named_pod(node: Run, name: str) -> HandPod:
    """`ip netns add`; undo with `remove_pod`."""
    node("ip", "netns", "add", name)
    node("ip", "-n", name, "link", "set", "lo", "up")
    return HandPod(name, lambda *argv: node("ip", "netns", "exec", name, *argv))


def port_with_two_addresses(name: str) -> tuple[str, ...]:
    """Return the words of `openstack` that create the port."""
    fixed = ("--fixed-ip", "subnet=pods")
    network = ("--network", "pods", *fixed, *fixed)
    return ("port", "create", *network, "--security-group", "pods", name)


def pod_without_ipv6(node: Run, name: str) -> HandPod:
    """Make a pod whose links get no address of their own: Neutron would drop it."""
    pod = named_pod(node, name)
    pod.run(*set_command("net.ipv6.conf.default.disable_ipv6=1"))
    return pod


def remove_pod(node: Run, pod: HandPod) -> None:
    node("ip", "netns", "delete", pod.netns)


def find_nic(node: Run, mac: str, seconds: float = 30) -> str:
    """The name of the NIC with this MAC, once the guest has noticed it."""

    def found() -> str:
        for link in json.loads(node("ip", "-json", "-details", "link")):
            kind = link.get("linkinfo", {}).get("info_kind", "")
            if link.get("address") == mac and kind not in _SLAVES:
                return str(link["ifname"])
        return ""

    return wait_for(found, f"a NIC with MAC {mac}", seconds)


def flush(node: Run, device: str) -> None:
    """`ifconfig eth5 0`: flush what the image's DHCP client has added, and set the link up."""
    node("ip", "addr", "flush", "dev", device)
    node("ip", "link", "set", device, "up")


def give_slave(node: Run, parent: str, pod: HandPod, address: str, mode: str) -> None:
    """An ipvlan slave of the ENI as the pod's eth0; `address` with its prefix length."""
    link = f"hand{address.partition('/')[0].rsplit('.', 1)[1]}"
    node("ip", "link", "add", link, "link", parent, "type", "ipvlan", "mode", mode)
    node("ip", "link", "set", link, "netns", pod.netns)
    pod.run("ip", "link", "set", link, "name", "eth0")
    pod.run("ip", "addr", "add", address, "dev", "eth0")
    pod.run("ip", "link", "set", "eth0", "up")


def route(pod: HandPod, *routes: str) -> None:
    """`ip route add ...` for each."""
    for words in routes:
        pod.run("ip", "route", "add", *words.split())


def give_node_a_slave(node: Run, device: str, eni: str, subnet: str, own: str) -> None:
    """A slave for the node, as a parent does not see its slaves, with an address of the node.

    Not the ENI's own: ipvlan would hand the slave the ARP answers that the ENI waits for.
    """
    node("ip", "addr", "add", f"{eni}/32", "dev", device)
    node("ip", "route", "add", subnet, "dev", device, "src", eni)
    node("ip", "link", "add", "hand", "link", device, "type", "ipvlan", "mode", "l3")
    node("ip", "addr", "add", f"{own}/32", "dev", "hand")
    node("ip", "link", "set", "hand", "up")


def route_to_pod(node: Run, address: str, own: str) -> None:
    """A route of the node to a pod, by the node's slave."""
    node("ip", "route", "add", address, "dev", "hand", "src", own)


def connect_by_veth(
    node: Run, device: str, pod: HandPod, *, eni: str, subnet: str, gateway: str, address: str
) -> None:
    """A pair of links, the node as the pod's gateway, and an answer to ARP on the ENI."""
    node(*set_command("net.ipv4.ip_forward=1"))
    node(*set_command(f"net.ipv4.neigh.{device}.proxy_delay=0"))
    for words in (
        f"addr add {eni}/32 dev {device}",
        f"route add {subnet} dev {device} src {eni}",
        f"route add default via {gateway} dev {device}",
        f"link add hand type veth peer name eth0 netns {pod.netns}",
        "link set hand address ee:ee:ee:ee:ee:ee up",
        f"route add {address} dev hand",
        f"neigh add proxy {address} dev {device}",
    ):
        node("ip", *words.split())
    for words in (
        f"addr add {address}/32 dev eth0",
        "link set eth0 up",
        "route add 169.254.1.1 dev eth0 scope link",
        "route add default via 169.254.1.1 dev eth0",
        "neigh add 169.254.1.1 lladdr ee:ee:ee:ee:ee:ee dev eth0 nud permanent",
    ):
        pod.run("ip", *words.split())


def web_server(busybox: Path, folder: Path, address: str) -> list[str]:
    """Write a page that names `address`; return the command that serves it on that address alone.

    So a test sees which server it reached.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "index.html").write_text(f"{address}\n")
    return [str(busybox), "httpd", "-f", "-p", f"{address}:80", "-h", str(folder)]


def curl(run: Run, address: str, *flags: str) -> str:
    """Return what `curl` prints: the page, or with `-I` the headers."""
    url = f"http://{address}/"
    return run("curl", "--silent", "--show-error", "--max-time", "10", *flags, url)
