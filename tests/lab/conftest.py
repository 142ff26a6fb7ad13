"""Labs of the tests' own: one with wires alone, one with OpenStack, both in a folder of the test."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from openeni_lab import builds, enclosure, openstack, steps
from openeni_lab.layout import Layout
from openeni_lab.machine import Machine
from openeni_lab.network import Network
from openeni_lab.progress import Lines
from openeni_testing.fake_node import FakeNode


@dataclass(frozen=True)
class Lab:
    """A running lab of the tests."""

    layout: Layout
    machine: Machine
    network: Network
    venv: Path = Path("/nonexistent")  # where OpenStack is installed, if it is

    def node(self, name: str) -> FakeNode:
        """A network namespace that stands for a node; its server's id is made from its name."""
        return FakeNode.make(self.layout, self.machine, name)


def _start(root: Path, name: str) -> Lab:
    layout = Layout(f"{name}-{os.getpid()}", root=root)
    machine = Machine(layout.control)
    with enclosure.only_one(layout) as lock:
        network = Network(layout, machine)
        steps.run([enclosure.step(layout, lock), *network.steps()], Lines())
    return Lab(layout, machine, network)


@pytest.fixture(scope="module")
def wires(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A lab with bridges, gateway, the outside host and the anti-spoofing table."""
    lab = _start(tmp_path_factory.mktemp("lab"), "wires")
    yield lab
    enclosure.remove(lab.layout)


@pytest.fixture(scope="session")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A lab with the real OpenStack, two servers without machines and the remote VM."""
    venv = builds.ensure(["openstack"], Lines()).openstack_venv
    lab = _start(tmp_path_factory.mktemp("lab"), "cloud")
    steps.run(openstack.steps(lab.layout, lab.machine, venv), Lines())
    yield replace(lab, venv=venv)
    enclosure.remove(lab.layout)
