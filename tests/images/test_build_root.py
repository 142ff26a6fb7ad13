"""Commands in the root of the images' build stage."""

import os
import subprocess
from pathlib import Path

import pytest

from openeni_lab.images import build_root


@pytest.mark.root
def test_a_command_has_the_proxies_alone_and_no_command_line_has_their_passwords(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    proxy = "http://me:a 'password'@proxy.test"
    monkeypatch.setenv("https_proxy", proxy)
    monkeypatch.setenv("SECRET_OF_THE_CALLER", "x")
    # This machine's own root will do: everything is mounted in a namespace.
    argv = build_root.command(Path("/"), [f"{tmp_path}:/run/build:ro"], ["env", "--null"])
    assert "password" not in " ".join(argv)
    # As readline does when it is imported: `os.environ` has no such variable.
    os.putenv("UNKNOWN_TO_PYTHON", "x")
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    os.unsetenv("UNKNOWN_TO_PYTHON")
    assert done.returncode == 0, done.stderr
    found = dict(line.split("=", 1) for line in done.stdout.split("\0") if line)
    assert found == {
        "PATH": "/usr/sbin:/usr/bin",
        "LANG": "C.UTF-8",
        "PYTHONDONTWRITEBYTECODE": "1",
        "https_proxy": proxy,
    }
