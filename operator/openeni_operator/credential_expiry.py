"""Watch when the application credential of each cloud expires, and warn in time.

Keystone shows a credential to its owner, unless its access rules do not permit that: then nothing
is known, and nothing is said.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from openeni_crds.conditions import Condition, Reason, Type, condition
from openeni_crds.meta import parse_time
from openeni_operator.cloud.api import Cloud
from openeni_operator.cloud.call_limiter import NotYetError
from openeni_operator.cloud.errors import CloudError

WARN_BEFORE: Final = timedelta(days=30)
ASK_SECONDS: Final = 3600.0  # between two questions to Keystone


@dataclass
class _Answer:
    """What a cloud last told. Its lock is held while it is asked."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    cloud: Cloud | None = None  # a new connection may have other credentials
    asked_at: float = 0.0
    expires: str | None = None


class CredentialExpiry:
    """Thread-safe. Called for the condition CredentialsCurrent of a cloud's pools."""

    def __init__(
        self,
        cloud: Callable[[str], Cloud],
        clock: Callable[[], float],
        now: Callable[[], str],
    ) -> None:
        self._cloud = cloud
        self._clock = clock
        self._now = now
        self._lock = threading.Lock()
        self._answers: dict[str, _Answer] = {}

    def __call__(self, name: str, before: Condition | None) -> Condition | None:
        """Return the condition, without a time; None if the cloud does not tell.

        It stays as it was before while the cloud does not respond.
        """
        try:
            expires = self._expires(name)
        except (CloudError, NotYetError):
            return before
        return None if expires is None else judge(name, expires, self._now())

    def _expires(self, name: str) -> str | None:
        cloud = self._cloud(name)
        with self._lock:
            answer = self._answers.setdefault(name, _Answer())
        with answer.lock:
            now = self._clock()
            if answer.cloud is not cloud or now - answer.asked_at > ASK_SECONDS:
                answer.expires = cloud.credential_expiry()
                answer.cloud, answer.asked_at = cloud, now
            return answer.expires


def judge(cloud: str, expires: str, now: str) -> Condition:
    """Return the condition by the time at which a credential expires, "" for never."""
    if expires and parse_time(expires) - parse_time(now) < WARN_BEFORE:
        return condition(
            Type.CREDENTIALS_CURRENT,
            Reason.CREDENTIALS_EXPIRING,
            f"the application credential of cloud {cloud!r} expires at {expires}: create another "
            "one (`openeni credentials`), and put it into this entry of clouds.yaml",
            status=False,
        )
    return condition(Type.CREDENTIALS_CURRENT, Reason.CURRENT, status=True)
