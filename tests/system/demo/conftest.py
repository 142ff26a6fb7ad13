"""The demo on nodes with a kernel of their own, which has ipvlan."""

from collections.abc import Iterator
from typing import Final

import pytest

from openeni_lab.lab import load
from openeni_lab.layout import Layout
from openeni_lab.product import installed_lab
from openeni_lab.progress import LogProgress
from openeni_testing.demo_command import DEMO_SECONDS, Demonstrated, run_lab_command
from openeni_testing.lab.machine_facts import machine_facts
from openeni_testing.lab.shared_lab import own_name, remove_abandoned

PREFIX: Final = "demo"


@pytest.fixture(scope="module")
def demonstrated() -> Iterator[Demonstrated]:
    remove_abandoned(PREFIX)
    lab = Layout(own_name(PREFIX))
    before = machine_facts(lab.name)
    try:
        done = run_lab_command(lab, "demo", "--kind=vm", seconds=DEMO_SECONDS)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        installed = installed_lab.up(load(lab), LogProgress())
        yield Demonstrated(lab, installed, done.stdout, before)
    finally:
        done = run_lab_command(lab, "down")
        assert done.returncode == 0, done.stderr
