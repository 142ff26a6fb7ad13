"""Which nodes carry the taint that keeps new pods off them."""

from dataclasses import replace

import pytest

from openeni_operator.node.taint import SILENT_SECONDS, TaintDecision, TaintFacts, decide

SERVED = TaintFacts(
    tainted=False, selected=True, enis=1, configured=True, other_cni=False, silent=0
)
FRESH = replace(SERVED, tainted=True, enis=0, configured=False)  # with the startup taint
OFF, ON = TaintDecision(tainted=False), TaintDecision(tainted=True)


@pytest.mark.parametrize(
    ("facts", "decision"),
    [
        # The startup taint goes once a pod can be served, or if the node is not openeni's.
        (FRESH, ON),
        (replace(FRESH, enis=1), ON),
        (replace(FRESH, enis=1, configured=True), OFF),
        (replace(FRESH, enis=1, configured=True, silent=5), TaintDecision(True, 55)),
        (replace(FRESH, selected=False), OFF),
        (replace(FRESH, selected=False, enis=1), ON),  # its pool goes, its pods are still there
        (replace(FRESH, enis=1, other_cni=True), OFF),
        (replace(FRESH, silent=1000), ON),
        (replace(FRESH, silent=None), ON),
        # It comes back for a silent agent, in time and not at once.
        (SERVED, OFF),
        (replace(SERVED, silent=10), TaintDecision(False, SILENT_SECONDS - 10)),
        (replace(SERVED, silent=SILENT_SECONDS), ON),
        (replace(SERVED, silent=SILENT_SECONDS, configured=False), ON),
        (replace(SERVED, silent=SILENT_SECONDS, other_cni=True), OFF),
        # No node gets it for an agent that it never had, nor all of them at once.
        (replace(SERVED, silent=SILENT_SECONDS, enis=0), OFF),
        (replace(SERVED, silent=None), OFF),
    ],
)
def test_the_taint(facts: TaintFacts, decision: TaintDecision) -> None:
    assert decide(facts) == decision
