"""Cloud errors, classified by what to do next.

CloudError
 x CloudNotConfiguredError  no clouds.yaml, or no such entry: wait for the file
 x CredentialsInvalidError  Keystone rejects the credentials: wait for other credentials
 x WrongPlaceError          they are of another project or region: the same
 x DeniedError              policy forbids the call: wait for the cloud's administrator
 x CloudUnreachableError    a read got no response: retry; this is not "not found"
 x StaleReadError           a read shows what was there before: the same
 x OutcomeUnknownError      a change got no response: read the resource before the next call
 x UnexpectedResponseError  the response means nothing to us: the same as no response
 x ThrottledError           too many calls: wait as long as the cloud asks for
 x QuotaExceededError       the quota is used up: wait; resources can still be released
 x SubnetExhaustedError     the subnet has no free address: wait for addresses
 x ResourceNotFoundError    the cloud reports that the resource does not exist
 x ResourceConflictError    the resource's present state does not allow the call: read it again
 x RevisionConflictError    somebody else has changed it since it was read: the same, at once
 x InvalidRequestError      the request can never succeed: wait for another spec
 x QoSUnsupportedError      the cloud has no QoS policies: do without

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

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        """Use the class's `retry_after` unless the cloud has asked for another."""
        super().__init__(message)
        if retry_after is not None:
            self.retry_after = retry_after

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


class StaleReadError(CloudUnreachableError):
    """The response is older than an earlier one."""

    retry_after = 2.0


class OutcomeUnknownError(CloudError):
    reason = Reason.OUTCOME_UNKNOWN


class UnexpectedResponseError(CloudError):
    """The response is none that the API documents, such as a proxy's page."""

    reason = Reason.UNEXPECTED_RESPONSE
    retry_after = RETRY_SLOWLY


class UnexpectedOutcomeError(UnexpectedResponseError, OutcomeUnknownError):
    """The same to a change, which may have been done."""


class ThrottledError(CloudError):
    reason = Reason.THROTTLED


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


class RevisionConflictError(ResourceConflictError):
    """The resource is no longer at the revision that the call was for."""

    retry_after = 0.0  # but for the back-off of the queue


class InvalidRequestError(CloudError):
    reason = Reason.INVALID_SPEC
    retry_after = RETRY_SLOWLY


class QoSUnsupportedError(CloudError):
    reason = Reason.QOS_UNSUPPORTED
    retry_after = RETRY_SLOWLY
