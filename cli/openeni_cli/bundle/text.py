"""Render the manifest of a support bundle as text. Pure."""

from collections.abc import Iterator

from openeni_cli.bundle.collect import Manifest
from openeni_cli.output import Line


def lines(manifest: Manifest) -> Iterator[Line]:
    """Yield what could not be read: the file itself is named by the command."""
    yield f"{len(manifest.files)} files; look into them before you pass them on"
    yield from (f"not read: {failure}" for failure in manifest.failures)
