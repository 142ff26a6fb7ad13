"""Render docs/reference/environment.md: the variables that openeni's programs read.

Their names come from the code that reads them, and the chart's values from its templates.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

import openeni_nodeagent.settings as agent
import openeni_operator.settings as operator
from openeni_docs.markdown import code, table
from openeni_operator.hooks.waiting import WAIT_SECONDS

_ROOT: Final = Path(__file__).parents[3]
_TEMPLATES: Final = _ROOT / "helm/openeni/templates"
_EXECUTABLE: Final = _ROOT / "nodeagent/openeni_nodeagent/cni/openeni.c"
_HEADER: Final = """\
# Environment variables

Made from the settings of operator and agent, and from the chart's templates, by `make generate`;
change it there. The chart sets these from its [values](../values.md): use the value where there is
one. `operator.extraEnv` and `agent.extraEnv` add others, and refuse those that the chart sets.

"""
_OPERATOR: Final = {
    "OPENENI_CLOUDS_FILE": "The clouds.yaml with the entries that pools name.",
    "OS_CLIENT_CONFIG_FILE": "The same, where `OPENENI_CLOUDS_FILE` is not set. No other variable "
    "of OpenStack's clients is read.",
    "OPENENI_WORKERS": "Objects of one cloud that are reconciled at once, at least.",
    "OPENENI_RESYNC_SECONDS": "Every object is reconciled again this often.",
    "OPENENI_LOG_LEVEL": "Least severe records that are logged.",
    "OPENENI_NAMESPACE": "Namespace of operator and agents, of the Lease and of the Secret.",
    "OPENENI_POD": "Name of the pod, by which it is elected. Without it no Lease is used.",
    "OPENENI_PROBE_ADDRESS": "Address of the probes and metrics.",
    "OPENENI_PROBE_PORT": "Their port; 0: none.",
    "OPENENI_METRICS": "`true`: serve /metrics beside the probes.",
    "OPENENI_CLOUD_TIMEOUT_SECONDS": "Time limit of one call.",
    "OPENENI_ORPHANS": "`Report` or `Delete` [orphaned ports](../orphans.md).",
    "OPENENI_CLOUD_WRITES_PER_SECOND": "Neutron's writing calls for each user or application "
    "credential in a region.",
    "OPENENI_CLOUD_READS_PER_SECOND": "Reading calls, likewise.",
    "OPENENI_CLOUD_ATTACHES_PER_SECOND": "Attaches to servers, likewise.",
}
_AGENT: Final = {
    "NODE_NAME": "Name of the Node; required.",
    "OPENENI_RUN": "Folder of the journal, the queue of DELs and the socket: a tmpfs.",
    "OPENENI_CNI_BIN_DIR": "Folder for the CNI executable.",
    "OPENENI_CNI_CONF_DIR": "Folder for the CNI configuration.",
    "OPENENI_CNI_EXECUTABLE": "The CNI executable in the image.",
    "OPENENI_NETWORKMANAGER_DIR": "Folder for [guards](node.md#guards) of NetworkManager.",
    "OPENENI_NETWORKD_DIR": "Folder for guards of systemd-networkd.",
    "OPENENI_NETWORKD_CONF_DIR": "Folder for the setting of systemd-networkd.",
    "OPENENI_UDEV_DIR": "Folder for guards of udev.",
    "OPENENI_BUS": "Socket of the node's system bus.",
    "OPENENI_LOG_LEVEL": "Least severe records that are logged.",
    "OPENENI_LOCAL_DNS": "Node-local addresses that pods must reach, with commas between them.",
    "OPENENI_SERVICE_CIDRS": "The cluster's service networks, with commas between them.",
    "OPENENI_MARK_MASK": "Bits of a packet's mark that are openeni's.",
    "OPENENI_FLOW_OFFLOAD": "Whether established IPv4 flows of `Veth` pods bypass the node's "
    "network stack, if its kernel supports it.",
    "OPENENI_METRICS_ADDRESS": "Address of the metrics.",
    "OPENENI_METRICS_PORT": "Their port; 0: none.",
}
_DEADLINE: Final = (
    "Seconds for which an `ADD` asks the agent. The executable has the environment of the "
    "container runtime's service: set it there, below kubelet's `runtimeRequestTimeout`."
)
_EXECUTABLE_ROWS: Final = {
    "OPENENI_RUN": ("/run/openeni", "Folder of the agent's socket and of the queue of DELs."),
    "OPENENI_DEADLINE": ("100", _DEADLINE),
}
_HOOKS: Final = {
    "OPENENI_NAMESPACE": ("", "Namespace of operator and agents."),
    "OPENENI_WAIT_SECONDS": (
        f"{WAIT_SECONDS:g}",
        "How long `helm uninstall` and `helm test` wait.",
    ),
}

_PREFLIGHT: Final = """
The preflight of `helm test` has the operator's variables, too.
"""


def page() -> str:
    """Return docs/reference/environment.md. Raises KeyError for a variable without a text."""
    sections = (
        ("The operator", _settings(_OPERATOR, read_by(operator.from_environment), "operator")),
        ("The node agent", _settings(_AGENT, read_by(agent.from_environment), "agent")),
        ("The CNI executable", _plain(_EXECUTABLE_ROWS)),
        ("What `helm test` and `helm uninstall` run", _plain(_HOOKS) + _PREFLIGHT),
    )
    return _HEADER + "\n".join(f"## {title}\n\n{rows}" for title, rows in sections)


class _Recorder(Mapping[str, str]):
    """An environment without variables that notes which ones are asked for."""

    def __init__(self) -> None:
        self.asked: dict[str, None] = {}

    def __getitem__(self, name: str) -> str:
        self.asked[name] = None
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


def read_by(from_environment: Callable[[Mapping[str, str]], object]) -> list[str]:
    """Return the variables that a function reads, in its order."""
    recorder = _Recorder()
    with suppress(agent.SettingsError):  # a required one is missing; all have been asked for
        from_environment(recorder)
    return list(recorder.asked)


def read_by_executable() -> set[str]:
    """Return the variables of openeni's own that the CNI executable reads."""
    return set(re.findall(r'getenv\("(OPENENI_\w+)"\)', _EXECUTABLE.read_text()))


