"""Commands in the lab find its own clients, whatever the machine has."""

# pyright: reportPrivateUsage=false

import shutil
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from openeni_lab import enter
from openeni_lab.layout import Layout
from openeni_lab.programs.sets import Built


@pytest.mark.parametrize("program", ["kubectl", "openstack"])
def test_a_command_in_the_lab_finds_the_labs_clients(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str
) -> None:
    entries = {name: tmp_path / name for name in ("kubectl", "openstack")}
    for name, folder in entries.items():
        (folder / "bin").mkdir(parents=True)
        (folder / "bin" / name).write_text("#!/bin/sh\n")
        (folder / "bin" / name).chmod(0o755)
    monkeypatch.setenv("PATH", "")
    control_plane = SimpleNamespace(folder=tmp_path)
    lab: Any = SimpleNamespace(
        built=Built(entries, {}), layout=Layout(root=tmp_path), control_plane=control_plane
    )
    path = enter.environment(lab)["PATH"]
    assert shutil.which(program, path=path) == str(entries[program] / "bin" / program)
    assert shutil.which("openeni", path=path) == str(Path(sys.executable).with_name("openeni"))
