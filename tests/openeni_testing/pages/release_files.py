"""The files of a release, as docs/release.md lists them."""

import re

from openeni_testing.objects import REPOSITORY


def release_files(version: str) -> set[str]:
    """Return the names in the page's table of build/release."""
    page = (REPOSITORY / "docs/release.md").read_text()
    rows = page.partition("| in `build/release` |")[2].partition("\n\n")[0]
    cells = (row.split("|")[1] for row in rows.splitlines() if row.startswith("| `"))
    return {
        name.replace("VERSION", version)
        for cell in cells
        for name in re.findall(r"`([^`]+)`", cell)
    }
