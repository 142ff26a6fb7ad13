"""Name every call of a cloud, from the source of `cloud.openstack`.

So a call that is added there is looked for by the tests that hold for all calls.
"""

import ast
import inspect
from collections.abc import Iterator
from functools import cache
from typing import Final

from openeni_operator.cloud import openstack

_BY: Final = {  # what makes a call, whose name is its first argument; True: a change
    "Call": False,  # the log-in
    "_read": False,
    "_list": False,
    "_selected": False,
    "_ports": False,
    "_write": True,
    "_update": True,
    "_attachment": True,
}
LOG_IN: Final = "connect"


@cache
def operations() -> dict[str, bool]:
    """Return the names of all calls, and whether each is a change."""
    return dict(_calls(ast.parse(inspect.getsource(openstack))))


def _calls(tree: ast.AST) -> Iterator[tuple[str, bool]]:
    for node in ast.walk(tree):
        match node:
            case ast.Call(
                func=ast.Name(id=by) | ast.Attribute(value=ast.Name(id="self"), attr=by),
                args=[ast.Constant(value=str(operation)), *_],
            ) if by in _BY:
                yield operation, _BY[by]
            case _:
                pass
