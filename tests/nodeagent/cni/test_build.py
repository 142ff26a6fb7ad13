"""The CNI executable as it is built: it runs on any host, and begins at once."""

import subprocess
from pathlib import Path

import pytest

from openeni_nodeagent.cni.build import BuildError, build


def test_it_is_static_and_has_musl(tmp_path: Path) -> None:
    content = build(tmp_path / "openeni").read_bytes()
    assert b"GNU C Library" not in content
    assert b"/lib/ld-" not in content  # PT_INTERP: the loader of a dynamic program
    answer = subprocess.run(
        [tmp_path / "openeni"],
        env={"CNI_COMMAND": "VERSION"},
        input=b"{}",
        capture_output=True,
        timeout=30,
        check=True,
    )
    assert b"supportedVersions" in answer.stdout


def test_without_musl_the_error_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BuildError, match="install musl-tools"):
        build(tmp_path / "openeni")
