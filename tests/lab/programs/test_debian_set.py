import os
import struct
import subprocess
from pathlib import Path

import pytest

from openeni_lab.prepare.build import build
from openeni_lab.programs.cache import building
from openeni_lab.programs.debian_set import DebianSet
from openeni_lab.programs.sets import BUSYBOX, BuildError, find_built_sets
from openeni_testing.lab.recording import RecordedProgress, executable

APT_GET = """#!/bin/sh
# Stands for apt-get: knows no package before it has updated its lists.
here=$(dirname "$0")
case "$*" in
*update) touch "$here/lists" ;;
*download*) test -e "$here/lists" || { echo "E: Unable to locate package" >&2; exit 100; }
    touch busybox-static_1.35_amd64.deb ;;
esac
"""


def elf(*segments: int) -> bytes:
    """Return a 64-bit ELF header and program headers of these types."""
    header = struct.pack("<4sB27xQ14xHH6x", b"\x7fELF", 2, 64, 56, len(segments))
    return header + b"".join(struct.pack("<I52x", segment) for segment in segments)


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the contents of the package's bin/busybox."""
    folder = tmp_path / "path"
    executable(folder / "apt-get", APT_GET)
    script = f"#!/bin/sh\nmkdir bin && cp {tmp_path}/busybox bin/busybox\n"
    executable(folder / "dpkg-deb", script)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return tmp_path / "busybox"


def test_busybox_comes_out_of_its_package_whatever_the_machine_has(
    package: Path, tmp_path: Path
) -> None:
    package.write_bytes(elf(1, 1))
    cache = tmp_path / "cache"
    cache.mkdir()
    with building(BUSYBOX.entry, cache, RecordedProgress()) as workshop:
        BUSYBOX.build(workshop)
    assert find_built_sets(["busybox"], cache).busybox.read_bytes() == elf(1, 1)
    assert BUSYBOX.entry.record(cache).toolchain == "busybox-static_1.35_amd64"


@pytest.mark.parametrize("contents", [elf(1, 3), b"#!/bin/sh\n", b"#!/bin/sh\n" * 9])
def test_a_program_that_is_not_static_is_refused(
    package: Path, tmp_path: Path, contents: bytes
) -> None:
    package.write_bytes(contents)
    cache = tmp_path / "cache"
    cache.mkdir()
    with (
        pytest.raises(BuildError, match="a dynamic busybox, and a static one is needed"),
        building(BUSYBOX.entry, cache, RecordedProgress()) as workshop,
    ):
        BUSYBOX.build(workshop)
    assert not BUSYBOX.entry.complete(cache)


@pytest.mark.parametrize(
    ("first", "second", "downloaded"),
    [
        (("server", "tool"), (), ["server"]),
        (("server",), ("tool",), ["server", "tool"]),
    ],
    ids=["one package has both", "a later release has split it"],
)
def test_a_program_is_found_in_whichever_package_the_release_has_it(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    first: tuple[str, ...],
    second: tuple[str, ...],
    downloaded: list[str],
) -> None:
    folder = tmp_path / "path"
    asked = f'echo "$last" >> {tmp_path}/asked; touch "$last"_1_amd64.deb'
    executable(folder / "apt-get", f"#!/bin/sh\nfor last; do :; done; {asked}\n")
    unpacked = {"server": first, "tool": second}
    cases = [
        f"*{package}_1_*) mkdir -p bin; for p in {' '.join(programs)}; do echo > bin/$p; done ;;"
        for package, programs in unpacked.items()
    ]
    executable(folder / "dpkg-deb", "\n".join(["#!/bin/sh", 'case "$2" in', *cases, "esac\n"]))
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    wanted = DebianSet("server", ("server", "tool"), ("server", "tool"), static=False)
    cache = tmp_path / "cache"
    cache.mkdir()
    with building(wanted.entry, cache, RecordedProgress()) as workshop:
        wanted.build(workshop)
    assert {p.name for p in (wanted.entry.folder(cache) / "bin").iterdir()} == {"server", "tool"}
    assert (tmp_path / "asked").read_text().split() == downloaded


@pytest.mark.root
@pytest.mark.network
def test_debians_prometheus_and_its_tool_run_and_nothing_is_installed(tmp_path: Path) -> None:
    build(["prometheus"], RecordedProgress(), tmp_path)
    built = find_built_sets(["prometheus"], tmp_path)
    for program in ("prometheus", "promtool"):
        asked = [str(built.bin(program)), "--version"]
        done = subprocess.run(asked, capture_output=True, text=True, timeout=20, check=True)
        assert f"{program}, version" in done.stdout + done.stderr
    assert not Path("/etc/default/prometheus").exists()


@pytest.mark.root
@pytest.mark.network
def test_networkd_comes_with_its_libraries_whatever_their_versions(tmp_path: Path) -> None:
    build(["networkd"], RecordedProgress(), tmp_path)
    program = find_built_sets(["networkd"], tmp_path).bin("systemd-networkd")
    asked = subprocess.run(
        [str(program), "--version"],
        env={"LD_LIBRARY_PATH": str(program.parent)},
        capture_output=True,
        text=True,
        timeout=20,
        check=True,
    )
    assert asked.stdout.startswith("systemd ")


@pytest.mark.root
@pytest.mark.network
def test_debians_busybox_is_static_and_runs(tmp_path: Path) -> None:
    build(["busybox"], RecordedProgress(), tmp_path)
    busybox = find_built_sets(["busybox"], tmp_path).busybox
    asked = [str(busybox), "echo", "hello"]
    done = subprocess.run(asked, capture_output=True, text=True, timeout=20, check=True)
    assert done.stdout == "hello\n"
