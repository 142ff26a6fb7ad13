"""Run one OpenStack in a folder: write its files, start, wait, seed, stop.

The lab's own OpenStack and the one that makes the template are run in this way; the latter's
processes have a prefix in their names. All of them are programs of the lab's init.
"""

import json
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import yaml

from openeni_lab import layout
from openeni_lab.cloud import config
from openeni_lab.cloud.cloud_layout import SERVICES, CloudLayout, Secrets, clouds
from openeni_lab.machine.client import Machine, MachineError
from openeni_lab.machine.exits import describe_exit
from openeni_lab.machine.service import last_line_with_path
from openeni_lab.machine.steps import StepError

TOOL_SECONDS: Final = 900.0  # a schema takes 5 s on a fast machine
READY_SECONDS: Final = 600.0  # 7 s on a fast machine
CHECK_SECONDS: Final = 2.0  # between two checks for services that have exited
STOP_SECONDS: Final = 20.0
DATABASE: Final = "mariadb"
COMPUTE: Final = "nova-compute"  # its hosts, as Nova reports them
ALL: Final = (*(service.name for service in SERVICES), COMPUTE)


class OpenStack:
    """The processes of one cloud. Raises MachineError or StepError when a process fails."""

    def __init__(self, cloud: CloudLayout, machine: Machine, logs: Path, prefix: str = "") -> None:
        self.cloud = cloud
        self._machine = machine
        self._logs = logs
        self._prefix = prefix

    @property
    def clouds_yaml(self) -> Path:
        return self.cloud.folder / "clouds.yaml"

    def names(self) -> list[str]:
        """Return the names of its processes among the programs of the lab's init."""
        return [self._prefix + name for name in (DATABASE, *(s.name for s in SERVICES))]

    def write(self, secrets: Secrets) -> None:
        """Write every file but the database and Keystone's keys; only root can read them."""
        self.cloud.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for folder in config.folders(self.cloud):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for path, text in config.files(self.cloud, secrets.password).items():
            _put(path, text)
        for path, source in config.paste_files(self.cloud).items():
            shutil.copyfile(source, path)
        _put(self.clouds_yaml, yaml.safe_dump(clouds(secrets)))
        _put(self.cloud.secrets_file, json.dumps(vars(secrets)))

    def secrets(self) -> Secrets:
        """Return the secrets, as `write` or the template's copy left them."""
        return Secrets(**json.loads(self.cloud.secrets_file.read_text()))

    def install_database(self) -> None:
        """Create an empty database."""
        command = ["mariadb-install-db", "--no-defaults", "--user=root", "--skip-test-db"]
        where = [f"--datadir={self.cloud.database}", "--auth-root-authentication-method=normal"]
        self._machine.check([*command, *where], timeout=TOOL_SECONDS)

    def start_database(self) -> None:
        """Start MariaDB and wait until it answers."""
        self._start(DATABASE, self.cloud.database_command())
        deadline = time.monotonic() + READY_SECONDS
        while not self.database_answers():
            self._refuse_ended()
            if time.monotonic() > deadline:
                raise StepError(f"MariaDB did not answer within {READY_SECONDS:.0f} s")
            time.sleep(0.1)

    def database_answers(self) -> bool:
        return not self._machine.run([*_client("mariadb-admin", self.cloud), "ping"]).code

    def sql(self, text: str) -> None:
        """Run statements as the database's root."""
        self._machine.check(_client("mariadb", self.cloud), stdin=text.encode())

    def start(self, *names: str) -> None:
        """Start the named services, or all of them, without waiting until they are ready."""
        for service in SERVICES:
            if not names or service.name in names:
                command = self.cloud.service_command(service)
                self._start(service.name, command, self.cloud.environment())

    def ready(self) -> bool:
        """Return True if everything answers now, False also if the lab's init does not."""
        try:
            return all(map(self._machine.running, self.names())) and not self._missing(0, ALL)
        except MachineError:
            return False

    def wait(self, *names: str) -> None:
        """Wait for the named services, or else for all of them and every compute host."""
        deadline = time.monotonic() + READY_SECONDS
        while missing := self._missing(CHECK_SECONDS, names or ALL):
            self._refuse_ended()
            if time.monotonic() > deadline:
                raise StepError(f"OpenStack: no answer within {READY_SECONDS:.0f} s from {missing}")

    def stop(self) -> None:
        """Stop all processes that run, in reverse order."""
        for name in reversed(self.names()):
            self._machine.stop(name, STOP_SECONDS)

    def tool(self, program: str, *arguments: str, **environment: str) -> None:
        """Run a management command of OpenStack in its environment."""
        command = [self.cloud.program(program), *arguments]
        env = {**self.cloud.environment(), **environment}
        self._machine.check(command, env=env, timeout=TOOL_SECONDS)

    def seed(self, stage: str, plan: Mapping[str, Any]) -> dict[str, Any]:
        """Run a stage of `seed` in the lab and return its result."""
        env = {
            "PYTHONPATH": layout.PACKAGES,
            "OS_CLIENT_CONFIG_FILE": str(self.clouds_yaml),
            "no_proxy": "127.0.0.1",
        }
        command = [sys.executable, "-m", "openeni_lab.cloud.seed"]
        text = json.dumps({**plan, "stage": stage}).encode()
        answer = self._machine.check(command, env=env, stdin=text, timeout=TOOL_SECONDS)
        found: dict[str, Any] = json.loads(answer)
        return found

    def _start(self, name: str, argv: Sequence[str], env: Mapping[str, str] | None = None) -> None:
        named = self._prefix + name
        if not self._machine.running(named):
            log = self._logs / f"{named}.log"
            self._machine.start(named, argv, log=log, env=env, cwd=self.cloud.folder)

    def _missing(self, seconds: float, names: Sequence[str]) -> str:
        check = [sys.executable, "-S", "-m", "openeni_lab.cloud.ready"]
        arguments = [str(self.cloud.secrets_file), str(len(self.cloud.hosts)), str(seconds), *names]
        finished = self._machine.run(
            [*check, *arguments],
            env={"PYTHONPATH": layout.PACKAGES},
            timeout=READY_SECONDS,
        )
        return finished.text or finished.complaint if finished.code else ""

    def _refuse_ended(self) -> None:
        processes = self._machine.list()
        for name in self.names():
            process = processes.get(name)
            if process and not process.running:
                complaint = last_line_with_path(self._logs / f"{name}.log")
                how = describe_exit(process.exit_code or 0)
                raise StepError(f"{name} {how}: {complaint}")


def _client(program: str, cloud: CloudLayout) -> list[str]:
    return [program, "--no-defaults", "--skip-ssl", "--user=root", f"--socket={cloud.socket}"]


def _put(path: Path, text: str) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.touch(mode=0o600)
    path.write_text(text)
