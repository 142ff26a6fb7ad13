"""A cluster in memory with openeni in it."""

import pytest

from openeni_testing.cli_cluster import CliCluster


@pytest.fixture
def cluster() -> CliCluster:
    """Return a cluster with one node, on which all is well."""
    found = CliCluster()
    found.install("n1")
    found.pool()
    return found
