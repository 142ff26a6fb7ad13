"""The demo on VM nodes: its output is true, its lab has every path in IPv6, too, and can go."""

import subprocess
from dataclasses import dataclass
from typing import Final

import pytest

from openeni_lab.product.demo import DEPLOYMENTS, REUSED, SHOWN_DATAPATHS, STATEFUL_SETS
from openeni_lab.product.demo import PODS as PODS_PATH
from openeni_lab.product.installed_lab import InstalledLab
from openeni_testing.demo_command import Demonstrated, assert_nothing_is_left
from openeni_testing.lab import installed_lab as lab
from openeni_testing.lab import ipv6
from openeni_testing.network import network_policies
from openeni_testing.waiting import wait_for

# A group of its own: its labs are beside those that other system tests share.
pytestmark = [
    pytest.mark.lab,
    pytest.mark.root,
    pytest.mark.long,
    pytest.mark.every_share,
    pytest.mark.xdist_group("demo"),
]

FAMILIES: Final = {"dual": ipv6.DUAL_STACK, "six": ipv6.IPV6_ONLY}
PODS: Final = 3  # on two nodes: two of them share one
COMMAND_SECONDS: Final = 120
POLICY_POOL: Final = "veth"


def test_it_shows_every_datapath_and_says_the_truth(demonstrated: Demonstrated) -> None:
    printed, installed = demonstrated.printed, demonstrated.installed
    assert "FAILED" not in printed
    for line in ("packets dropped as spoofed: 0", "unexpected exits of programs: 0"):
        assert line in printed.splitlines()
    for mode in (*SHOWN_DATAPATHS, REUSED):
        lab.wait_until_all_agree(installed, mode)
        enis = lab.enis_of(installed, mode)
        podips = lab.podips_on(installed, enis)
        assert len(podips) >= 2 * len(installed.nodes)
        assert {eni["spec"]["nodeName"] for eni in enis} == set(installed.nodes)
    assert sum(installed.dropped().values()) == 0
    assert re_used(printed) == {pod.address for pod in installed.reach.pods(REUSED)}


def test_it_ends_with_what_openeni_status_says(demonstrated: Demonstrated) -> None:
    status = demonstrated.printed.partition("openeni status")[2].partition("the demo itself")[0]
    _, head, *lines = status.splitlines()
    assert head == "no problems"
    rows = {line.split()[0] for line in lines if line.strip()}
    assert {*SHOWN_DATAPATHS, REUSED} <= rows
    assert any(line.startswith(f"{len(demonstrated.installed.nodes)} nodes, ") for line in lines)


def test_the_commands_that_it_prints_work(demonstrated: Demonstrated) -> None:
    *commands, last = demonstrated.commands()
    kubeconfig = demonstrated.layout.kubeconfig
    assert any(line.startswith(f"export KUBECONFIG={kubeconfig}") for line in commands)
    for line in commands:
        run(line)
    assert "down" in last


@dataclass(frozen=True)
class Emptied:
    """The lab without the demo's pods, and which programs had ended by then."""

    installed: InstalledLab
    exits: frozenset[str]


@pytest.fixture(scope="module")
def emptied(demonstrated: Demonstrated) -> Emptied:
    """Delete the demo's pods, and its pools but that of the lab's own pods.

    The nodes have one processor each. So many pods that end at once may keep the leader from its
    Lease, and the other operator takes over: what has ended by then is not these tests' matter.
    """
    installed = demonstrated.installed
    for collection in (DEPLOYMENTS, STATEFUL_SETS):
        for found in installed.api.items(collection):
            installed.api.delete(f"{collection}/{found['metadata']['name']}")
    wait_for(lambda: not installed.api.items(PODS_PATH), "the demo's pods are gone", lab.PATIENCE)
    for name in (*SHOWN_DATAPATHS[1:], REUSED):
        installed.api.delete(f"{lab.POOLS}/{name}")
    return Emptied(installed, installed.exits_so_far())


@pytest.mark.parametrize("families", FAMILIES)
@pytest.mark.parametrize("mode", SHOWN_DATAPATHS)
def test_every_path_works_in_ipv6_and_nothing_is_dropped_as_spoofed(
    emptied: Emptied, mode: str, families: str
) -> None:
    installed, name = emptied.installed, f"{mode}-{families}"
    before = installed.dropped()
    ipv6.deploy(installed, name, FAMILIES[families], PODS, mode)
    assert ipv6.failures(installed, ipv6.paths_v6(installed, name)) == []
    lab.wait_until_all_agree(installed, name)
    assert installed.dropped_since(before) == {}
    assert installed.unexpected_exits(emptied.exits) == []


def test_network_policies_hold_for_veth_pods_both_ways_on_a_node_and_between_nodes(
    emptied: Emptied,
) -> None:
    installed = emptied.installed
    network_policies.install(installed)
    lab.deploy(installed, "server", POLICY_POOL, 2)
    lab.deploy(installed, "friend", POLICY_POOL, 2)
    lab.deploy(installed, "stranger", POLICY_POOL, 2)
    pairs = network_policies.pairs(installed, "server", ("friend", "stranger"))
    assert {(pair.client, pair.same_node) for pair in pairs} == {
        (app, same) for app in ("friend", "stranger") for same in (True, False)
    }
    network_policies.wait_for_reached(installed, pairs, {"friend", "stranger"})
    installed.api.apply([network_policies.only_from("server", "friend")])
    network_policies.wait_for_reached(installed, pairs, {"friend"})
    installed.api.apply([network_policies.nothing_out("friend")])
    network_policies.wait_for_reached(installed, pairs, set())
    for name in (network_policies.INGRESS, network_policies.EGRESS):
        installed.api.delete(f"{network_policies.PATH}/{name}")
    network_policies.wait_for_reached(installed, pairs, {"friend", "stranger"})
    lab.wait_for_pods(installed, "server", 2)  # kubelet's probes passed all the time
    assert installed.unexpected_exits(emptied.exits) == []


def test_the_last_command_that_it_prints_leaves_nothing(demonstrated: Demonstrated) -> None:
    run(demonstrated.commands()[-1])
    assert_nothing_is_left(demonstrated.layout, demonstrated.before)


def re_used(printed: str) -> set[str]:
    """Return the addresses that the demo reported as re-used after their cool-down."""
    (line,) = (line for line in printed.splitlines() if line.startswith("re-used after cool-down"))
    return set(line.partition(": ")[2].split(", "))


def run(line: str) -> None:
    """Run a line in a shell, as somebody who reads it does."""
    done = subprocess.run(
        ["sh", "-ec", line],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=COMMAND_SECONDS,
        check=False,
    )
    assert done.returncode == 0, f"{line}: {done.stderr}"
