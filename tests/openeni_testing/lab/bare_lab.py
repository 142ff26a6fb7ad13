"""A bare lab: an init in its enclosure, and nothing else."""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from openeni_lab.layout import Layout
from openeni_lab.machine import enclosure, steps
from openeni_lab.machine.client import Machine
from openeni_lab.progress import LogProgress
from openeni_testing.lab.own_layout import own_layout


def start(lab: Layout) -> Machine:
    """Start a bare lab and set its loopback up."""
    with enclosure.locked(lab) as lock:
        steps.run([enclosure.start_init_step(lab, lock)], LogProgress())
    machine = Machine(lab.control)
    machine.check(["ip", "link", "set", "lo", "up"])
    return machine


def remove(lab: Layout) -> None:
    with enclosure.locked(lab):
        enclosure.remove(lab)


@contextmanager
def bare_lab(root: Path, name: str = "bare") -> Generator[tuple[Layout, Machine]]:
    """Run a bare lab during the block, and remove it."""
    lab = own_layout(root, name)
    try:
        yield lab, start(lab)
    finally:
        remove(lab)
