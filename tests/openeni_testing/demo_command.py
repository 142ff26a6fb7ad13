"""The demo's command on a lab of the test's own."""

import subprocess
import sys
from dataclasses import dataclass
from typing import Final

from openeni_lab.layout import Layout
from openeni_lab.machine import enclosure
from openeni_lab.product.installed_lab import InstalledLab
from openeni_testing.lab.machine_facts import machine_facts

PROGRAM: Final = (sys.executable, "-m", "openeni_lab")
DEMO_SECONDS: Final = 800


def run_lab_command(
    lab: Layout, *words: str, seconds: float = 120
) -> "subprocess.CompletedProcess[str]":
    """Run a command of `openeni-lab` for the lab."""
    command = [*PROGRAM, words[0], f"--name={lab.name}", *words[1:]]
    return subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)


def assert_nothing_is_left(lab: Layout, before: dict[str, object]) -> None:
    """Assert that nothing of the lab is left, and that the machine is as it was."""
    assert enclosure.leftovers(lab) == []
    assert machine_facts(lab.name) == before


@dataclass(frozen=True)
class Demonstrated:
    """A lab after its demo, what the demo has printed, and facts about the machine before it."""

    layout: Layout
    installed: InstalledLab
    printed: str
    before: dict[str, object]

    def commands(self) -> list[str]:
        """Return the commands that the demo has printed; the last one removes the lab."""
        _, _, commands = self.printed.partition("Look around")
        return [line.strip() for line in commands.splitlines() if line.startswith("  ")]
