"""What a lab must not change on the machine that it runs on."""

import re
import subprocess
from pathlib import Path

from openeni_lab import isolation


def machine_facts(lab: str) -> dict[str, object]:
    """Links, routes, filters, mounts of this lab, sysctls and the user's own kubeconfig."""
    links = re.sub(r"qdisc.*", "", subprocess.check_output(["ip", "-o", "link"], text=True))
    routes = subprocess.check_output(["ip", "route"], text=True)
    rules = subprocess.check_output(["nft", "list", "tables"], text=True)
    kube = Path.home() / ".kube" / "config"
    return {
        "links": sorted(line.split()[1] for line in links.splitlines()),
        "routes": routes,
        "nftables": rules,
        "mounts": len([p for p, _ in isolation.mount_points() if lab in p]),
        "sysctls": {n: (Path("/proc/sys") / n).read_text() for n in isolation.KUBELET_SYSCTLS},
        "forwarding": Path("/proc/sys/net/ipv4/ip_forward").read_text(),
        "kubeconfig": kube.read_bytes() if kube.exists() else None,
    }
