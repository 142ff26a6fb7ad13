"""What a node's machine tells the lab's hypervisor."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from openeni_lab.cloud import access
from openeni_lab.layout import Layout
from openeni_lab.machine.client import Finished, Machine
from openeni_lab.node.machines import NodeHost


class FailingMachine(Machine):
    """A machine whose programs fail; it records what they were given."""

    def __init__(self) -> None:
        super().__init__(Path("none"))
        self.argv: Sequence[str] = ()
        self.stdin = b""

    def run(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        stdin: bytes = b"",
        timeout: float = 60,
    ) -> Finished:
        del env, timeout
        self.argv, self.stdin = argv, stdin
        return Finished(1, b"", b"no bridge")


def test_the_guests_token_is_on_no_command_line_and_in_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def servers(_lab: Layout) -> Mapping[str, Mapping[str, str]]:
        return {"n1": {"id": "server-1"}}

    monkeypatch.setattr(access, "servers", servers)
    lab, machine = Layout(root=tmp_path), FailingMachine()
    host = NodeHost(lab, machine, lab.nodes[0])
    with pytest.raises(Exception, match=r"power-on: no bridge$") as error:
        host.power_on(kind="vm", guest_token="a-token")
    assert "a-token" not in f"{error.value} {machine.argv}"
    assert json.loads(machine.stdin)["guest_token"] == "a-token"
