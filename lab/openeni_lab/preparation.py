"""What must be true of the machine before a lab is made: checked at once, fetched and built."""

from collections.abc import Sequence

from openeni_lab import probe
from openeni_lab.builds import Built, ensure
from openeni_lab.checks import Finding, judge
from openeni_lab.debian import install_packages
from openeni_lab.enclosure import LabError
from openeni_lab.layout import Layout
from openeni_lab.steps import Progress


def prepare(layout: Layout, sets: Sequence[str], progress: Progress) -> Built:
    """Check the machine, install missing packages, build missing programs.

    Raises LabError that lists everything which stops the lab, one line each; PackageError and
    BuildError as their modules say.
    """
    progress.start("checking the machine", 1)
    facts = probe.gather(layout, sets)
    stopping = [finding for finding in judge(facts) if finding.stops]
    if stopping:
        raise LabError("\n".join(["this machine is not ready:", *map(line, stopping)]))
    progress.done()
    install_packages(facts.packages, progress)
    return ensure(sets, progress)


def line(finding: Finding) -> str:
    """A finding for a person: what, why, what to do."""
    return f"  {finding.what} ({finding.why}): {finding.fix}"
