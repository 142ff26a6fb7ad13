"""What an administrator types on a node to try an ENI by hand, with `ip` and nothing of openeni.

A step runs its commands through whatever runs them: in a namespace of the test's own, or on a
node of the lab. A pod is a network namespace: its name (or the id of a thread in it) for
`ip link set ... netns`, and how to run a program in it.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

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
