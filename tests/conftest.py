"""Fixtures that more than one folder of tests uses."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def api_server() -> Path:
    """Where the kubeconfig of a real API server is; tests put the CRDs into it themselves."""
    return Path(os.environ["OPENENI_TEST_KUBECONFIG"])
