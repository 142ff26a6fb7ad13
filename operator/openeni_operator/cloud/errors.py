"""What can go wrong in a cloud, by what to do next.

CloudError
 x NotConfiguredError       no clouds.yaml, or no such entry: wait for the file
 x CredentialsInvalidError  Keystone refuses us: wait for other credentials
 x DeniedError              policy forbids it: wait for the cloud's administrator
 x UnreachableError         no answer to a question: ask again; it is no "not found"
 x OutcomeUnknownError      no answer to an order: look before anything else
 x ThrottledError           too many calls: wait as long as we were told
 x QuotaExceededError       wait for quota; releases go on
 x ExhaustedError           no address is left in the subnet: wait for addresses
 x NotFoundError            the cloud says it is not there
 x ConflictError            not in its present state: look again
 x InvalidError             the request can never succeed: wait for another spec

Messages are for people: one line, no secret, nothing that changes from call to call.
"""

from typing import ClassVar

from openeni_crds.conditions import Reason

SOON = 5.0
SLOW = 30.0  # seconds between looks at what only a person or the cloud can change


class CloudError(Exception):
    """Base of all; `after` is how many seconds to leave the cloud alone with this."""

    reason: ClassVar[Reason]
    after: float = SOON

    @property
    def message(self) -> str:
        return str(self)


class NotConfiguredError(CloudError):
    reason = Reason.CLOUD_NOT_CONFIGURED
    after = 10.0


class CredentialsInvalidError(CloudError):
    reason = Reason.CREDENTIALS_INVALID
    after = SLOW


class DeniedError(CloudError):
    reason = Reason.DENIED
    after = SLOW


class UnreachableError(CloudError):
    reason = Reason.CLOUD_UNREACHABLE


class OutcomeUnknownError(CloudError):
    reason = Reason.OUTCOME_UNKNOWN


class ThrottledError(CloudError):
    reason = Reason.THROTTLED

    def __init__(self, message: str, retry_after: float) -> None:
        super().__init__(message)
        self.after = retry_after


class QuotaExceededError(CloudError):
    reason = Reason.QUOTA_EXCEEDED
    after = SLOW


class ExhaustedError(CloudError):
    reason = Reason.SUBNET_EXHAUSTED
    after = SLOW


class NotFoundError(CloudError):
    reason = Reason.NOT_FOUND


class ConflictError(CloudError):
    reason = Reason.CONFLICT
    after = 10.0


class InvalidError(CloudError):
    reason = Reason.INVALID_SPEC
    after = SLOW
