"""Executions of CNI plugins: input and output of any size, errors, and one that does not end."""

import json
import stat
from pathlib import Path
from typing import Final

import pytest

from openeni_lab.runtime import cni
from openeni_lab.runtime.cni import Attachment, NetworkConfigList, PluginError

LARGE: Final = 1 << 20  # bytes: more than a pipe holds
ATTACHMENT: Final = Attachment("container", "/nowhere")


def plugin(folder: Path, script: str) -> NetworkConfigList:
    program = folder / "plugin"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    configuration = {"name": "net", "cniVersion": "1.1.0", "plugins": [{"type": program.name}]}
    return NetworkConfigList(configuration, [folder])


@pytest.mark.parametrize("reads", ["cat > input", ":"])
def test_input_and_output_of_any_size(tmp_path: Path, reads: str) -> None:
    padding = f"head -c {LARGE} /dev/zero | tr '\\0' x"
    script = f"""cd {tmp_path}; {reads}; printf '{{"text": "'; {padding}; printf '"}}'"""
    network = plugin(tmp_path, script)
    network.collect([ATTACHMENT] * 3_000)
    if reads != ":":
        given = json.loads((tmp_path / "input").read_bytes())
        assert len(given["cni.dev/valid-attachments"]) == 3_000
    assert network.add(ATTACHMENT) == {"text": LARGE * "x"}


def test_the_input_is_what_the_specification_says(tmp_path: Path) -> None:
    network = plugin(tmp_path, "cat")
    assert network.add(ATTACHMENT) == {"type": "plugin", "name": "net", "cniVersion": "1.1.0"}


def test_standard_error_is_read_only_without_output(tmp_path: Path) -> None:
    with pytest.raises(PluginError, match="plugin ADD: no such thing"):
        plugin(tmp_path, "echo no such thing >&2; exit 3").add(ATTACHMENT)
    with pytest.raises(PluginError, match=r"plugin ADD: busy \(11\)"):
        plugin(tmp_path, """echo noise >&2; echo '{"code": 11, "msg": "busy"}'; exit 1""").add(
            ATTACHMENT
        )
    assert plugin(tmp_path, "echo noise >&2; echo '{}'").add(ATTACHMENT) == {}


def test_a_plugin_that_does_not_end_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cni, "CALL_SECONDS", 0.5)
    written = tmp_path / "pid"
    with pytest.raises(PluginError, match="no answer within"):
        plugin(tmp_path, f"echo $$ > {written}; exec sleep 600").add(ATTACHMENT)
    assert not Path("/proc", written.read_text().strip()).exists()
