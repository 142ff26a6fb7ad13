import lzma
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from openeni_lab.programs.cache import BuildError, building
from openeni_lab.programs.emulator_set import (
    MODULES,
    EmulatorSet,
    UnpackedModules,
    in_order,
    kernel_package,
    newc,
)
from openeni_testing.lab.recording import RecordedProgress, executable

VERSION = "6.1.0-57-amd64"


def module(*needs: str) -> bytes:
    return b"\x7fELF\0license=GPL\0depends=" + ",".join(needs).encode() + b"\0retpoline=Y\0"


def unpacked(archive: bytes) -> Iterator[tuple[str, int, bytes]]:
    """Yield name, mode and content of an archive's entries, as the kernel reads them."""
    at = 0
    while True:
        assert archive[at : at + 6] == b"070701"
        fields = [int(archive[at + 6 + 8 * n : at + 14 + 8 * n], 16) for n in range(13)]
        mode, size, name_size = fields[1], fields[6], fields[11]
        begin = at + 110 + name_size
        assert archive[begin - 1] == 0
        name = archive[at + 110 : begin - 1].decode()
        begin += -begin % 4
        if name == "TRAILER!!!":
            return
        yield name, mode, archive[begin : begin + size]
        at = begin + size + -(begin + size) % 4


@pytest.mark.parametrize(
    ("dependencies", "package"),
    [
        (f"linux-image-{VERSION} (= 6.1.192-3)", f"linux-image-{VERSION}"),
        ("linux-base, linux-image-6.12.48+deb13-amd64", "linux-image-6.12.48+deb13-amd64"),
    ],
)
def test_the_kernel_is_the_one_that_the_distribution_says(dependencies: str, package: str) -> None:
    assert kernel_package(dependencies) == package


def test_a_distribution_without_such_a_kernel_is_told() -> None:
    with pytest.raises(BuildError, match="depends on no kernel, but on 'linux-base'"):
        kernel_package("linux-base")


def test_a_module_is_loaded_once_and_behind_what_it_needs() -> None:
    there = {
        "nft_nat": module("nf_tables", "nf_nat"),
        "nf_nat": module("nf_conntrack"),
        "nf_tables": module("nfnetlink"),
        "nf_conntrack": module(),
        "nfnetlink": b"\x7fELF",
    }
    ordered = in_order(["nf_nat", "nft_nat"], there.__getitem__)
    assert [*ordered] == ["nf_conntrack", "nf_nat", "nfnetlink", "nf_tables", "nft_nat"]
    assert all(ordered[name] == there[name] for name in there)


def test_modules_may_be_compressed_or_built_in(tmp_path: Path) -> None:
    folder = tmp_path / "usr/lib/modules" / VERSION
    (folder / "kernel/net").mkdir(parents=True)
    (folder / "modules.builtin").write_text("kernel/fs/overlayfs/overlay.ko\n")
    (folder / "kernel/net/veth.ko").write_bytes(module())
    (folder / "kernel/net/nf-log.ko.xz").write_bytes(lzma.compress(module("veth")))
    modules = UnpackedModules(tmp_path)
    assert modules.read("veth") == module()
    assert modules.read("nf_log") == module("veth")
    assert modules.read("overlay") == b""
    with pytest.raises(BuildError, match="no module ipvlan"):
        modules.read("ipvlan")


def test_an_archive_has_folders_programs_and_files() -> None:
    files = {"init": b"#!/bin/busybox sh\n", "bin/busybox": b"12345", "modules/000-a.ko": b""}
    found = {name: (mode, content) for name, mode, content in unpacked(newc(files, ["machine"]))}
    assert {
        name: content for name, (_, content) in found.items() if content or "/" in name
    } == files
    assert found["init"][0] == found["bin/busybox"][0] == 0o100755
    assert found["modules/000-a.ko"][0] == 0o100644
    assert {name for name, (mode, _) in found.items() if mode == 0o040755} == {
        "bin",
        "machine",
        "modules",
    }


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put programs in the place of apt-get and dpkg-deb, which unpack a kernel of few bytes."""
    folder, contents = tmp_path / "path", tmp_path / "contents"
    modules = contents / "lib/modules" / VERSION / "kernel"
    for place in (modules, contents / "boot", contents / "bin"):
        place.mkdir(parents=True)
    for name in MODULES:
        (modules / f"{name}.ko").write_bytes(module())
    (contents / "boot" / f"vmlinuz-{VERSION}").write_bytes(b"kernel")
    (contents / "bin/busybox").write_bytes(b"busybox")
    named = 'for last; do :; done; touch "$last"_6.1_amd64.deb'
    executable(folder / "apt-get", f"#!/bin/sh\n{named}\n")
    depends = f"case $1 in --field) echo linux-image-{VERSION};; *) cp -r {contents}/* .;; esac"
    executable(folder / "dpkg-deb", f"#!/bin/sh\n{depends}\n")
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


@pytest.mark.usefixtures("package")
def test_kernel_and_modules_come_out_of_their_package(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    cache.mkdir()
    entry = EmulatorSet().entry
    with building(entry, cache, RecordedProgress()) as workshop:
        EmulatorSet().build(workshop)
    assert entry.record(cache).toolchain == f"linux-image-{VERSION}_6.1_amd64"
    assert (entry.folder(cache) / "vmlinuz").read_bytes() == b"kernel"
    files = [name for name, *_ in unpacked((entry.folder(cache) / "initrd").read_bytes())]
    loaded = [name for name in files if name.endswith(".ko")]
    assert loaded == sorted(loaded)  # the order in which a shell lists them
    assert len(loaded) == len(MODULES)
    assert {"init", "bin/busybox", "machine"} <= set(files)
