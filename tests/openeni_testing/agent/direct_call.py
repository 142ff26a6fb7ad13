"""Make CNI calls without a connection."""

import time
from collections.abc import Callable

from openeni_nodeagent.attachments.commands import CNICommands
from openeni_nodeagent.cni.call import Call
from openeni_nodeagent.cni.protocol import Request
from openeni_nodeagent.phases import Stopwatch


def handle_directly(
    commands: CNICommands,
    request: Request,
    seconds: float = 0.0,
    alive: Callable[[], bool] = lambda: True,
) -> bytes:
    """Handle a call that has so many seconds, then what it has deferred; return its answer's body.

    Raises CNIError.
    """
    call = Call(request, time.monotonic() + seconds, Stopwatch(), alive)
    try:
        return commands.handle(call)
    finally:
        for work in call.deferred:
            work()
