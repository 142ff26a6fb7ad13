"""Prepare this machine for labs: check it, show the plan and ask, install, build.

Nothing else changes the machine outside a lab's own folder. The result is read with `prepared`.
"""

import contextlib
import os
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from openeni_lab.cloud import bring_up, template
from openeni_lab.hypervisor.network import LabNetwork
from openeni_lab.invocation import command
from openeni_lab.layout import MOST_NODES, ROOT, Layout, cache_folder
from openeni_lab.machine import enclosure
from openeni_lab.machine.boot import boot_id
from openeni_lab.machine.client import Machine, MachineError
from openeni_lab.machine.enclosure import LabError
from openeni_lab.machine.steps import CancellableProgress, StepError, run
from openeni_lab.prepare import probe
from openeni_lab.prepare.build import build
from openeni_lab.prepare.checks import Finding, ProbedMachine, find_problems, space
from openeni_lab.prepare.debian_packages import install_packages
from openeni_lab.programs import prepared
from openeni_lab.programs.cache import REMOVED, distribution, locked, remove, size_mib
from openeni_lab.programs.sets import (
    EMULATOR,
    GO,
    KERNEL,
    LAB_SETS,
    OPENSTACK,
    SETS,
    find_built_sets,
)
from openeni_lab.progress import Progress, TwoLaneProgress

TEMPLATE_LAB: Final = "_prepare"  # not a name that users can choose
CANCEL_SECONDS: Final = 0.2  # how soon a lab is killed when its work is cancelled

Ask = Callable[[str], bool]


@dataclass(frozen=True)
class PreparationPlan:
    """The plan for this machine."""

    packages: Sequence[str]
    sets: Sequence[str]
    kernel_unknown: bool  # ipvlan can only be tried once the packages are installed

    @property
    def text(self) -> str:
        """Return the plan for the user; empty if there is nothing to do."""
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        if self.packages:
            yield f"install Debian packages: {' '.join(self.packages)}"
        if self.sets:
            minutes = sum(SETS[name].seconds for name in self.sets) / 60
            yield f"fetch and build: {', '.join(self.sets)}"
            yield (
                f"  {max(1, minutes):.0f} to {max(2, 2 * minutes):.0f} min on two cores, "
                f"up to {space(self.sets):.0f} GiB in {cache_folder()} while building"
            )
        if self.kernel_unknown:
            minutes = KERNEL.seconds / 60
            yield (
                "  and, if this machine's kernel has no ipvlan, a user-mode kernel and the "
                f"packages to build it: {minutes:.0f} to {2 * minutes:.0f} min more"
            )


def wanted(*, everything: bool, ipvlan: bool, emulator: bool = False) -> tuple[str, ...]:
    """Return the sets for labs on this machine, or all, for tests and benchmarks.

    All but the emulator's: one benchmark alone needs it.
    """
    sets = LAB_SETS if ipvlan else (*LAB_SETS, KERNEL.name)
    if everything:
        sets = tuple(name for name in SETS if name != EMULATOR.name)
    return (*sets, EMULATOR.name) if emulator else sets


def plan(facts: ProbedMachine) -> PreparationPlan:
    """Derive the plan from the machine's facts."""
    return PreparationPlan(facts.packages, facts.to_build, kernel_unknown=not facts.features)


def prepare(
    layout: Layout,
    display: TwoLaneProgress,
    ask: Ask,
    *,
    everything: bool = False,
    emulator: bool = False,
) -> None:
    """Prepare the machine, and record that it is prepared.

    `ask` gets the plan, unless it is empty, and returns whether to continue. Raises LabError with a
    line for each finding that stops the lab, PackageError, or BuildError.
    """
    facts = _checked(layout, display, everything=everything, emulator=emulator)
    text = plan(facts).text
    asked = time.monotonic()
    if text and not ask(text):
        raise LabError(f"declined: nothing was installed; `{command('prepare')}` asks again")
    asked_seconds = time.monotonic() - asked
    install_packages(facts.packages, display)
    if not facts.features:  # the kernel can only be tried now; it may need more packages
        facts = _checked(layout, display, everything=everything, emulator=emulator)
        install_packages(facts.packages, display)
    if not facts.features:
        raise LabError(f"cannot probe the kernel without {' and '.join(probe.TRIED_WITH)}")
    ipvlan = facts.features["ipvlan"] == ""
    sets = wanted(everything=everything, ipvlan=ipvlan, emulator=emulator)
    build(sets, display, after={OPENSTACK.name: lambda lane: make_template(layout, lane)})
    prepared.write(prepared.MachineFacts(boot_id(), ipvlan, asked_seconds), layout.root)


