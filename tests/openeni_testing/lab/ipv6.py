"""Pools with IPv6 in an installed lab, their pods, and the paths of these."""

from collections.abc import Sequence
from typing import Any, Final

from openeni_lab.hypervisor.network import REMOTE_ADDRESS_V6
from openeni_lab.layout import PODS_NETWORK, PODS_SUBNET_V6
from openeni_lab.product import connectivity, workloads
from openeni_lab.product.connectivity import Check
from openeni_lab.product.installed_lab import InstalledLab
from openeni_testing.lab import installed_lab as lab

Json = dict[str, Any]

IPV6_ONLY: Final = [{"name": PODS_SUBNET_V6}]
DUAL_STACK: Final = [{"name": PODS_NETWORK}, *IPV6_ONLY]


def deploy(
    installed: InstalledLab, name: str, subnets: Sequence[Json], pods: int, mode: str = "veth"
) -> list[Json]:
    """Create a pool and a Deployment of one name; return the pods once all of them are ready."""
    datapath = workloads.DATAPATHS[mode]
    installed.api.apply([workloads.pool(name, enis=1, subnets=subnets, datapath=datapath)])
    return lab.deploy(installed, name, name, pods)


def failures(installed: InstalledLab, checks: Sequence[Check]) -> list[tuple[str, str]]:
    """Return the paths that do not work, each with the answer there."""
    results = [installed.reach.run(check) for check in checks]
    return [(r.check.path, r.answer) for r in results if not r.ok]


def paths_v6(installed: InstalledLab, app: str) -> tuple[Check, ...]:
    """Return a check for every path of the app's pods in IPv6."""
    return connectivity.checks_v6(installed.reach.pods(app), REMOTE_ADDRESS_V6)
