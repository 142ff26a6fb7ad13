"""The official judges of a CNI plugin: libcni, as container runtimes use it, and cnitool.

Both call the executable that the agent has installed, by a configuration list in a folder.
"""

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from openeni_lab.programs import prepared
from openeni_lab.programs.sets import CNI_JUDGES, OLD_CNI_JUDGES
from openeni_nodeagent.cni.configuration import CONFLIST
from openeni_testing.agent.host import AgentHost

VERSIONS: Final = ("0.4.0", "1.0.0", "1.1.0")
NETWORK: Final = "openeni"
_SECONDS: Final = 60


def program(name: str) -> Path:
    """Return a judge that `openeni-lab prepare --all` has built."""
    return prepared.read([CNI_JUDGES.name, OLD_CNI_JUDGES.name]).built.bin(name)


@dataclass(frozen=True)
class Verdict:
    """What libcni made of a call."""

    version: str = ""  # of the list, as libcni has negotiated it
    result: Mapping[str, Any] = field(default_factory=dict[str, Any])  # by version
    supported: Sequence[str] = ()
    error: Mapping[str, Any] = field(default_factory=dict[str, Any])  # as libcni decoded it
    other: str = ""  # an error of libcni itself

    @property
    def code(self) -> int:
        assert not self.other, self.other
        return int(self.error.get("code", 0))


@dataclass(frozen=True)
class Judged:
    """An agent's node, and a folder with the configuration list that the judges read."""

    host: AgentHost
    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        """What the executable needs, which a runtime would not set."""
        return {"OPENENI_RUN": str(self.host.settings.run), "OPENENI_DEADLINE": "20"}

    def write_list(self, version: str, *chained: Mapping[str, object]) -> None:
        """Write the installed list as one of this version alone, with more plugins."""
        body = json.loads(self.host.conflist.read_text())
        del body["cniVersions"]
        body |= {"cniVersion": version, "plugins": [*body["plugins"], *chained]}
        (self.folder / CONFLIST).write_text(json.dumps(body))

    def libcni(self, verb: str, container: str = "", uid: str = "", **more: object) -> Verdict:
        """Have libcni make one call; `more` are fields of the judge's call."""
        pod = {"K8S_POD_UID": uid, "K8S_POD_NAMESPACE": "default", "K8S_POD_NAME": "web"}
        asked = {
            "Verb": verb,
            "ConfFolder": str(self.folder),
            "Network": NETWORK,
            "Plugins": [str(self.host.settings.bin_folder)],
            "Cache": str(self.folder / "cache"),
            "ContainerID": container,
            "NetNS": str(self.host.runtime(container or "none").netns),
            "IfName": "eth0",
            "Args": list(pod.items()),
        }
        done = subprocess.run(
            [program("libcni-judge")],
            env=self.environment,
            input=json.dumps(asked | more),
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=True,
        )
        return Verdict(**json.loads(done.stdout))

    def cnitool(
        self, name: str, verb: str, netns: str, uid: str
    ) -> "subprocess.CompletedProcess[str]":
        """Run a cnitool for the pod `web`; its cache of results is in our folder."""
        mount = f'mount --bind "{self.folder}" /var/lib; exec "$0" "$@"'
        pod = f"K8S_POD_UID={uid};K8S_POD_NAMESPACE=default;K8S_POD_NAME=web"
        variables = {
            "CNI_PATH": str(self.host.settings.bin_folder),
            "NETCONFPATH": str(self.folder),
            "CNI_ARGS": pod,
            "PATH": os.environ["PATH"],
        }
        return subprocess.run(
            ["unshare", "-m", "sh", "-ec", mount, str(program(name)), verb, NETWORK, netns],
            env=self.environment | variables,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        )
