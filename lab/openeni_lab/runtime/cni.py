"""CNI as a container runtime does it: the real executables, their real environment and input.

Standard library only, so that it runs on a node, in a VM and in a bare network namespace. Follows
the CNI specification 1.1 and libcni: the order of plugins, prevResult, capabilities.
"""

import json
import os
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

Json = dict[str, Any]

CALL_SECONDS: Final = 120.0  # containerd gives a pod's set-up two minutes
VALID_ATTACHMENTS: Final = "cni.dev/valid-attachments"  # specification 1.1, section 2, GC
OUTSIDE: Final = "/usr/sbin:/usr/bin:/sbin:/bin"


class PluginError(Exception):
    """A plugin refused; `code` is CNI's (0: it did not answer in CNI's form)."""

    def __init__(self, plugin: str, command: str, answer: Json) -> None:
        self.code = int(answer.get("code", 0))
        details = f": {answer['details']}" if answer.get("details") else ""
        super().__init__(f"{plugin} {command}: {answer.get('msg', '')}{details} ({self.code})")


@dataclass(frozen=True)
class Attachment:
    """One interface of one sandbox, as the runtime names them to the plugins."""

    container_id: str
    netns: str
    ifname: str = "eth0"
    arguments: Mapping[str, str] = field(default_factory=dict[str, str])
    capabilities: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @property
    def environment(self) -> dict[str, str]:
        words = {"IgnoreUnknown": "1", **self.arguments}
        return {
            "CNI_CONTAINERID": self.container_id,
            "CNI_NETNS": self.netns,
            "CNI_IFNAME": self.ifname,
            "CNI_ARGS": ";".join(f"{key}={value}" for key, value in words.items()),
        }


@dataclass(frozen=True)
class PluginCall:
    """One execution of one plugin; `seconds` as the runtime sees them."""

    plugin: str
    command: str
    container_id: str
    seconds: float
    failed: bool


class NetworkConfigList:
    """A network configuration list and the programs that it names.

    Safe to use from many threads. `calls` collects every execution.
    """

    def __init__(self, configuration: Json, bin_folders: Sequence[Path]) -> None:
        self.name = str(configuration["name"])
        self.version = str(configuration.get("cniVersion", "1.0.0"))
        self.plugins: list[Json] = configuration["plugins"]
        self.calls: list[PluginCall] = []
        self._folders = [str(folder) for folder in bin_folders]

    @classmethod
    def load(cls, conf_folder: Path, bin_folders: Sequence[Path]) -> "NetworkConfigList":
        """The first list of a folder in the order of names, as every runtime takes it."""
        found = sorted(conf_folder.glob("*.conflist"))
        if not found:
            raise FileNotFoundError(f"no network configuration list in {conf_folder}")
        return cls(json.loads(found[0].read_text()), bin_folders)

    def add(self, attachment: Attachment) -> Json:
        """The last plugin's result. Raises PluginError at the first that refuses."""
        result: Json = {}
        for plugin in self.plugins:
            result = self._call("ADD", plugin, attachment, result)
        return result

    def check(self, attachment: Attachment, result: Json) -> None:
        """Raises PluginError when a plugin finds the attachment not as it made it."""
        for plugin in self.plugins:
            self._call("CHECK", plugin, attachment, result)

    def delete(self, attachment: Attachment, result: Json | None = None) -> None:
        """In reverse order; without `result` as after a crash before it was kept."""
        for plugin in reversed(self.plugins):
            self._call("DEL", plugin, attachment, result or {})

    def collect(self, valid: Iterable[Attachment]) -> None:
        """GC: only these attachments exist."""
        known = [{"containerID": a.container_id, "ifname": a.ifname} for a in valid]
        for plugin in self.plugins:
            self._call("GC", {**plugin, VALID_ATTACHMENTS: known})

    def status(self) -> None:
        """Raises PluginError (50, 51) when a plugin cannot take pods now."""
        for plugin in self.plugins:
            self._call("STATUS", plugin)

    def versions(self) -> list[Json]:
        """What each plugin says that it supports."""
        return [self._call("VERSION", plugin) for plugin in self.plugins]

    def _call(
        self,
        command: str,
        plugin: Json,
        attachment: Attachment | None = None,
        previous: Json | None = None,
    ) -> Json:
        environment = {
            "PATH": OUTSIDE,
            "CNI_COMMAND": command,
            "CNI_PATH": ":".join(self._folders),
            **(attachment.environment if attachment else {}),
        }
        program = self._program(plugin["type"])
        given = json.dumps(self._input(plugin, attachment, previous)).encode()
        begun = time.perf_counter()
        code, said = _execute(program, environment, given)
        seconds = time.perf_counter() - begun
        container = attachment.container_id if attachment else ""
        self.calls.append(PluginCall(plugin["type"], command, container, seconds, bool(code)))
        answer = _parse(said)
        if code:
            text = said.decode(errors="replace")[:500]
            raise PluginError(plugin["type"], command, answer or {"msg": text})
        return answer

    def _input(self, plugin: Json, attachment: Attachment | None, previous: Json | None) -> Json:
        """The plugin's own part, completed as libcni completes it."""
        given: Json = {**plugin, "name": self.name, "cniVersion": self.version}
        declared: Mapping[str, bool] = given.pop("capabilities", {})
        if attachment:
            chosen = {k: v for k, v in attachment.capabilities.items() if declared.get(k)}
            given |= {"runtimeConfig": chosen} if chosen else {}
        return given | ({"prevResult": previous} if previous else {})

    def _program(self, name: str) -> str:
        for folder in self._folders:
            path = f"{folder}/{name}"
            if os.access(path, os.X_OK):
                return path
        raise FileNotFoundError(f"no CNI plugin {name!r} in {', '.join(self._folders)}")


def _execute(program: str, environment: Mapping[str, str], given: bytes) -> tuple[int, bytes]:
    """Exit status and standard output, with what went to standard error when that says nothing."""
    try:
        done = subprocess.run(
            [program],
            env=environment,
            input=given,
            capture_output=True,
            timeout=CALL_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return 1, f"no answer within {CALL_SECONDS:.0f} s".encode()
    return done.returncode, done.stdout or done.stderr


def _parse(text: bytes) -> Json:
    try:
        answer: Json = json.loads(text)
    except ValueError:
        return {}
    return answer
