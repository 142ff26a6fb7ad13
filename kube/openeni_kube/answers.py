"""Answers of operator and agent to `ask`: one JSON object, which the command line renders."""

import sys
from collections.abc import Callable
from typing import Final

import msgspec
from msgspec import Struct

from openeni_crds.conditions import Reason
from openeni_crds.reasons import REASONS
from openeni_kube.command_line import ExitCode

# Between two looks that must agree: operator, agent and cloud work while they are looked at.
CONFIRM_SECONDS: Final = 5.0


class Difference(Struct, frozen=True, rename="camel"):
    """Something that is not as it should be."""

    kind: str  # of the object that it is about
    name: str  # with its namespace, if it has one
    reason: str  # one of openeni_crds.reasons; "" where none fits
    message: str  # which field, and why
    remedy: str  # what to do


class Diagnosis(Struct, frozen=True, rename="camel"):
    """What differs between objects, cloud and kernel."""

    differences: tuple[Difference, ...] = ()
    compared: dict[str, int] = {}  # how many of each; msgspec copies an empty default
    unread: tuple[str, ...] = ()  # what could not be looked at, and why


class Check(Struct, frozen=True, rename="camel"):
    """One check of a cloud or a pool, and what it came to."""

    name: str
    about: str  # the cloud, pool or node
    verdict: str  # one of those below
    message: str
    reason: str = ""
    remedy: str = ""


PASSED: Final = "passed"
WARNED: Final = "warning"  # it works, and something should be known
FAILED: Final = "failed"
UNKNOWN: Final = "unknown"  # it could not be found out


class Preflight(Struct, frozen=True, rename="camel"):
    """Whether the clouds of all pools are fit for them."""

    checks: tuple[Check, ...] = ()


class CloudSweep(Struct, frozen=True, rename="camel"):
    """What the sweep of one cloud would do with this cluster's ports."""

    cloud: str
    mode: str  # operator.orphans
    ports: int = 0
    with_eni: int = 0
    deletions: tuple[str, ...] = ()  # IDs of ports that would be deleted now
    left: tuple[str, ...] = ()  # IDs of all ports that are left over
    message: str = ""  # as the condition PortsOwned says it
    lost: tuple[str, ...] = ()  # names of ENIs whose port is not listed
    error: str = ""  # why nothing is known


class SweepForecast(Struct, frozen=True, rename="camel"):
    clouds: tuple[CloudSweep, ...] = ()


class Unanswered(Struct, frozen=True):
    """What is printed in place of an answer."""

    error: str  # one line, with the way out


def difference(
    kind: str, name: str, reason: Reason | None, message: str, remedy: str = ""
) -> Difference:
    """Return a difference; without a remedy of its own it has that of the reason."""
    word = "" if reason is None else reason.value
    return Difference(
        kind, name, word, message, remedy or (REASONS[reason].plain_remedy if reason else "")
    )


def confirmed(look: Callable[[], Diagnosis], wait: Callable[[], None]) -> Diagnosis:
    """Return what two looks agree on: what is in progress differs for a moment."""
    first = look()
    if not first.differences:
        return first
    wait()
    second = look()
    before = set(first.differences)
    agreed = tuple(d for d in second.differences if d in before)
    return msgspec.structs.replace(second, differences=agreed)


def print_answer(answer: Struct, *, good: bool) -> int:
    """Print the answer; return the exit code."""
    sys.stdout.write(msgspec.json.encode(answer).decode() + "\n")
    sys.stdout.flush()
    return int(ExitCode.OK if good else ExitCode.FOUND)


def print_failure(error: str) -> int:
    """Print why there is no answer; return the exit code."""
    print_answer(Unanswered(error), good=False)
    return int(ExitCode.UNAVAILABLE)
