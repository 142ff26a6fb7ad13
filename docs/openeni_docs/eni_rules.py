"""Read from the source of `eni.lifecycle` which steps each rule can return.

A rule returns a step, or what a function returns that it calls, of its module or of
`eni.safeguards`; both are calls in its syntax tree.
"""

import ast
import inspect
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, get_args

from openeni_crds.conditions import Reason
from openeni_operator.eni import lifecycle, safeguards
from openeni_operator.eni.steps import Step, Wait

STEPS: Final = tuple(step.__name__ for step in get_args(Step))


@dataclass(frozen=True)
class RuleEntry:
    """A rule, its docstring's first line, the steps that it takes, the reasons of its waits."""

    name: str
    purpose: str
    steps: tuple[str, ...]
    waits: tuple[Reason, ...]


def entries() -> list[RuleEntry]:
    """Return the rules in their order."""
    return [_entry(rule) for rule in lifecycle.RULES]


def words(name: str) -> str:
    """Return a function's or a class' name as words: `detect_loss`, `AttachPort`."""
    return re.sub(r"(?<!^)(?=[A-Z][a-z])|_", " ", name).lower()


def _entry(rule: lifecycle.Rule) -> RuleEntry:
    name = _functions_name(rule)
    found = tuple(dict.fromkeys(_outcomes(_FUNCTIONS[name], {})))
    return RuleEntry(
        name,
        (inspect.getdoc(rule) or "").partition("\n")[0],
        tuple(step for step in found if not isinstance(step, Reason)),
        tuple(reason for reason in found if isinstance(reason, Reason)),
    )


def _functions_name(rule: lifecycle.Rule) -> str:
    if not inspect.isfunction(rule):
        raise TypeError(f"the rule {rule!r} is no function")
    return rule.__name__


def _functions_of(source: str) -> dict[str, ast.FunctionDef]:
    return {node.name: node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)}


_FUNCTIONS: Final = {
    name: function
    for module in (safeguards, lifecycle)
    for name, function in _functions_of(inspect.getsource(module)).items()
}
_Arguments = Mapping[str, ast.expr]


def _outcomes(function: ast.FunctionDef, given: _Arguments) -> Iterator[str | Reason]:
    """Yield the names of steps, and for each Wait its reason, in the order of the source."""
    for call in _calls(function):
        arguments = [_resolved(argument, given) for argument in call.args]
        called = call.func.id if isinstance(call.func, ast.Name) else ""
        if called == Wait.__name__:
            yield _reason(arguments[0])
        elif called in STEPS:
            yield called
        elif called in _FUNCTIONS:
            names = (parameter.arg for parameter in _FUNCTIONS[called].args.args)
            yield from _outcomes(_FUNCTIONS[called], dict(zip(names, arguments, strict=False)))


def _calls(function: ast.FunctionDef) -> Iterable[ast.Call]:
    found = [node for node in ast.walk(function) if isinstance(node, ast.Call)]
    return sorted(found, key=lambda node: (node.lineno, node.col_offset))


def _resolved(argument: ast.expr, given: _Arguments) -> ast.expr:
    return given.get(argument.id, argument) if isinstance(argument, ast.Name) else argument


def _reason(argument: ast.expr) -> Reason:
    if not isinstance(argument, ast.Attribute):
        raise TypeError(f"no reason in line {argument.lineno} of lifecycle.py")
    return Reason[argument.attr]
