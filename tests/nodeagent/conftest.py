"""Fixtures of the agent's tests."""

from collections.abc import Generator
from pathlib import Path

import pytest

from openeni_nodeagent.cni.build import build
from openeni_nodeagent.cni.server import make_run_folder
from openeni_testing.agent.cni_call import Runtime
from openeni_testing.agent.host import AgentHost
from openeni_testing.agent.real_node import RealNode


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


@pytest.fixture
def node(tmp_path: Path, executable: Path) -> Generator[RealNode]:
    """Yield a node in a namespace of the kernel, without an agent yet."""
    made = RealNode(AgentHost(tmp_path, executable))
    yield made
    made.close()
