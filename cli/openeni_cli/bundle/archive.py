"""Write a support bundle: a tar.gz that is complete, or not there."""

import io
import os
import tarfile
import tempfile
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Final

from openeni_cli.failures import CommandError

MODE: Final = 0o600  # for its owner alone: it names pods and nodes


def write(path: Path, files: Iterable[tuple[str, bytes]], now: datetime) -> None:
    """Write the files into an archive at `path`, below one folder of its name.

    Raises CommandError where there is a file already, or where it cannot be written.
    """
    folder = path.name.removesuffix(".tar.gz")
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".part", delete=False) as part:
            temporary = Path(part.name)
            try:
                with tarfile.open(fileobj=part, mode="w:gz") as archive:
                    for name, data in files:
                        _add(archive, f"{folder}/{name}", data, now)
                part.close()
                os.link(temporary, path)  # fails if there is one
            finally:
                temporary.unlink()
    except OSError as error:
        raise CommandError(f"cannot write {path}: {error}; --file names another") from error


def _add(archive: tarfile.TarFile, name: str, data: bytes, now: datetime) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mtime, entry.mode = len(data), int(now.timestamp()), MODE
    archive.addfile(entry, io.BytesIO(data))