def probe_machine(
    layout: Layout, *, everything: bool = False, emulator: bool = False
) -> ProbedMachine:
    """Gather the facts for the wanted sets; change nothing."""
    features = probe.try_features()
    # If the kernel cannot be tried yet, assume that it has ipvlan.
    ipvlan = not features.get("ipvlan")
    sets = wanted(everything=everything, ipvlan=ipvlan, emulator=emulator)
    return probe.gather(layout, features, sets, testing=everything)


def _checked(
    layout: Layout, progress: Progress, *, everything: bool, emulator: bool
) -> ProbedMachine:
    progress.start("checking the machine", 1)
    facts = probe_machine(layout, everything=everything, emulator=emulator)
    stopping = [finding for finding in find_problems(facts) if finding.stops]
    if stopping:
        raise LabError("\n".join(["this machine is not ready:", *map(line, stopping)]))
    progress.done()
    return facts


def make_template(layout: Layout, progress: CancellableProgress) -> None:
    """Make the template that labs copy, in a temporary lab, which is killed on cancellation.

    Raises StepError with the text "cancelled: ..." then, whatever the killing made fail.
    """
    lab = Layout(TEMPLATE_LAB, root=layout.root)
    machine = Machine(lab.control)
    template = bring_up.template_step(
        lab, machine, find_built_sets([OPENSTACK.name]).openstack_venv
    )
    if template.done() and not lab.state.exists():
        return
    with enclosure.locked(lab) as lock:
        enclosure.remove(lab)  # the rest of a killed run
        if template.done():
            return
        try:
            wires = LabNetwork(lab, machine).steps()
            init = enclosure.start_init_step(lab, lock, owner=os.getpid())
            with _killed_once(progress.cancelled, lab):
                run([init, *wires, template], progress)
        finally:
            enclosure.remove(lab)


@contextlib.contextmanager
def _killed_once(cancelled: threading.Event, lab: Layout) -> Generator[None]:
    """Kill the lab's processes once `cancelled` is set: what waits for one then fails at once.

    How it fails depends on what died first, the program that is waited for or the lab's init, so
    the failure is told as what it is.
    """
    over = threading.Event()

    def watch() -> None:
        while not over.wait(CANCEL_SECONDS):
            if cancelled.is_set():
                enclosure.kill(lab)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield
    except (MachineError, StepError) as error:
        if cancelled.is_set():
            raise StepError(f"cancelled: {error}") from error
        raise
    finally:
        over.set()
        watcher.join()


def prune(progress: Progress) -> dict[str, float]:
    """Remove the parts of the cache that this checkout does not use; return their MiB by name.

    Other distributions' folders stay. Everything that is removed can be built again. Raises
    LabError while a lab runs, since it may be of another checkout and use what this one does not.
    """
    _remove_template_lab()
    running = [
        folder.name
        for folder in (ROOT.iterdir() if ROOT.is_dir() else ())
        if Machine(Layout(folder.name, root=ROOT).control).alive()
    ]
    if running:
        raise LabError(f"labs are running: {', '.join(running)}; take them down first")
    cache = cache_folder()
    place = cache / distribution()
    with locked(cache, progress):
        kept = {one.entry.folder(cache) for one in (*SETS.values(), GO)}
        venv = OPENSTACK.entry.folder(cache)
        counts = range(1, MOST_NODES + 1)
        kept |= {template.template_folder(Layout(node_count=n), venv) for n in counts}
        inside = place.iterdir() if place.is_dir() else ()
        images = cache.glob("image-*.tar")  # built again within a second
        older = (path for path in inside if path not in kept)
        half_removed = cache.glob(f"*{REMOVED}*")
        unused = [cache / "go", cache / "scratch", *half_removed, *images, *older]
        sizes = {path: size_mib(path) for path in unused if path.exists()}
        for path in sizes:
            remove(path)
    return {path.name: mib for path, mib in sizes.items()}


def _remove_template_lab() -> None:
    """Remove the rest of a killed `prepare`. Raises LabError while another one works on it."""
    lab = Layout(TEMPLATE_LAB, root=ROOT)
    if lab.state.exists():
        with enclosure.locked(lab):
            enclosure.remove(lab)


def line(finding: Finding) -> str:
    """Return a finding as a line: what, why, and what to do."""
    return f"  {finding.what} ({finding.why}): {finding.fix}"
