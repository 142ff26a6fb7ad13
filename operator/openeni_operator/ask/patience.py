"""Wait for the operator's own limits of calls, which a question keeps as the operator does."""

import time
from collections.abc import Callable
from typing import Final, ParamSpec, TypeVar

from openeni_operator.cloud.call_limiter import NotYetError
from openeni_operator.cloud.errors import ThrottledError

P = ParamSpec("P")
T = TypeVar("T")
PATIENCE_SECONDS: Final = 120.0


def patiently(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Return what the call returns, once the limits permit it. Raises a CloudError."""
    give_up = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return call(*args, **kwargs)
        except NotYetError as error:
            if time.monotonic() + error.seconds > give_up:
                raise ThrottledError(error.reason) from error
            time.sleep(error.seconds)
