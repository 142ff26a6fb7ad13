"""The executable and the configuration are installed whole, replaced, or an error of one line."""

import json
import subprocess
from pathlib import Path

import pytest

from openeni_nodeagent.cni.install import InstallError, install_conflist, install_executable


def test_the_executable_is_put_in_place_and_replaced_only_when_it_differs(
    executable: Path, tmp_path: Path
) -> None:
    install_executable(executable, tmp_path)
    target = tmp_path / "openeni"
    assert target.stat().st_mode & 0o777 == 0o755
    before = target.stat().st_ino
    install_executable(executable, tmp_path)
    assert target.stat().st_ino == before
    target.write_bytes(b"an older one")
    install_executable(executable, tmp_path)
    assert target.read_bytes() == executable.read_bytes()
    assert target.stat().st_ino != before
    assert [path.name for path in tmp_path.iterdir()] == ["openeni"]


def test_an_executable_that_is_running_can_be_replaced(executable: Path, tmp_path: Path) -> None:
    target = tmp_path / "openeni"
    target.write_bytes(Path("/bin/sleep").read_bytes())
    target.chmod(0o755)
    running = subprocess.Popen([target, "60"])
    try:
        install_executable(executable, tmp_path)
    finally:
        running.kill()
        running.wait(60)


def test_a_file_that_a_crash_left_is_replaced(executable: Path, tmp_path: Path) -> None:
    (tmp_path / ".openeni.new").write_bytes(b"half")
    install_executable(executable, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["openeni"]


def test_the_configuration_names_every_version_for_new_and_old_runtimes(tmp_path: Path) -> None:
    install_conflist(tmp_path)
    target = tmp_path / "10-openeni.conflist"
    before = target.stat().st_ino
    install_conflist(tmp_path)
    assert target.stat().st_ino == before
    body = json.loads(target.read_text())
    assert body["cniVersion"] == "1.0.0"
    assert body["cniVersions"] == ["0.4.0", "1.0.0", "1.1.0"]
    assert [p["type"] for p in body["plugins"]] == ["openeni"]


def test_a_failed_installation_is_an_error_of_one_line(tmp_path: Path) -> None:
    with pytest.raises(InstallError, match=r"no CNI executable at .*cni\.build") as raised:
        install_executable(tmp_path / "nothing", tmp_path)
    assert "\n" not in str(raised.value)
    with pytest.raises(InstallError, match="cannot be written"):
        install_conflist(tmp_path / "nowhere")
