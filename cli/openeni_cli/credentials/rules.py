"""Turn the operator's calls into an application credential that permits nothing else. Pure."""

import shlex
from collections.abc import Iterable, Iterator
from typing import Final

import msgspec
from msgspec import Struct

from openeni_operator.cloud.access_rules import ACCESS_RULES


class Rule(Struct, frozen=True):
    """An access rule as `openstack application credential create --access-rules` reads it."""

    service: str
    method: str
    path: str


RULES: Final = tuple(Rule(rule.service, rule.method, rule.path) for rule in ACCESS_RULES)


def lines(name: str, roles: Iterable[str], rules: Iterable[Rule]) -> Iterator[str]:
    """Yield the command that creates the credential, ready for a shell."""
    words = ["openstack", "application", "credential", "create", name, "--restricted"]
    for role in roles:
        words += ["--role", role]
    words += ["--access-rules", msgspec.json.encode(tuple(rules)).decode()]
    yield shlex.join(words)
