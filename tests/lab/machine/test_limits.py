"""Limits of a lab: the cgroup files that set them, and their enforcement by the kernel."""

import os
import signal
import sys
from collections.abc import Generator
from pathlib import Path

import pytest

from openeni_lab.lab import Lab
from openeni_lab.layout import Layout
from openeni_lab.machine import enclosure, isolation, steps
from openeni_lab.machine.client import Machine
from openeni_lab.machine.enclosure import LabError
from openeni_lab.machine.limits import LabLimits, LimitError, apply, in_force, needed
from openeni_lab.node.kernel import run_in_kernel
from openeni_lab.progress import LogProgress
from openeni_testing.lab import bare_lab
from openeni_testing.waiting import wait_for

MOST = 64  # MiB


def test_every_node_adds_to_what_a_lab_may_use() -> None:
    assert LabLimits.of(2) == LabLimits(4096 + 2 * 1280, os.cpu_count() or 1)


@pytest.mark.parametrize(
    ("limits", "controllers"),
    [
        (LabLimits(0, 0), []),
        (LabLimits(64, 2), ["memory"]),
        (LabLimits(64, 4), ["memory"]),
        (LabLimits(0, 1.5), ["cpu"]),
    ],
)
def test_no_limit_and_all_of_the_machine_need_no_controller(
    limits: LabLimits, controllers: list[str]
) -> None:
    assert [limit.controller for limit in needed(limits, 2)] == controllers


def version_2(root: Path, offered: str, enabled: str) -> Path:
    """Create the files that the kernel shows in a hierarchy of version 2."""
    root.mkdir()
    (root / "cgroup.controllers").write_text(offered)
    (root / "cgroup.subtree_control").write_text(enabled)
    return root


def test_version_2_sets_what_its_root_has_enabled(tmp_path: Path) -> None:
    root = version_2(tmp_path / "unified", "cpuset cpu memory\n", "cpu memory\n")
    apply("lab", LabLimits(1024, 0.5), [root])
    assert (root / "lab" / "memory.max").read_text() == str(1 << 30)
    assert (root / "lab" / "cpu.max").read_text() == "50000 100000"
    assert (root / "cgroup.subtree_control").read_text() == "cpu memory\n"


def test_version_2_enables_what_its_root_offers(tmp_path: Path) -> None:
    root = version_2(tmp_path / "unified", "cpuset cpu memory\n", "cpu\n")
    apply("lab", LabLimits(1024, 0), [root])
    assert (root / "cgroup.subtree_control").read_text() == "+memory"
    assert (root / "lab" / "memory.max").exists()


