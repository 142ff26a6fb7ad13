import os
import struct
import subprocess
from pathlib import Path

import pytest

from openeni_lab.prepare.build import build
from openeni_lab.programs.cache import building
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
        pytest.raises(BuildError, match="has a dynamic busybox: a static one is needed"),
        building(BUSYBOX.entry, cache, RecordedProgress()) as workshop,
    ):
        BUSYBOX.build(workshop)
    assert not BUSYBOX.entry.complete(cache)


@pytest.mark.root
@pytest.mark.network
def test_debians_busybox_is_static_and_runs(tmp_path: Path) -> None:
    build(["busybox"], RecordedProgress(), tmp_path)
    busybox = find_built_sets(["busybox"], tmp_path).busybox
    asked = [str(busybox), "echo", "hello"]
    done = subprocess.run(asked, capture_output=True, text=True, timeout=20, check=True)
    assert done.stdout == "hello\n"
