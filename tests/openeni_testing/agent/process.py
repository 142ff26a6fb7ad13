"""`python -m openeni_testing.agent.process FOLDER`: the agent as a process that can be killed.

Its API server is another process's MemoryStore, its kernel a file; all else is the real one.
"""

import logging
import os
import sys
from pathlib import Path

from openeni_nodeagent.__main__ import run
from openeni_nodeagent.settings import from_environment
from openeni_testing.agent import node_objects
from openeni_testing.agent.memory_datapath import MemoryDatapath
from openeni_testing.store.remote import RemoteStore


def main(folder: Path) -> None:
    logging.basicConfig(level="INFO")
    datapath = MemoryDatapath(node_objects.mac(0), file=folder / "kernel.json")
    run(from_environment(os.environ), RemoteStore(folder / "store.sock"), datapath)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