def test_version_1_takes_the_hierarchy_of_each_controller(tmp_path: Path) -> None:
    unified = version_2(tmp_path / "unified", "hugetlb\n", "")
    for name in ("memory/memory.limit_in_bytes", "cpu/cpu.cfs_quota_us"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    apply("lab", LabLimits(1024, 0.5), [unified, tmp_path / "memory", tmp_path / "cpu"])
    memory, cpu = tmp_path / "memory" / "lab", tmp_path / "cpu" / "lab"
    assert (memory / "memory.limit_in_bytes").read_text() == str(1 << 30)
    assert (memory / "memory.use_hierarchy").read_text() == "1"
    assert (cpu / "cpu.cfs_quota_us").read_text() == "50000"
    assert not (unified / "lab").exists()


@pytest.mark.parametrize("version", [1, 2])
def test_limits_can_be_changed_lifted_and_read(tmp_path: Path, version: int) -> None:
    roots = [version_2(tmp_path / "unified", "cpu memory\n" if version == 2 else "", "cpu memory")]
    if version == 1:
        for name in ("memory/memory.limit_in_bytes", "cpu/cpu.cfs_quota_us"):
            (tmp_path / name).parent.mkdir()
            (tmp_path / name).touch()
            roots.append((tmp_path / name).parent)
    for limits in (LabLimits(1024, 0.57), LabLimits(512, 0), LabLimits(0, 0.5), LabLimits(0, 0)):
        apply("lab", limits, roots)
        assert in_force("lab", roots) == limits


def test_a_limit_that_was_never_set_is_none(tmp_path: Path) -> None:
    """As the kernel shows it in version 1: the largest number of whole pages."""
    (tmp_path / "lab").mkdir()
    (tmp_path / "lab" / "memory.limit_in_bytes").write_text("9223372036854771712\n")
    (tmp_path / "lab" / "cpu.max").write_text("max 100000\n")
    assert in_force("lab", [tmp_path]) == LabLimits(0, 0)


def test_what_was_not_asked_for_stays() -> None:
    limits = LabLimits(1024, 2)
    assert limits.changed(None, None) == limits
    assert limits.changed(0, None) == LabLimits(0, 2)
    assert limits.changed(None, 0) == LabLimits(1024, 0)


def test_limits_are_told_in_words() -> None:
    assert LabLimits(1024, 1.5).text == "1024 MiB of memory, 1.5 processors"
    assert LabLimits(0, 0).text == "all memory, all processors"


def test_a_kernel_without_the_controller_is_named(tmp_path: Path) -> None:
    root = version_2(tmp_path / "unified", "cpu\n", "cpu\n")
    with pytest.raises(
        LimitError,
        match=r"^the lab cannot limit its memory to 1024 MiB: no cgroup hierarchy has the "
        r"controller memory; boot the kernel with cgroup_enable=memory, or .*--memory 0",
    ):
        apply("lab", LabLimits(1024, 1), [root])


def test_a_root_that_refuses_is_named(tmp_path: Path) -> None:
    """Like a container's root while it has processes: its control file cannot be written."""
    root = version_2(tmp_path / "unified", "cpu\n", "")
    (root / "cgroup.subtree_control").unlink()
    (root / "cgroup.subtree_control").symlink_to("/proc/version")
    with pytest.raises(
        LimitError, match=r"limit its processors to 0.5: .*: .*/cgroup.subtree_control; ask for no"
    ):
        apply("lab", LabLimits(0, 0.5), [root])


@pytest.fixture
def lab(tmp_path: Path) -> Generator[Layout]:
    made = Layout(f"limit-{os.getpid()}", root=tmp_path / "labs")
    yield made
    bare_lab.remove(made)


def start(lab: Layout, limits: LabLimits) -> Machine:
    with enclosure.locked(lab) as lock:
        steps.run([enclosure.start_init_step(lab, lock, limits)], LogProgress())
    return Machine(lab.control)


OWN = "bytearray({size}); print('had it')"
# As a guest's: a file in /dev/shm that has no name any more.
GUEST = """
import mmap, os, tempfile
file = tempfile.TemporaryFile(dir="/dev/shm")
os.truncate(file.fileno(), {size})
memory = mmap.mmap(file.fileno(), {size})
for at in range(0, {size}, mmap.PAGESIZE):
    memory[at] = 1
print("had it")
"""


@pytest.mark.root
@pytest.mark.parametrize("hog", [OWN, GUEST])
def test_a_lab_gets_no_more_memory_than_it_may_use(lab: Layout, hog: str) -> None:
    machine = start(lab, LabLimits(MOST, 0))
    finished = machine.run([sys.executable, "-c", hog.format(size=2 * MOST << 20)])
    assert (finished.code, finished.text) == (-signal.SIGKILL, "")
    assert machine.alive()


@pytest.mark.root
def test_the_limits_of_a_running_lab_are_changed(
    lab: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Lab, "steps", list[steps.Step])  # of the init alone
    monkeypatch.setattr(Lab, "sets", ())
    Lab(lab, limits=LabLimits(8 * MOST, 0.5)).up(LogProgress())
    machine, before = Machine(lab.control), Machine(lab.control).pid()
    assert enclosure.limits(lab) == LabLimits(8 * MOST, 0.5)
    Lab(lab, limits=enclosure.limits(lab).changed(MOST, 0)).up(LogProgress())
    assert enclosure.limits(lab) == LabLimits(MOST, 0)
    finished = machine.run([sys.executable, "-c", OWN.format(size=2 * MOST << 20)])
    assert finished.code == -signal.SIGKILL
    Lab(lab).up(LogProgress())
    assert (enclosure.limits(lab), machine.pid()) == (LabLimits(MOST, 0), before)


@pytest.mark.root
def test_less_memory_than_it_uses_is_refused_and_kills_nothing(lab: Layout, tmp_path: Path) -> None:
    machine = start(lab, LabLimits(8 * MOST, 0))
    script = f"{OWN.format(size=2 * MOST << 20)}; sys.stdout.flush(); time.sleep(300)"
    log = tmp_path / "log"
    machine.start("user", [sys.executable, "-c", f"import sys, time; x = {script}"], log=log)
    wait_for(lambda: log.read_text() == "had it\n", "the use of memory")
    with pytest.raises(
        LabError, match=r"limit its memory to 64 MiB: it uses 1\d\d MiB; ask for more, or take it"
    ):
        enclosure.set_limits(lab, LabLimits(MOST, 0))
    assert enclosure.limits(lab) == LabLimits(8 * MOST, 0)
    assert machine.running("user")


@pytest.mark.root
def test_many_small_programs_end_before_their_init(lab: Layout, tmp_path: Path) -> None:
    """The init uses more memory than any of them: otherwise the OOM killer would choose it."""
    machine = start(lab, LabLimits(4 * MOST, 0))
    script = "text=$(head -c 5000000 /dev/zero | tr '\\0' x); sleep 1000; echo $text"
    for number in range(80):
        machine.start(f"small{number}", ["sh", "-c", script], log=tmp_path / "log")
    wait_for(lambda: len(machine.unexpected_exits()) > 1, "the end of some")
    assert {end.how for end in machine.unexpected_exits()} == {"ended by SIGKILL (signal 9)"}


@pytest.mark.root
def test_a_lab_gets_no_more_processors_than_it_may_use(lab: Layout, tmp_path: Path) -> None:
    machine = start(lab, LabLimits(0, 0.2))
    machine.start("busy", ["sh", "-c", "while :; do :; done"], log=tmp_path / "log")

    def throttled() -> bool:
        files = [root / lab.cgroup / "cpu.stat" for root in isolation.cgroup_roots()]
        text = "".join(file.read_text() for file in files if file.exists())
        return any(li.split()[0] == "nr_throttled" and li.split()[1] != "0"
                   for li in text.splitlines())  # fmt: skip

    wait_for(throttled, "the kernel to hold it back")


@pytest.mark.root
def test_limits_hold_where_there_is_version_2_alone() -> None:
    """Run in the user-mode kernel: this machine's controllers may be in version 1."""
    words = [
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-m",
        "root",
        "-k",
        "no_more or running or less",
        __file__,
    ]
    assert run_in_kernel([sys.executable, *words], own_kernel=False) == 0


@pytest.mark.root
def test_a_machine_that_cannot_limit_it_starts_no_lab(
    lab: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(isolation, "cgroup_roots", list[Path])
    with pytest.raises(LabError, match=r"cannot limit its memory"):
        start(lab, LabLimits(MOST, 0))
    assert not lab.control.exists()
