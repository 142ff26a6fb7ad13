"""Cloud errors, classified by what to do next.

CloudError
 x CloudNotConfiguredError  no clouds.yaml, or no such entry: wait for the file
 x CredentialsInvalidError  Keystone rejects the credentials: wait for other credentials
 x WrongPlaceError          they are of another project or region: the same
 x DeniedError              policy forbids the call: wait for the cloud's administrator
 x CloudUnreachableError    a read got no response: retry; this is not "not found"
 x OutcomeUnknownError      a change got no response: read the resource before the next call
 x ThrottledError           too many calls: wait as long as the cloud asks for
 x QuotaExceededError       the quota is used up: wait; resources can still be released
 x SubnetExhaustedError     the subnet has no free address: wait for addresses
 x ResourceNotFoundError    the cloud reports that the resource does not exist
 x ResourceConflictError    the resource's present state does not allow the call: read it again
 x InvalidRequestError      the request can never succeed: wait for another spec

A message is one line for administrators. It holds no secret, and nothing that differs from call to
call.
"""

from typing import ClassVar

from openeni_crds.conditions import Reason

RETRY_SOON = 5.0  # seconds
RETRY_SLOWLY = 30.0  # seconds; for what only a person or the cloud can change


class CloudError(Exception):
    """Base class. `retry_after` is how many seconds to wait before the next attempt."""

    reason: ClassVar[Reason]
    retry_after: float = RETRY_SOON

    @property
    def message(self) -> str:
        return str(self)


class CloudNotConfiguredError(CloudError):
    reason = Reason.CLOUD_NOT_CONFIGURED
    retry_after = 10.0


class CredentialsInvalidError(CloudError):
    reason = Reason.CREDENTIALS_INVALID
    retry_after = RETRY_SLOWLY


class WrongPlaceError(CloudError):
    """The credentials are valid, and of another project or region than what they are asked for."""

    reason = Reason.CREDENTIALS_INVALID
    retry_after = RETRY_SLOWLY


class DeniedError(CloudError):
    reason = Reason.DENIED
    retry_after = RETRY_SLOWLY


class CloudUnreachableError(CloudError):
    reason = Reason.CLOUD_UNREACHABLE


class OutcomeUnknownError(CloudError):
    reason = Reason.OUTCOME_UNKNOWN


class ThrottledError(CloudError):
    reason = Reason.THROTTLED

    def __init__(self, message: str, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class QuotaExceededError(CloudError):
    reason = Reason.QUOTA_EXCEEDED
    retry_after = RETRY_SLOWLY


class SubnetExhaustedError(CloudError):
    reason = Reason.SUBNET_EXHAUSTED
    retry_after = RETRY_SLOWLY


class ResourceNotFoundError(CloudError):
    reason = Reason.NOT_FOUND


class ResourceConflictError(CloudError):
    reason = Reason.CONFLICT
    retry_after = 10.0


class InvalidRequestError(CloudError):
    reason = Reason.INVALID_SPEC
    retry_after = RETRY_SLOWLY
