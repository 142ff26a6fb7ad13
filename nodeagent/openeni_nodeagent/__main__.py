"""`python -m openeni_nodeagent`: read settings, make the parts, run until a signal."""

import fcntl
import gc
import logging
import os
import signal
import sys
import threading
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Final

from openeni_crds.names import BUNDLE_VERSION, MANAGER_AGENT
from openeni_kube.answers import print_failure
from openeni_kube.client import NotConfiguredError, connect
from openeni_kube.command_line import Question, read_command_line
from openeni_kube.exposition import Exposition
from openeni_kube.store import Store
from openeni_nodeagent.agent import Agent
from openeni_nodeagent.ask.answer import QUESTIONS, answer
from openeni_nodeagent.cni.install import InstallError
from openeni_nodeagent.cni.server import make_run_folder
from openeni_nodeagent.datapath.gateways.kernel_gateways import KernelGateways
from openeni_nodeagent.datapath.kernel_datapath import KernelDatapath
from openeni_nodeagent.datapath_api import DatapathError, NodeDatapath
from openeni_nodeagent.enis import system_bus
from openeni_nodeagent.enis.nic_guards import NICGuards, known_guards
from openeni_nodeagent.gateway_api import GatewayProbe
from openeni_nodeagent.grants.grant_log import LOGGER
from openeni_nodeagent.grants.journal import BOOT_ID, Journal
from openeni_nodeagent.metrics.server import MetricsServer
from openeni_nodeagent.settings import Settings, SettingsError, from_environment

# Of linux/capability.h; docs/security.md says what for.
CAPABILITIES: Final = {"CAP_NET_ADMIN": 12, "CAP_NET_RAW": 13, "CAP_SYS_ADMIN": 21}
_log: Final = logging.getLogger("openeni_nodeagent")


class StartError(Exception):
    """The agent cannot start; one line for the administrator."""


def main() -> int:
    """Run until SIGTERM or SIGINT.

    Exit status: 0 when stopped, 1 when it could not start, 2 when a setting is wrong.
    """
    try:
        settings = from_environment(os.environ)
        _log_to_stderr(settings.log_level)
        _log_grants_to_stdout()
        _require_capabilities()
        store = connect(agent=MANAGER_AGENT)
        with closing(KernelDatapath(settings.mark_mask)) as datapath:
            run(settings, store, datapath, KernelGateways())
    except (SettingsError, NotConfiguredError) as error:
        sys.stderr.write(f"openeni-agent: {error}\n")
        return 2
    except (StartError, InstallError, DatapathError) as error:
        sys.stderr.write(f"openeni-agent: {error}\n")
        return 1
    return 0


def ask(question: Question) -> int:
    """Answer a question beside the agent that runs; return the exit code."""
    try:
        settings = from_environment(os.environ)
        _log_to_stderr("WARNING")
        _require_capabilities()
        store = connect(agent=MANAGER_AGENT)
        with closing(KernelDatapath(settings.mark_mask)) as datapath:
            return answer(question, settings, store, datapath)
    except (SettingsError, NotConfiguredError, StartError, DatapathError) as error:
        return print_failure(str(error))


def run(settings: Settings, store: Store, datapath: NodeDatapath, gateways: GatewayProbe) -> None:
    """Run the agent until a signal. Raises StartError, InstallError, DatapathError."""
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: stopping.set())
    _log.info("agent %s starts on node %s", BUNDLE_VERSION, settings.node)
    lock = _lock_run_folder(settings, stopping)
    if lock < 0:
        return
    try:
        journal = Journal(settings.journal, BOOT_ID.read_text().strip())
    except OSError as error:
        raise StartError(f"the journal {settings.journal} cannot be used: {error}") from None
    if journal.state.damaged:
        _log.error(
            "journal %s: skipped %d damaged records; "
            "their grants are rebuilt from kernel and PodIPs",
            settings.journal,
            journal.state.damaged,
        )
    guards = known_guards(
        settings.networkmanager, settings.networkd, settings.networkd_conf, settings.udev
    )
    agent = Agent(
        settings,
        store,
        datapath,
        journal,
        NICGuards(guards, partial(system_bus.reload, settings.bus), settings.run),
        gateways=gateways,
    )
    # Modules stay. Each full collection would look at their 70,000 objects, and take 20 ms in which
    # no call gets the interpreter.
    gc.collect()
    gc.freeze()
    try:
        agent.start()
    except OSError as error:
        raise StartError(f"cannot start: {error}") from None
    metrics = _serve_metrics(settings, agent)
    stopping.wait()
    _log.info("stopping; running pods stay as they are")
    metrics.stop()
    agent.stop()
    os.close(lock)


def _serve_metrics(settings: Settings, agent: Agent) -> MetricsServer:
    """Serve metrics, if they are asked for."""
    exposition = Exposition(BUNDLE_VERSION)
    exposition.add_source(agent.samples)
    server = MetricsServer(settings.metrics_address, settings.metrics_port, exposition.page)
    if settings.metrics_port:
        server.start()
    return server


def _lock_run_folder(settings: Settings, stopping: threading.Event) -> int:
    """Wait for a previous agent to end: two must not write one journal.

    Returns the lock's descriptor, -1 if `stopping` was set meanwhile.
    """
    try:
        make_run_folder(settings.run)
        lock = os.open(settings.run / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StartError(f"{settings.run} cannot be used: {error.strerror}") from None
    logged = False
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not logged:
                _log.info("another agent runs on this node: waiting for it to end")
                logged = True
        else:
            return lock
        if stopping.wait(0.1):
            os.close(lock)
            return -1


def _require_capabilities() -> None:
    """Raise StartError for a missing capability, rather than meet EPERM later."""
    lines = Path("/proc/self/status").read_text().splitlines()
    held = next(int(line.split()[1], 16) for line in lines if line.startswith("CapEff:"))
    missing = [name for name, bit in CAPABILITIES.items() if not held & 1 << bit]
    if missing:
        raise StartError(f"needs {' and '.join(missing)}: give the container these capabilities")


def _log_to_stderr(level: str) -> None:
    logging.basicConfig(
        level=level, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr
    )


def _log_grants_to_stdout() -> None:
    """Write the log of grants as it is, apart from what is for people."""
    log = logging.getLogger(LOGGER)
    log.setLevel(logging.INFO)
    log.propagate = False
    log.addHandler(logging.StreamHandler(sys.stdout))


if __name__ == "__main__":
    asked = read_command_line("openeni-agent", QUESTIONS)
    sys.exit(ask(asked) if asked else main())
