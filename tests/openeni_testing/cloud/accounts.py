"""Entries of a clouds.yaml, some of which lead to the same account."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

import yaml

from openeni_operator.cloud.admission import Call, CallLimits
from openeni_operator.cloud.api import Cloud
from openeni_operator.cloud.budget import CallType
from openeni_operator.cloud.call_limiter import CallLimiter, NotYetError
from openeni_operator.cloud.clouds import Clouds
from openeni_operator.cloud.errors import CloudError, CredentialsInvalidError
from openeni_testing.cloud.faults import FakeClock
from openeni_testing.cloud.memory import MemoryCloud

Json = dict[str, Any]
URL: Final = "https://keystone.example/identity/v3"
SECRET: Final = "hunter2"
WRITE: Final = Call("create port", CallType.WRITE, "network", "p", "port/p")
BURST: Final = int(CallLimits().writes)


def entry(region: str = "R", **auth: object) -> Json:
    """Return an entry with a user and a password."""
    named = {"auth_url": URL, "username": "u", "user_domain_id": "d", "project_name": "p"}
    return {"region_name": region, "auth": named | {"password": SECRET} | auth}


def credential(name: str) -> Json:
    """Return an entry with an application credential."""
    proof = {"application_credential_id": name, "application_credential_secret": SECRET}
    return {"region_name": "R", "auth": {"auth_url": URL} | proof}


def write(file: Path, **entries: object) -> None:
    file.write_text(yaml.safe_dump({"clouds": entries}))


@dataclass
class Accounts:
    """Entries whose log-ins lead to clouds in memory, and the limiter of each."""

    file: Path
    clock: FakeClock = field(default_factory=FakeClock)
    limiters: dict[str, CallLimiter] = field(default_factory=dict[str, CallLimiter])
    log_ins: list[str] = field(default_factory=list[str])
    refused: set[str] = field(default_factory=set[str])  # entries that Keystone refuses
    retry_after: float | None = None  # seconds that it asks these to wait
    meanwhile: Callable[[], None] = lambda: None  # called during each log-in

    def __post_init__(self) -> None:
        new = partial(CallLimiter, limits=CallLimits(), clock=self.clock)
        self.clouds = Clouds(self.file, self._log_in, new, self.clock)

    def _log_in(self, _file: Path, name: str, limiter: CallLimiter) -> MemoryCloud:
        self.log_ins.append(name)
        self.meanwhile()
        if name in self.refused:
            raise CredentialsInvalidError("refused", self.retry_after)
        limiter.forget_failures()
        self.limiters[name] = limiter
        return MemoryCloud()

    def ask(self, name: str) -> Cloud | CloudError:
        try:
            return self.clouds.get(name)
        except CloudError as error:
            return error

    def call(self, name: str, failure: CloudError | None = None) -> Exception | None:
        """Make a call by an entry; return why it was not made, or how it failed."""
        self.ask(name)

        def do() -> None:
            if failure:
                raise failure

        try:
            self.limiters[name].call(WRITE, do, lambda error, _: as_cloud_error(error))
        except (CloudError, NotYetError) as error:
            return error
        return None

    def use_up(self, name: str) -> None:
        for _ in range(BURST):
            assert self.call(name) is None
        assert isinstance(self.call(name), NotYetError)


def as_cloud_error(error: Exception) -> CloudError:
    assert isinstance(error, CloudError)
    return error
