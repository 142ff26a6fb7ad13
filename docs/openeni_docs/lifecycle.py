"""Render docs/lifecycle.md from the operator's decisions."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Final

from openeni_crds.conditions import Reason
from openeni_docs.eni_rules import RuleEntry, entries, words
from openeni_docs.markdown import code, table
from openeni_docs.situations import ELASTIC, ELASTIC_NODES, HOUR, NODES, POLICY, TAINTS
from openeni_operator.eni.steps import Ready
from openeni_operator.node.taint import TaintFacts, decide
from openeni_operator.sizing.plan import plan
from openeni_operator.sizing.state import (
    Action,
    CreateENI,
    DeleteENI,
    GrowENI,
    NodeState,
    RetireAddresses,
    RetireENI,
    SizingPolicy,
    UnretireENI,
)

_HEADER: Final = """\
# What the operator decides, and when

Generated from the operator's code by docs/openeni_docs and `make generate`; edit them instead.

No phase is stored anywhere: the operator observes, decides by the functions below, takes one step
and observes again. [Architecture](architecture.md) follows an address through the modules.

## An ENI and its port

`operator/openeni_operator/eni/lifecycle.py` asks each rule in turn, and the first that returns a
step decides. While the pool has `spec.paused`, no step is taken that changes the cloud.

"""
_PLAN: Final = """
## A pool's ENIs on a node

`operator/openeni_operator/sizing/plan.py`, for a pool with `addressesPerENI: {size}`,
`maxENIsPerNode: {enis}`, `minAvailable: {available}` and `reclaim.after: {hours:g}h`.

"""
_ELASTIC: Final = """
With `growth: Elastic`, `operator/openeni_operator/sizing/elastic.py` plans single addresses first;
here with `addressesPerENI: {size}`.

"""
_TAINT: Final = """
## The taint `node.openeni.io/agent-not-ready`

`operator/openeni_operator/node/taint.py`. The taint keeps new pods off a node; pods that run stay.

"""
_END: Final = "ready"  # the last node of the diagram


def page() -> str:
    """Return docs/lifecycle.md."""
    rules = entries()
    capacity = _PLAN.format(
        size=POLICY.addresses_per_eni,
        enis=POLICY.max_enis,
        available=POLICY.min_available,
        hours=(POLICY.reclaim_after or 0) / HOUR,
    )
    return "".join(
        (
            _HEADER,
            "\n".join(("```mermaid", *_diagram(rules), "```\n\n")),
            table(("rule", "purpose", "steps", "waits with"), map(_rule_row, rules)),
            capacity,
            table(("situation", "the operator"), _node_rows(NODES, POLICY)),
            _ELASTIC.format(size=ELASTIC.addresses_per_eni),
            table(("situation", "the operator"), _node_rows(ELASTIC_NODES, ELASTIC)),
            _TAINT,
            table(
                ("situation", "a node without the taint", "a node with it"),
                map(_taint_row, TAINTS.items()),
            ),
        )
    )


def _diagram(rules: list[RuleEntry]) -> Iterator[str]:
    """Yield the lines of a flow chart: each rule decides, or leaves it to the next."""
    yield "flowchart TD"
    yield f"  observe([observe]) --> {rules[0].name}"
    followers = [*(rule.name for rule in rules[1:]), _END]
    for rule, follower in zip(rules, followers, strict=True):
        outcomes = "<br>".join((*map(words, rule.steps), *(f"wait: {r}" for r in rule.waits)))
        yield f'  {rule.name}{{"{words(rule.name)}"}} --> {rule.name}_step["{outcomes}"]'
        yield f"  {rule.name} -. no .-> {follower}"
    yield f"  {_END}([{words(Ready.__name__)}])"


def _rule_row(rule: RuleEntry) -> tuple[str, str, str, str]:
    return (
        code(rule.name),
        rule.purpose,
        ", ".join(map(words, rule.steps)),
        ", ".join(_link(reason) for reason in rule.waits),
    )


def _link(reason: Reason) -> str:
    return f"[`{reason}`](conditions.md)"


def _node_rows(
    situations: Mapping[str, NodeState], policy: SizingPolicy
) -> Iterator[tuple[str, str]]:
    for name, node in situations.items():
        planned = plan(node, policy)
        done = [*map(_action, planned.actions)]
        if planned.limit_reached:
            done.append(f"reports {_link(Reason.NODE_LIMIT)}")
        yield name, ", ".join(done) or "does nothing"


def _action(action: Action) -> str:
    match action:
        case CreateENI(_, addresses):
            return f"creates an ENI with {addresses} addresses"
        case GrowENI(eni, addresses):
            return f"lets {eni} have {addresses} addresses"
        case RetireAddresses(eni, keep):
            return f"retires addresses of {eni}, so that it keeps {keep}"
        case RetireENI(eni):
            return f"retires the addresses of {eni}"
        case UnretireENI(eni):
            return f"withdraws the retirement of {eni}"
        case DeleteENI(eni):
            return f"deletes {eni}"


def _taint_row(situation: tuple[str, TaintFacts]) -> tuple[str, str, str]:
    name, facts = situation
    gets = decide(replace(facts, tainted=False)).tainted
    keeps = decide(replace(facts, tainted=True)).tainted
    return name, "gets it" if gets else "stays without", "keeps it" if keeps else "loses it"
