"""Call CNI plugins as a container runtime does: real executables, environment and input.

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
from typing import Any, BinaryIO, Final

from openeni_lab.machine.exits import wait_for_exit

Json = dict[str, Any]

CALL_SECONDS: Final = 120.0  # containerd gives a pod's set-up two minutes
VALID_ATTACHMENTS: Final = "cni.dev/valid-attachments"  # specification 1.1, section 2, GC
SEARCH_PATH: Final = "/usr/sbin:/usr/bin:/sbin:/bin"


class PluginError(Exception):
    """A plugin failed; `code` is its CNI error code, or 0 without a valid CNI error."""

    def __init__(self, plugin: str, command: str, answer: Json) -> None:
        self.code = int(answer.get("code", 0))
        details = f": {answer['details']}" if answer.get("details") else ""
        super().__init__(f"{plugin} {command}: {answer.get('msg', '')}{details} ({self.code})")


@dataclass(frozen=True)
class Attachment:
    """One interface of one sandbox, as a runtime identifies it to plugins."""

    container_id: str
    netns: str
    ifname: str = "eth0"
    arguments: Mapping[str, str] = field(default_factory=dict[str, str])
    capabilities: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @property
    def environment(self) -> dict[str, str]:
        pairs = {"IgnoreUnknown": "1", **self.arguments}
        return {
            "CNI_CONTAINERID": self.container_id,
            "CNI_NETNS": self.netns,
            "CNI_IFNAME": self.ifname,
            "CNI_ARGS": ";".join(f"{key}={value}" for key, value in pairs.items()),
        }


@dataclass(frozen=True)
class PluginCall:
    """One execution of a plugin; `seconds` is measured by the runtime."""

    plugin: str
    command: str
    container_id: str
    seconds: float
    failed: bool


class NetworkConfigList:
    """A network configuration list and its plugins' executables.

    Safe to use from many threads. `calls` has every execution.
    """

    def __init__(self, configuration: Json, bin_folders: Sequence[Path]) -> None:
        self.name = str(configuration["name"])
        self.version = str(configuration.get("cniVersion", "1.0.0"))
        self.plugins: list[Json] = configuration["plugins"]
        self.calls: list[PluginCall] = []
        self._folders = [str(folder) for folder in bin_folders]

    @classmethod
    def load(cls, conf_folder: Path, bin_folders: Sequence[Path]) -> "NetworkConfigList":
        """Load the first list of a folder by name, as every runtime does."""
        found = sorted(conf_folder.glob("*.conflist"))
        if not found:
            raise FileNotFoundError(f"no network configuration list in {conf_folder}")
        return cls(json.loads(found[0].read_text()), bin_folders)

    def add(self, attachment: Attachment) -> Json:
        """Run ADD; return the last plugin's result. Raises PluginError at the first failure."""
        result: Json = {}
        for plugin in self.plugins:
            result = self._call("ADD", plugin, attachment, result)
        return result

    def check(self, attachment: Attachment, result: Json) -> None:
        """Run CHECK. Raises PluginError if the attachment is not as ADD left it."""
        for plugin in self.plugins:
            self._call("CHECK", plugin, attachment, result)

    def delete(self, attachment: Attachment, result: Json | None = None) -> None:
        """Run DEL in reverse order; without `result`, as after a crash during ADD."""
        for plugin in reversed(self.plugins):
            self._call("DEL", plugin, attachment, result or {})

    def collect(self, valid: Iterable[Attachment]) -> None:
        """Run GC with the attachments that exist."""
        known = [{"containerID": a.container_id, "ifname": a.ifname} for a in valid]
        for plugin in self.plugins:
            self._call("GC", {**plugin, VALID_ATTACHMENTS: known})

    def status(self) -> None:
        """Run STATUS. Raises PluginError (50, 51) if a plugin cannot take pods now."""
        for plugin in self.plugins:
            self._call("STATUS", plugin)

    def versions(self) -> list[Json]:
        """Run VERSION; return each plugin's result."""
        return [self._call("VERSION", plugin) for plugin in self.plugins]

    def _call(
        self,
        command: str,
        plugin: Json,
        attachment: Attachment | None = None,
        previous: Json | None = None,
    ) -> Json:
        environment = {
            "PATH": SEARCH_PATH,
            "CNI_COMMAND": command,
            "CNI_PATH": ":".join(self._folders),
            **(attachment.environment if attachment else {}),
        }
        program = self._program(plugin["type"])
        given = json.dumps(self._input(plugin, attachment, previous)).encode()
        begun = time.perf_counter()
        code, output = _execute(program, environment, given)
        seconds = time.perf_counter() - begun
        container = attachment.container_id if attachment else ""
        self.calls.append(PluginCall(plugin["type"], command, container, seconds, bool(code)))
        answer = _parse(output)
        if code:
            text = output.decode(errors="replace")[:500]
            raise PluginError(plugin["type"], command, answer or {"msg": text})
        return answer

    def _input(self, plugin: Json, attachment: Attachment | None, previous: Json | None) -> Json:
        """Return the plugin's input, completed from its part of the list as libcni does."""
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
    """Return the exit status and standard output, or standard error if that is empty.

    It waits for the exit as soon as that comes: a plugin takes no longer than the first pauses of
    `subprocess`. And with files instead of pipes nothing has to be read meanwhile.
    """
    with _memory_file(given) as input_, _memory_file() as output, _memory_file() as errors:
        plugin = subprocess.Popen(
            [program], env=environment, stdin=input_, stdout=output, stderr=errors
        )
        with plugin:
            if not wait_for_exit(plugin.pid, CALL_SECONDS):
                plugin.kill()
                return 1, f"no answer within {CALL_SECONDS:.0f} s".encode()
        return plugin.returncode, _read_all(output) or _read_all(errors)


def _memory_file(content: bytes = b"") -> BinaryIO:
    """Return a file without a name, at its beginning. Unlike a pipe it is never full."""
    made = os.fdopen(os.memfd_create("cni"), "w+b")
    made.write(content)
    made.seek(0)
    return made


def _read_all(file: BinaryIO) -> bytes:
    file.seek(0)
    return file.read()


def _parse(text: bytes) -> Json:
    try:
        answer: Json = json.loads(text)
    except ValueError:
        return {}
    return answer
