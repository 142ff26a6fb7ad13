"""A watch that is interrupted just as it ends by itself."""

from typing import TYPE_CHECKING, Any, cast

import pytest

from openeni_kube.watches.event_stream import open_watch

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse


class Ending:
    """A response whose connection goes while it is shut."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def shutdown(self) -> None:
        raise self._error


@pytest.mark.parametrize(
    "error",
    [
        ValueError("Cannot shutdown socket as self._sock_shutdown is not set"),
        RuntimeError("Cannot shutdown as connection has already been released to the pool"),
        TypeError("'NoneType' object is not callable"),
        OSError(9, "Bad file descriptor"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_whoever_interrupts_it_goes_on(error: Exception) -> None:
    response: Any = Ending(error)
    open_watch(cast("BaseHTTPResponse", response)).interrupt()
