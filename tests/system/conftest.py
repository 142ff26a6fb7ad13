"""The whole lab with openeni in it, once for all system tests, gone afterwards."""

from collections.abc import Iterator

import pytest

from openeni_lab import demonstration
from openeni_lab.demonstration import Running
from openeni_lab.lab import Kind, Lab
from openeni_lab.layout import Layout
from openeni_lab.progress import Lines


@pytest.fixture(scope="session")
def running() -> Iterator[Running]:
    lab = Lab(Layout("test"), Kind.NAMESPACE)
    lab.down()  # what a killed run may have left
    try:
        yield demonstration.up(lab, Lines())
    finally:
        lab.down()
