"""Fixtures that more than one folder of tests uses."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from openeni_testing.api_server import ApiServer


@pytest.fixture(scope="session")
def control_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """An API server that a test may stop, if it runs it again."""
    server = ApiServer.start(tmp_path_factory.mktemp("lab"))
    yield server
    server.remove()


@pytest.fixture(scope="session")
def api_server(control_plane: ApiServer) -> Path:
    """The kubeconfig of a real API server; tests put the CRDs into it themselves."""
    return control_plane.kubeconfig
