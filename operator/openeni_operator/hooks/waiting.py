"""Wait, in a pod that Helm runs, until a look at the cluster finds what is wanted."""

import os
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from openeni_crds.meta import Json
from openeni_crds.names import MANAGER_OPERATOR
from openeni_kube.client import NotConfiguredError, connect
from openeni_kube.store import Store, StoreError

WAIT_SECONDS: Final = 240.0  # where OPENENI_WAIT_SECONDS is not set; Helm waits five minutes
LOOK_SECONDS: Final = 2.0
SHOWN: Final = 5  # names of each kind in a message


@dataclass(frozen=True)
class Finding:
    """What a look has found: nothing, if all is as it should be."""

    waiting_for: str = ""
    refusal: str = ""  # why waiting does not help
    notice: str = ""  # what people should know either way


@dataclass(frozen=True)
class Messages:
    """How the lines of a hook begin and end."""

    failed: str  # before a refusal and before what is waited for in vain
    guide: str = ""  # after the latter: where more is said


def run(observe: Callable[[Store], Finding], messages: Messages) -> int:
    """Connect and wait; return the exit status, which is 1 after one line that says why."""
    try:
        store = connect(agent=MANAGER_OPERATOR, connections=1)
    except NotConfiguredError as error:
        return _complain(messages, str(error))
    seconds = float(os.environ.get("OPENENI_WAIT_SECONDS") or WAIT_SECONDS)
    return wait(lambda: observe(store), messages, time.monotonic, time.sleep, seconds)


def wait(
    look: Callable[[], Finding],
    messages: Messages,
    clock: Callable[[], float],
    sleep: Callable[[float], None],
    seconds: float = WAIT_SECONDS,
) -> int:
    """Look until nothing is left to wait for, for so many seconds; return the exit status."""
    begun, seen, noticed = clock(), "", ""
    while True:
        try:
            found = look()
        except StoreError as error:
            found = Finding(f"the Kubernetes API server: it cannot be used: {error}")
        if found.notice and found.notice != noticed:
            noticed = found.notice
            sys.stderr.write(f"{noticed}\n")
        if found.refusal:
            return _complain(messages, found.refusal)
        left = found.waiting_for
        if not left:
            return 0
        if clock() - begun > seconds:
            more = f". {messages.guide}" if messages.guide else ""
            return _complain(messages, f"waited {seconds:.0f} s for {left}{more}")
        if left != seen:
            sys.stderr.write(f"waiting for {left}\n")
            seen = left
        sleep(LOOK_SECONDS)


def names(bodies: Iterable[Json]) -> tuple[str, ...]:
    """Return the objects' names, sorted."""
    return tuple(sorted(str(body["metadata"]["name"]) for body in bodies))


def listed(found: Sequence[str]) -> str:
    """Return the first names for a message, and how many more there are."""
    more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    return ", ".join(found[:SHOWN]) + more


def _complain(messages: Messages, text: str) -> int:
    sys.stderr.write(f"{messages.failed}: {text}\n")
    return 1
