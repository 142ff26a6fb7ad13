"""Fixtures of the agent's tests."""

from pathlib import Path

import pytest

from openeni_nodeagent.cni.build import build
from openeni_nodeagent.cni.server import make_run_folder
from openeni_testing.agent.cni_call import Runtime


@pytest.fixture(scope="session")
def executable(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The CNI executable, built as the image builds it."""
    return build(tmp_path_factory.mktemp("build") / "openeni")


@pytest.fixture
def runtime(executable: Path, tmp_path: Path) -> Runtime:
    """A container runtime of a node without an agent."""
    run = tmp_path / "run"
    make_run_folder(run)
    netns = tmp_path / "netns"
    netns.touch()
    return Runtime(executable, run, netns)
