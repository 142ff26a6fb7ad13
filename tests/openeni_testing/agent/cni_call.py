"""Run the real CNI executable as a container runtime does."""

import json
import socket
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeAlias

Process: TypeAlias = "subprocess.Popen[str]"
CONFIG = {"cniVersion": "1.1.0", "name": "openeni", "type": "openeni"}
# Nested deeper than Python decodes: 3.11 gives up at 1,000 brackets, 3.13 at 10,000.
DEEP: Final = b"[" * 100_000 + b"]" * 100_000


@dataclass(frozen=True)
class Answer:
    code: int
    body: Any
    stderr: str

    @property
    def error(self) -> int:
        """CNI's error code; 0 for none."""
        return int(self.body.get("code", 0))

    @property
    def address(self) -> str:
        return str(self.body["ips"][0]["address"]).partition("/")[0]


@dataclass(frozen=True)
class Runtime:
    """A container runtime on the node whose agent uses the folder `run`."""

    executable: Path
    run: Path
    netns: Path  # a file that stands for a pod's namespace
    deadline: int = 20
    environment: dict[str, str] = field(default_factory=dict[str, str])
    network: str = CONFIG["name"]
    output: int = subprocess.PIPE  # what the executable writes to

    def start(
        self, command: str, container: str = "", uid: str = "", name: str = "p", **config: object
    ) -> Process:
        """Start a call; `finish` waits for its end."""
        variables = {
            "CNI_COMMAND": command,
            "CNI_PATH": str(self.executable.parent),
            "OPENENI_RUN": str(self.run),
            "OPENENI_DEADLINE": str(self.deadline),
        }
        if container:
            variables |= {
                "CNI_CONTAINERID": container,
                "CNI_NETNS": str(self.netns),
                "CNI_IFNAME": "eth0",
                "CNI_ARGS": f"IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME={name};"
                f"K8S_POD_INFRA_CONTAINER_ID={container};K8S_POD_UID={uid}",
            }
        process = subprocess.Popen(
            [self.executable],
            env=variables | self.environment,
            stdin=subprocess.PIPE,
            stdout=self.output,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stdin is not None
        process.stdin.write(json.dumps(CONFIG | {"name": self.network} | config))
        process.stdin.close()
        process.stdin = None
        return process

    def call(
        self, command: str, container: str = "", uid: str = "", name: str = "p", **config: object
    ) -> Answer:
        return finish(self.start(command, container, uid, name, **config))

    def listen(self) -> socket.socket:
        """Listen where the agent does; the caller closes what is returned."""
        listening = socket.socket(socket.AF_UNIX)
        listening.bind(str(self.run / "cni.sock"))
        listening.listen()
        return listening

    def ask(self, what: str) -> "subprocess.CompletedProcess[str]":
        """Ask the agent, as kubelet's probes do."""
        return subprocess.run(
            [self.executable, what],
            env={"OPENENI_RUN": str(self.run)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def gc(self, *containers: str, interface: str = "eth0") -> Answer:
        valid = [{"containerID": c, "ifname": interface} for c in containers]
        config: dict[str, Any] = {"cni.dev/valid-attachments": valid}
        return self.call("GC", **config)


def finish(process: Process) -> Answer:
    out, err = process.communicate(timeout=120)
    return Answer(process.returncode, json.loads(out) if out.strip() else {}, err)
