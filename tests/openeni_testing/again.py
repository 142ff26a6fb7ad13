"""`make test-again`: run the few tests that failed in the last run of the suite, with none beside.

The suite runs clusters, clouds and kernels beside each other on two processors. Who fails there and
passes alone is unsteady: a race, in a test or in the product, to be found and mended, but no sign
that a change broke something. So CI asks twice, and its log names who was asked twice. More than
`MOST` failures are not asked again: something is broken. Tests of a module that were not set up
count as one: what they share failed once.
"""

import json
import os
import re
import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from openeni_testing import suite

MOST: Final = 3
_GROUP: Final = re.compile(r"@[^]@]*$")  # which xdist adds to the name of a test


def main(
    results: Path = suite.RESULTS,
    root: Path = suite.ROOT,
    run: Callable[[Sequence[str]], int] = suite.main,
) -> int:
    """Return 0 if each test that failed passes now; 1 if none failed, too many, or one again."""
    ended = _ended_parts(results / suite.CODES)
    if not ended:
        print("no run has ended, or the last one failed for more than its tests: none is tried")
        return 1
    reports = [results / f"{part}.xml" for part in ended]
    failed = [name for report in reports for name in failed_tests(report, root)]
    count = sum(count_failures(report) for report in reports)
    if not 0 < count <= MOST:
        ways = f"{len(failed)} tests failed in {count} ways"
        print(f"{ways}: none is run again, but for 1 to {MOST}", flush=True)
        return 1
    for report in reports:
        report.unlink()  # what another run finds is its own
    if (results / suite.SEED).exists():  # random tests do what they did
        os.environ[suite.SEED] = (results / suite.SEED).read_text()
    names = "\n".join(f"  {name}" for name in failed)
    print(f"run again, with nothing beside:\n{names}", flush=True)
    code = run([*failed, "--numprocesses=0"])
    verdict = "FAILED AGAIN" if code else "UNSTEADY: failed beside others, passed alone"
    print(f"\n{verdict}, of:\n{names}", flush=True)
    return min(code, 1)


def _ended_parts(codes: Path) -> list[str]:
    """Return the parts of the last run; none if one did not end, or something else failed."""
    found: dict[str, int | None] = json.loads(codes.read_text()) if codes.exists() else {}
    coverage = found.pop("coverage", 0)
    good = coverage == 0 and set(found.values()) <= {0, suite.FAILED}
    return sorted(found) if good else []


def count_failures(report: Path) -> int:
    """Count the failures of a JUnit report; those to set up the tests of one module are one."""
    cases = list(ET.parse(report).iter("testcase"))  # noqa: S314 - pytest wrote it
    failed = {(c.get("classname"), c.get("name")) for c in cases if c.find("failure") is not None}
    return len(failed) + len({c.get("classname") for c in cases if c.find("error") is not None})


def failed_tests(report: Path, root: Path) -> list[str]:
    """Return the ids of the tests that a JUnit report calls failed, or failed to set up."""
    cases = ET.parse(report).iter("testcase")  # noqa: S314 - pytest wrote it
    found = (
        _node_id(case.get("classname", ""), case.get("name", ""), root)
        for case in cases
        if case.find("failure") is not None or case.find("error") is not None
    )
    return list(dict.fromkeys(found))


def _node_id(dotted: str, name: str, root: Path) -> str:
    """Return a test's id: a module's path, a class if it is in one, and its name."""
    words = dotted.split(".")
    length = next(
        n
        for n in range(len(words), 0, -1)
        if (root / "/".join(words[:n])).with_suffix(".py").exists()
    )
    path = "/".join(words[:length]) + ".py"
    return "::".join([path, *words[length:], _GROUP.sub("", name)])


if __name__ == "__main__":
    sys.exit(main())
