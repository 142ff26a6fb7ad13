"""Make this machine ready for labs: check it, say what is to be done and ask, install, build.

Only this changes the machine outside a lab's own folder. `prepared` is what it leaves for the rest.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from openeni_lab.cloud import bring_up, template
from openeni_lab.hypervisor.network import LabNetwork
from openeni_lab.layout import MOST_NODES, ROOT, Layout, cache_folder
from openeni_lab.machine import enclosure
from openeni_lab.machine.boot import boot_id
from openeni_lab.machine.client import Machine
from openeni_lab.machine.enclosure import LabError
from openeni_lab.machine.steps import run
from openeni_lab.prepare import probe
from openeni_lab.prepare.build import build
from openeni_lab.prepare.checks import Finding, ProbedMachine, judge, space
from openeni_lab.prepare.debian_packages import install_packages
from openeni_lab.programs import prepared
from openeni_lab.programs.cache import distribution, locked, remove, size_mib
from openeni_lab.programs.sets import GO, KERNEL, LAB_SETS, OPENSTACK, SETS, find
from openeni_lab.progress import Progress, TwoLaneProgress

TEMPLATE_LAB: Final = "_prepare"  # no name that a user can give

Ask = Callable[[str], bool]


@dataclass(frozen=True)
class PreparationPlan:
    """What is to be done on this machine."""

    packages: Sequence[str]
    sets: Sequence[str]
    kernel_unknown: bool  # whether ipvlan is there can be tried after the packages are

    @property
    def text(self) -> str:
        """The plan for a person; empty when there is nothing to do."""
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        if self.packages:
            yield f"install Debian packages: {' '.join(self.packages)}"
        if self.sets:
            minutes = sum(SETS[name].seconds for name in self.sets) / 60
            yield f"fetch and build: {', '.join(self.sets)}"
            yield (
                f"  about {max(1, minutes):.0f} min on two fast cores, "
                f"up to {space(self.sets):.0f} GiB in {cache_folder()} meanwhile"
            )
        if self.kernel_unknown:
            yield (
                "  and, if this machine's kernel turns out to have no ipvlan, a user-mode kernel "
                "and the packages to build it"
            )


def wanted(*, everything: bool, ipvlan: bool) -> tuple[str, ...]:
    """Return the sets that this machine's labs need, or all that tests and benchmarks use."""
    if everything:
        return tuple(SETS)
    return LAB_SETS if ipvlan else (*LAB_SETS, KERNEL.name)


def plan(facts: ProbedMachine) -> PreparationPlan:
    """Derive what is to be done from what the machine has."""
    return PreparationPlan(facts.packages, facts.to_build, kernel_unknown=not facts.features)


def prepare(
    layout: Layout, display: TwoLaneProgress, ask: Ask, *, everything: bool = False
) -> None:
    """Make the machine ready, and record that it is.

    `ask` is shown the plan and says whether to go on; it is not asked when there is nothing to do.
    Raises LabError that lists everything which stops the lab, one line each; PackageError and
    BuildError as their modules say.
    """
    facts = _checked(layout, display, everything=everything)
    told = plan(facts).text
    if told and not ask(told):
        raise LabError("declined: nothing was done; `openeni-lab prepare` asks again")
    install_packages(facts.packages, display)
    if not facts.features:  # only now the kernel can be tried, and what it lacks be asked for
        facts = _checked(layout, display, everything=everything)
        install_packages(facts.packages, display)
    if not facts.features:
        raise LabError(f"the kernel cannot be tried without {' and '.join(probe.TRIED_WITH)}")
    ipvlan = facts.features["ipvlan"] == ""
    sets = wanted(everything=everything, ipvlan=ipvlan)
    build(sets, display, after={OPENSTACK.name: lambda lane: _make_template(layout, lane)})
    prepared.write(prepared.MachineFacts(boot_id(), ipvlan), layout.root)


def look(layout: Layout, *, everything: bool = False) -> ProbedMachine:
    """Gather the facts for the sets that are wanted here; changes nothing."""
    features = probe.try_features()
    # While the kernel cannot be tried, what only a kernel without ipvlan needs is not asked for.
    sets = wanted(everything=everything, ipvlan=not features.get("ipvlan"))
    return probe.gather(layout, features, sets, testing=everything)


def _checked(layout: Layout, progress: Progress, *, everything: bool) -> ProbedMachine:
    progress.start("checking the machine", 1)
    facts = look(layout, everything=everything)
    stopping = [finding for finding in judge(facts) if finding.stops]
    if stopping:
        raise LabError("\n".join(["this machine is not ready:", *map(line, stopping)]))
    progress.done()
    return facts


def _make_template(layout: Layout, progress: Progress) -> None:
    """Fill the database that labs copy, in a lab of its own that is gone afterwards."""
    lab = Layout(TEMPLATE_LAB, root=layout.root)
    machine = Machine(lab.control)
    template = bring_up.template_step(lab, machine, find([OPENSTACK.name]).openstack_venv)
    if template.done() and not lab.state.exists():
        return
    with enclosure.only_one(lab) as lock:
        enclosure.remove(lab)  # what a killed one may have left
        if template.done():
            return
        try:
            wires = LabNetwork(lab, machine).steps()
            run([enclosure.step(lab, lock), *wires, template], progress)
        finally:
            enclosure.remove(lab)


def prune(progress: Progress) -> dict[str, float]:
    """Remove what this checkout does not use of the cache; return MiB by name.

    Other distributions' folders are left alone. Whatever is removed can be made again. Raises
    LabError while a lab runs: it may be another checkout's, and use what this one does not know.
    """
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
        images = cache.glob("image-*.tar")  # made again in a second
        older = (path for path in inside if path not in kept)
        unused = [cache / "go", cache / "scratch", *images, *older]
        sizes = {path: size_mib(path) for path in unused if path.exists()}
        for path in sizes:
            remove(path)
    return {path.name: mib for path, mib in sizes.items()}


def line(finding: Finding) -> str:
    """Put a finding into words: what, why, what to do."""
    return f"  {finding.what} ({finding.why}): {finding.fix}"
