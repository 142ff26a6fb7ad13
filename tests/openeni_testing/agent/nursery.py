"""`python -m openeni_testing.agent.nursery FOLDER EXECUTABLE DATAPATH WAITS`: agents by fork.

Their API server is another process's MemoryStore, their kernel the one of the network namespace
(`kernel`) or a file (`memory`); all else is the real one. With `short` waits, what no notification
shows is looked for after seconds, not after half a minute.
"""

import importlib
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, Literal, TypeAlias

from openeni_nodeagent.__main__ import run
from openeni_nodeagent.datapath.gateways.kernel_gateways import KernelGateways
from openeni_nodeagent.datapath.kernel_datapath import KernelDatapath
from openeni_nodeagent.settings import from_environment
from openeni_testing.agent import node_objects
from openeni_testing.agent.host import AgentHost, MemoryGateways, environment
from openeni_testing.agent.memory_datapath import MemoryDatapath
from openeni_testing.nursery import Child, Nursery, Process, raise_children
from openeni_testing.store.remote import RemoteStore

DatapathKind: TypeAlias = Literal["kernel", "memory"]
Waits: TypeAlias = Literal["short", "long"]
NO_CHANGE: Final = "-"
KERNEL_FILE: Final = "kernel.json"
SHORT_WAITS: Final = {  # seconds, by module
    "looks.datapath_reconciler": {"LOOK_PERIOD_SECONDS": 2.0, "SOON_SECONDS": 0.3},
    "enis.link_reports": {"CARRIER_LOST_SECONDS": 1.0},
    "grant_events": {"SOON_SECONDS": 0.3},
    "attachments.del_queue": {"REPLAY_PERIOD_SECONDS": 0.5},
}


class Agents(Nursery):
    """Starts agents of a host; `popen` decides on their network namespace."""

    def __init__(
        self,
        host: AgentHost,
        datapath: DatapathKind,
        waits: Waits = "long",
        popen: Callable[..., Process] = subprocess.Popen,
    ) -> None:
        super().__init__(
            "openeni_testing.agent.nursery",
            *(host.folder, host.executable, datapath, waits),
            log=host.folder / "agent.log",
            popen=popen,
        )
        self.host = host

    def start_agent(self, settings: Mapping[str, str] | None = None) -> Child:
        """Start an agent, with some environment variables changed."""
        changed = ";".join(f"{name}={value}" for name, value in (settings or {}).items())
        return self.start(changed or NO_CHANGE)


def main(folder: Path, executable: Path, datapath: str, waits: str) -> None:
    if waits == "short":
        _shorten_waits()
    os.environ.update(environment(folder, executable))
    raise_children(lambda changed: _live(folder, datapath, changed))


def _live(folder: Path, datapath: str, changed: str) -> int:
    if changed != NO_CHANGE:
        os.environ.update(dict(one.split("=", 1) for one in changed.split(";")))
    logging.basicConfig(level="INFO", format="%(asctime)s %(process)d %(name)s: %(message)s")
    settings = from_environment(os.environ)
    made = (
        KernelDatapath(settings.mark_mask)
        if datapath == "kernel"
        else MemoryDatapath(node_objects.mac(0), file=folder / KERNEL_FILE)
    )
    gateways = KernelGateways() if datapath == "kernel" else MemoryGateways()
    run(settings, RemoteStore(folder / "store.sock"), made, gateways)
    return 0


def _shorten_waits() -> None:
    for module, constants in SHORT_WAITS.items():
        known = vars(importlib.import_module(f"openeni_nodeagent.{module}"))
        assert constants.keys() <= known.keys(), (module, constants)
        known.update(constants)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:5])
