"""Classify the exceptions of openstacksdk and keystoneauth1."""

from datetime import UTC, datetime
from typing import Any

import openstack.exceptions
from keystoneauth1 import exceptions as keystone

from openeni_operator.cloud.budget import CallType
from openeni_operator.cloud.error_responses import (
    ErrorResponse,
    classify_response,
    first_line,
    no_response_error,
)
from openeni_operator.cloud.errors import (
    CloudError,
    CloudNotConfiguredError,
    CredentialsInvalidError,
    ResourceNotFoundError,
    UnexpectedOutcomeError,
    UnexpectedResponseError,
)


def classify(error: Exception, call_type: CallType, cloud: str) -> CloudError:  # noqa: C901, PLR0911 a table
    """Return the CloudError for whatever a call has raised."""
    match error:
        case CloudError():
            return error
        case openstack.exceptions.HttpException(response=response) if response is not None:
            return classify_response(
                _error_response(response.status_code, response), call_type, cloud
            )
        case keystone.HttpError(http_status=int(status), response=response):
            return classify_response(_error_response(status, response), call_type, cloud)
        case openstack.exceptions.ConfigException():
            return CloudNotConfiguredError(f"clouds.yaml: {first_line(str(error))}")
        case keystone.AuthPluginException() | keystone.AuthorizationFailure():
            return CredentialsInvalidError(
                f"entry {cloud!r} of clouds.yaml is incomplete: {first_line(str(error))}"
            )
        case keystone.CatalogException():
            return CloudNotConfiguredError(
                f"cloud {cloud!r}: {first_line(str(error))}; "
                "correct region_name or interface in clouds.yaml"
            )
        case openstack.exceptions.NotFoundException():
            return ResourceNotFoundError(f"cloud {cloud!r} returned: {first_line(str(error))}")
        case ValueError():  # no JSON; requests' error of it is an OSError, too
            return _unexpected(error, call_type, cloud)
        case keystone.ClientException() | openstack.exceptions.SDKException() | OSError():
            return no_response_error(
                f"cloud {cloud!r} does not respond ({type(error).__name__}): make its auth_url in "
                "clouds.yaml reachable from the operator, which keeps retrying",
                call_type,
            )
        case _:
            return _unexpected(error, call_type, cloud)


def _error_response(status: int, response: Any) -> ErrorResponse:
    """Return the response as a plain value; without one, the status alone."""
    headers, body = (dict(response.headers), response.text) if response is not None else ({}, "")
    return ErrorResponse(status, headers, body, datetime.now(UTC))


def _unexpected(error: Exception, call_type: CallType, cloud: str) -> CloudError:
    """Return the error of a response that the SDK could not use: a change may have been done."""
    message = (
        f"cloud {cloud!r} gave a response that cannot be used ({type(error).__name__}: "
        f"{first_line(str(error))}): check what answers at the endpoints of its catalog"
    )
    if call_type is CallType.READ:
        return UnexpectedResponseError(message)
    return UnexpectedOutcomeError(message)
