"""`python -m ...agent_process SOCKET`: the agent with the real kernel, and a store in memory."""

import logging
import os
import sys
from contextlib import closing
from pathlib import Path

from openeni_nodeagent.__main__ import run
from openeni_nodeagent.datapath.gateways.kernel_gateways import KernelGateways
from openeni_nodeagent.datapath.kernel_datapath import KernelDatapath
from openeni_nodeagent.settings import from_environment
from openeni_testing.store.remote import RemoteStore


def main(path: Path) -> None:
    logging.basicConfig(level="WARNING")
    with closing(KernelDatapath()) as datapath:
        run(from_environment(os.environ), RemoteStore(path), datapath, KernelGateways())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
