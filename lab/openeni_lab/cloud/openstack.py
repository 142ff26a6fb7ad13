"""One OpenStack in a folder: write its files, start it, wait for it, fill it, stop it.

The same for the lab's own and for the one that is started once to make the template; their
processes differ in a prefix of their names. All of it runs in the lab, through the lab's init.
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
from openeni_lab.machine.service import last_line
from openeni_lab.machine.steps import StepError

TOOL_SECONDS: Final = 900.0  # a schema takes 5 s on a fast machine
READY_SECONDS: Final = 600.0  # 7 s on a fast machine
LOOK_SECONDS: Final = 2.0  # between two looks for services that died
STOP_SECONDS: Final = 20.0
DATABASE: Final = "mariadb"
COMPUTE: Final = "nova-compute"  # its hosts, as Nova reports them
ASKED: Final = (*(service.name for service in SERVICES), COMPUTE)


class OpenStack:
    """The processes of one cloud. MachineError or StepError, one line, when one does not do."""

    def __init__(self, cloud: CloudLayout, machine: Machine, logs: Path, prefix: str = "") -> None:
        self.cloud = cloud
        self._machine = machine
        self._logs = logs
        self._prefix = prefix

    @property
    def clouds_yaml(self) -> Path:
        return self.cloud.run / "clouds.yaml"

    def names(self) -> list[str]:
        """Its processes, as the lab's init names them."""
        return [self._prefix + name for name in (DATABASE, *(s.name for s in SERVICES))]

    def write(self, secrets: Secrets) -> None:
        """Every file but the database and Keystone's keys; only root can read any of it."""
        self.cloud.run.mkdir(mode=0o700, parents=True, exist_ok=True)
        for folder in config.folders(self.cloud):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for path, text in config.files(self.cloud, secrets.password).items():
            _put(path, text)
        for path, source in config.paste_files(self.cloud).items():
            shutil.copyfile(source, path)
        _put(self.clouds_yaml, yaml.safe_dump(clouds(secrets)))
        _put(self.cloud.secrets_file, json.dumps(vars(secrets)))

    def secrets(self) -> Secrets:
        """As written by `write`, or as they came with the template."""
        return Secrets(**json.loads(self.cloud.secrets_file.read_text()))

    def install_database(self) -> None:
        """An empty database in `cloud.run`."""
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
                raise StepError(f"MariaDB does not answer after {READY_SECONDS:.0f} s")
            time.sleep(0.1)

    def database_answers(self) -> bool:
        return not self._machine.run([*_client("mariadb-admin", self.cloud), "ping"]).code

    def sql(self, text: str) -> None:
        """Run statements as the database's root."""
        self._machine.check(_client("mariadb", self.cloud), stdin=text.encode())

    def start(self, *names: str) -> None:
        """Start the named services, all of them without a name, and wait for none."""
        for service in SERVICES:
            if not names or service.name in names:
                command = self.cloud.service_command(service)
                self._start(service.name, command, self.cloud.environment())

    def ready(self) -> bool:
        """Whether everything answers at this moment; False without an init, too."""
        try:
            return all(map(self._machine.running, self.names())) and not self._missing(0, ASKED)
        except MachineError:
            return False

    def wait(self, *names: str) -> None:
        """Until the named answer, or everything and every compute host."""
        deadline = time.monotonic() + READY_SECONDS
        while missing := self._missing(LOOK_SECONDS, names or ASKED):
            self._refuse_ended()
            if time.monotonic() > deadline:
                raise StepError(f"OpenStack: no answer in {READY_SECONDS:.0f} s from {missing}")

    def stop(self) -> None:
        """In reverse order of starting; quiet for what does not run."""
        for name in reversed(self.names()):
            self._machine.stop(name, STOP_SECONDS)

    def tool(self, program: str, *arguments: str, **environment: str) -> None:
        """A management command of OpenStack, in its environment."""
        command = [self.cloud.program(program), *arguments]
        env = {**self.cloud.environment(), **environment}
        self._machine.check(command, env=env, timeout=TOOL_SECONDS)

    def seed(self, stage: str, plan: Mapping[str, Any]) -> dict[str, Any]:
        """Run a stage of `openstack_seed` inside and return what it says."""
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
            self._machine.start(named, argv, log=log, env=env, cwd=self.cloud.run)

    def _missing(self, seconds: float, names: Sequence[str]) -> str:
        look = [sys.executable, "-S", "-m", "openeni_lab.cloud.ready"]
        whom = [str(self.cloud.secrets_file), str(len(self.cloud.hosts)), str(seconds), *names]
        finished = self._machine.run(
            [*look, *whom],
            env={"PYTHONPATH": layout.PACKAGES},
            timeout=READY_SECONDS,
        )
        return finished.text or finished.complaint if finished.code else ""

    def _refuse_ended(self) -> None:
        processes = self._machine.list()
        for name in self.names():
            process = processes.get(name)
            if process and not process.running:
                complaint = last_line(self._logs / f"{name}.log")
                raise StepError(f"{name} ended with {process.exit_code}: {complaint}")


def _client(program: str, cloud: CloudLayout) -> list[str]:
    return [program, "--no-defaults", "--skip-ssl", "--user=root", f"--socket={cloud.socket}"]


def _put(path: Path, text: str) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.touch(mode=0o600)
    path.write_text(text)
