import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from openeni_lab.images.debian_archive import ArchiveError
from openeni_lab.programs import kernel_set
from openeni_lab.programs.cache import BuildError, Workshop
from openeni_lab.programs.kernel_set import KernelSet, lost_options, newest_source
from openeni_lab.progress import LogProgress


@pytest.mark.parametrize(
    ("said", "package"),
    [
        ("linux-source\n  Depends: linux-source-6.1\n", "linux-source-6.1"),
        (
            "linux-source\n |Depends: linux-source-6.9\n  Depends: linux-source-6.12\n",
            "linux-source-6.12",
        ),
        ("linux-source\n  Depends: linux-source-6.8.0\n", "linux-source-6.8.0"),
        ("linux-source\n  Suggests: linux-source-doc\n  Depends: old-linux-source-9.9\n", None),
        ("", None),
    ],
)
def test_the_series_is_the_one_that_the_distribution_says(said: str, package: str | None) -> None:
    assert newest_source(said.split()) == package


def test_an_option_that_the_source_drops_is_named() -> None:
    wanted = "# a comment\nCONFIG_B=y\nCONFIG_IPVLAN=y\nCONFIG_A=y\nCONFIG_N=n\n"
    config = "CONFIG_IPVLAN=y\n# CONFIG_A is not set\nCONFIG_OTHER=y\n"
    assert lost_options(wanted, config) == ["CONFIG_A=y", "CONFIG_B=y"]
    assert lost_options("CONFIG_IPVLAN=y\n", config) == []


@pytest.mark.parametrize("failing", [None, "fetch", "build"])
def test_the_distributions_source_is_built_where_the_backports_cannot_be(
    failing: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built: list[str] = []

    def fetch(_: Path) -> list[str]:
        if failing == "fetch":
            raise ArchiveError("no such suite")
        return ["-o", "Dir::Etc::SourceList=backports"]

    def build(_: KernelSet, __: Workshop, name: str, apt: Sequence[str]) -> None:
        if apt and failing == "build":
            raise BuildError("kernel: Kconfig dropped CONFIG_IPVLAN=y")
        built.append(name)

    monkeypatch.setattr(kernel_set, "_backports", fetch)
    monkeypatch.setattr(KernelSet, "_build_from", build)
    workshop = workshop_in(tmp_path)
    KernelSet().build(workshop)
    assert built == (["own"] if failing else ["backports"])
    log = workshop.log.read_text() if workshop.log.exists() else ""
    assert ("to try again, remove" in log) == bool(failing)


def test_after_ctrl_c_nothing_else_is_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built: list[str] = []

    def build(_: KernelSet, workshop: Workshop, name: str, __: Sequence[str]) -> None:
        built.append(name)
        workshop.cancelled.set()
        raise BuildError("kernel: cancelled")

    def fetch(_: Path) -> list[str]:
        return []

    monkeypatch.setattr(kernel_set, "_backports", fetch)
    monkeypatch.setattr(KernelSet, "_build_from", build)
    with pytest.raises(BuildError, match="cancelled"):
        KernelSet().build(workshop_in(tmp_path))
    assert built == ["backports"]


def workshop_in(folder: Path) -> Workshop:
    return Workshop(
        entry=folder / "kernel",
        cache=folder,
        log=folder / "kernel.log",
        progress=LogProgress(),
        prefix=(),
        cancelled=threading.Event(),
        after_step=lambda _: None,
    )


@pytest.mark.parametrize("name", ["_OPTIONS", "_TUNING", "_PRELOAD"])
def test_a_kernel_built_from_other_files_is_another_entry(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = KernelSet().entry.folder(tmp_path)
    (tmp_path / "changed").write_bytes(getattr(kernel_set, name).read_bytes() + b"\n")
    monkeypatch.setattr(kernel_set, name, tmp_path / "changed")
    assert KernelSet().entry.folder(tmp_path) != before


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        ("_MAKE", ("make", "ARCH=um", "KCFLAGS=-w")),
        ("_CONFIGURE", "tinyconfig"),
        ("_TARGET", "vmlinux"),
        ("_NAMELESS", {"KBUILD_BUILD_USER": "openeni"}),
        ("_LIBRARY", ("gcc", "-shared", "-fPIC", "-O3")),
        ("_LEFT_OUT", ("*/drivers/gpu/*.[ch]",)),
    ],
)
def test_a_kernel_built_in_another_way_is_another_entry(
    name: str, changed: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = KernelSet().entry.folder(tmp_path)
    monkeypatch.setattr(kernel_set, name, changed)
    assert KernelSet().entry.folder(tmp_path) != before
