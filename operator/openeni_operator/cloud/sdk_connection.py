"""Log in to a cloud with openstacksdk.

Precautions against openstacksdk 4.22 and keystoneauth 5.18, from reading their source: there is no
timeout unless one is set; a transport retry turns one slow POST into three; service proxies are
created without a lock, so they are touched once before threads share them.
"""

from pathlib import Path
from typing import Any, Final

import openstack.config
import openstack.connection
import openstack.exceptions
from keystoneauth1 import exceptions as keystone
from keystoneauth1.session import TCPKeepAliveAdapter

from openeni_operator.cloud.errors import CloudNotConfiguredError

_NOT_SHOWN: Final = (401, 403, 404)
_POOL_SIZE: Final = 32  # above the sum of calls in flight; requests' default is 10


def read_config(file: Path) -> dict[str, Any]:
    """Return the content of a clouds.yaml, as the SDK reads it; raise what the parser raises."""
    config: dict[str, Any] = _config_of(file).cloud_config
    return config


def open_connection(file: Path, name: str, timeout: float) -> Any:
    """Read the entry `name` of a clouds.yaml and log in; raise what the libraries raise."""
    try:
        region = _config_of(file).get_one(
            cloud=name,
            api_timeout=timeout,
            network_connect_retries=0,
            compute_connect_retries=0,
        )
        connection = openstack.connection.Connection(config=region)
    except (openstack.exceptions.ConfigException, keystone.ClientException):
        raise
    except Exception as error:  # noqa: BLE001 a malformed file makes the parser raise anything
        raise _unreadable(file, error) from None
    adapter = TCPKeepAliveAdapter(pool_maxsize=_POOL_SIZE)
    for scheme in ("http://", "https://"):
        connection.session.session.mount(scheme, adapter)
    connection.session.get_token()  # Connection.authorize() hides the cause
    _ = connection.network.get_endpoint(), connection.compute.get_endpoint()
    return connection


def region_of(connection: Any) -> str:
    """Return the region that calls go to, whether or not the entry names it; "" if unnamed.

    Without a region_name, keystoneauth takes the first endpoint of the catalogue.
    """
    config, session = connection.config, connection.session
    if config.region_name or config.get_endpoint("network"):  # the entry names it
        return config.region_name or ""
    found = session.auth.get_access(session).service_catalog.endpoint_data_for(
        service_type=connection.network.service_type, interface=config.get_interface("network")
    )
    return found.region_name or ""


def read_expiry(connection: Any) -> str | None:
    """Return when the application credential of the log-in expires, as metav1.Time prints it.

    Return "" for never, as with a password, and None if Keystone does not show it: a credential
    may lack the access rule, which Keystone answers with 401, or be of a user whom its policy
    denies this. Neither is a reason to doubt the log-in.
    """
    session = connection.session
    access = session.auth.get_access(session)
    if not access.application_credential_id:
        return ""
    try:
        found = connection.identity.get_application_credential(
            access.user_id, access.application_credential_id
        )
    except openstack.exceptions.HttpException as error:
        if error.status_code in _NOT_SHOWN:
            return None
        raise
    if found.name is None:  # the SDK makes an object without attributes of a page that is no JSON
        return None
    # Keystone writes UTC without saying so, and fractions of seconds.
    return f"{found.expires_at[:19]}Z" if found.expires_at else ""


def _config_of(file: Path) -> Any:
    return openstack.config.OpenStackConfig(
        config_files=[str(file)],
        secure_files=[],
        vendor_files=[],
        load_envvars=False,
        app_name="openeni",
    )


def _unreadable(file: Path, error: Exception) -> CloudNotConfiguredError:
    """Name the line only: the parser's message quotes the file, which holds secrets."""
    mark = getattr(error, "problem_mark", None)
    where = f", line {mark.line + 1}" if mark is not None else ""
    return CloudNotConfiguredError(
        f"{file.name}{where}: not a valid clouds.yaml ({type(error).__name__})"
    )
