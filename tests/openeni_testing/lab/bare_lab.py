"""An init in its enclosure and nothing in it: the least that a lab is."""

import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from openeni_lab.layout import Layout
from openeni_lab.machine import enclosure, steps
from openeni_lab.machine.client import Machine
from openeni_lab.progress import LogProgress


def start(lab: Layout) -> Machine:
    """Its loopback is up."""
    with enclosure.only_one(lab) as lock:
        steps.run([enclosure.step(lab, lock)], LogProgress())
    machine = Machine(lab.control)
    machine.check(["ip", "link", "set", "lo", "up"])
    return machine


def remove(lab: Layout) -> None:
    with enclosure.only_one(lab):
        enclosure.remove(lab)


@contextmanager
def bare_lab(root: Path, name: str = "bare") -> Generator[tuple[Layout, Machine]]:
    """One for the length of the block; nothing of it is left."""
    lab = Layout(f"{name}-{os.getpid()}", root=root)
    try:
        yield lab, start(lab)
    finally:
        remove(lab)