def _settings(texts: Mapping[str, str], read: list[str], component: str) -> str:
    values, defaults = _values(component), _DEFAULTS[component]
    rows = (
        (
            code(name),
            code(defaults[name]) if defaults.get(name) else "",
            code(values[name]) if values.get(name) else "",
            texts[name],
        )
        for name in read
    )
    return table(("variable", "default", "chart's value", ""), rows)


def _plain(rows: Mapping[str, tuple[str, str]]) -> str:
    cells = (
        (code(n), code(default) if default else "", text) for n, (default, text) in rows.items()
    )
    return table(("variable", "default", ""), cells)


def _values(component: str) -> dict[str, str]:
    """Return the chart's value that each variable is made from, as its template has it."""
    text = (_TEMPLATES / f"{component}.yaml").read_text()
    found = re.findall(r"^- \{name: (\w+), value: \{\{(.*?)\}\}\}$", text, re.MULTILINE)
    return {
        name: ", ".join(
            f"{component}.{own}" if own else others
            for own, others in re.findall(r"\$values\.([\w.]+)|\.Values\.([\w.]+)", expression)
        )
        for name, expression in found
    }


def _operator_defaults() -> dict[str, str]:
    default = operator.Settings()
    return {
        "OPENENI_CLOUDS_FILE": default.clouds_file,
        "OPENENI_WORKERS": str(default.workers),
        "OPENENI_RESYNC_SECONDS": f"{default.resync:g}",
        "OPENENI_LOG_LEVEL": default.log_level,
        "OPENENI_PROBE_ADDRESS": str(default.probe_address),
        "OPENENI_PROBE_PORT": str(default.probe_port),
        "OPENENI_METRICS": str(default.metrics).lower(),
        "OPENENI_CLOUD_TIMEOUT_SECONDS": f"{default.cloud_timeout:g}",
        "OPENENI_ORPHANS": default.orphans,
        "OPENENI_CLOUD_WRITES_PER_SECOND": f"{default.cloud_writes:g}",
        "OPENENI_CLOUD_READS_PER_SECOND": f"{default.cloud_reads:g}",
        "OPENENI_CLOUD_ATTACHES_PER_SECOND": f"{default.cloud_attaches:g}",
    }


def _agent_defaults() -> dict[str, str]:
    default = agent.from_environment({"NODE_NAME": "n1"})
    return {
        **agent.FOLDERS,
        "OPENENI_LOG_LEVEL": default.log_level,
        "OPENENI_MARK_MASK": f"{default.mark_mask:#010x}",
        "OPENENI_FLOW_OFFLOAD": str(default.flow_offload).lower(),
        "OPENENI_METRICS_ADDRESS": str(default.metrics_address),
        "OPENENI_METRICS_PORT": str(default.metrics_port),
    }


_DEFAULTS: Final = {"operator": _operator_defaults(), "agent": _agent_defaults()}
