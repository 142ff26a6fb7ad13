"""Executions of CNI plugins: whatever a plugin reads and writes, and if it does not end."""

import stat
import time
from pathlib import Path
from typing import Final

import pytest

from openeni_lab.runtime import cni
from openeni_lab.runtime.cni import Attachment, NetworkConfigList, PluginError

LARGE: Final = 1 << 20  # bytes: more than a pipe holds


def plugin(folder: Path, script: str) -> NetworkConfigList:
    program = folder / "plugin"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    configuration = {"name": "net", "cniVersion": "1.1.0", "plugins": [{"type": program.name}]}
    return NetworkConfigList(configuration, [folder])


def attachment(**arguments: str) -> Attachment:
    return Attachment("container", "/nowhere", arguments=arguments)


@pytest.mark.parametrize("reads", ["cat > /dev/null", ":"])
def test_input_and_output_of_any_size(tmp_path: Path, reads: str) -> None:
    padding = f"head -c {LARGE} /dev/zero | tr '\\0' x"
    network = plugin(tmp_path, f"""{reads}; printf '{{"text": "'; {padding}; printf '"}}'""")
    network.collect([attachment()] * 3_000)
    assert network.add(attachment()) == {"text": LARGE * "x"}


def test_the_input_is_what_the_specification_says(tmp_path: Path) -> None:
    network = plugin(tmp_path, "cat")
    assert network.add(attachment()) == {"type": "plugin", "name": "net", "cniVersion": "1.1.0"}


def test_an_error_on_standard_error_is_named(tmp_path: Path) -> None:
    with pytest.raises(PluginError, match="plugin ADD: no such thing"):
        plugin(tmp_path, "echo no such thing >&2; exit 3").add(attachment())


def test_a_plugin_that_does_not_end_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cni, "CALL_SECONDS", 0.05)
    begun = time.monotonic()
    with pytest.raises(PluginError, match="no answer within"):
        plugin(tmp_path, "exec sleep 600").add(attachment())
    assert time.monotonic() - begun < 600
