"""The whole lab with openeni in it, once for all system tests, gone afterwards.

`OPENENI_TEST_LAB=<name>` keeps that lab for the next run: for whoever works on a test.
"""

import os
from collections.abc import Iterator

import pytest

from openeni_lab import demonstration
from openeni_lab.demonstration import Running
from openeni_lab.lab import Kind, Lab
from openeni_lab.layout import Layout
from openeni_lab.progress import Lines


@pytest.fixture(scope="session")
def running() -> Iterator[Running]:
    kept = os.environ.get("OPENENI_TEST_LAB", "")
    lab = Lab(Layout(kept or "test"), Kind.NAMESPACE)
    if kept:
        yield demonstration.up(lab, Lines())
        return
    lab.down()  # what a killed run may have left
    try:
        yield demonstration.up(lab, Lines())
    finally:
        lab.down()
