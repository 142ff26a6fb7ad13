"""Refuse names of tests that do not exist: `make test T=...` asks before it builds anything.

Standard library only, for the machine's own python3. A word behind an option may be its value: it
is left to pytest.
"""

import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
MOST_SUGGESTED: Final = 3
WITHOUT_VALUE: Final = re.compile(r"-[lqsvx]+|.*=.*")  # options that have no word behind them
USAGE: Final = (
    "T takes folders, files and tests in them (T=tests/operator, T=tests/test_suite.py, "
    "T=tests/test_suite.py::test_name) and options of pytest (T='-k words')"
)


def main(words: Sequence[str]) -> int:
    """Print what is wrong with the words of T; return 1 if something is."""
    complaints = [complaint for word in named(words) for complaint in missing(word)]
    for complaint in complaints:
        sys.stderr.write(f"make test: {complaint}\n")
    if complaints:
        sys.stderr.write(f"{USAGE}\n")
    return 1 if complaints else 0


def named(words: Sequence[str]) -> Iterator[str]:
    """Yield the words that can only be names of tests."""
    for before, word in zip(("", *words), words, strict=False):
        value = before.startswith("-") and not WITHOUT_VALUE.fullmatch(before)
        if not word.startswith("-") and not value:
            yield word


def missing(word: str) -> Iterator[str]:
    """Yield what a name names and is not there."""
    place, *names = word.partition("[")[0].split("::")
    path = ROOT / place
    if not _has_tests(path):
        yield f"there are no tests in {place!r}{_suggestion(place)}"
    elif names and path.is_dir():
        yield f"{place!r} is a folder, so {'::'.join(names)!r} cannot be a test in it"
    else:
        text = path.read_text() if names else ""
        for name in names:
            if not re.search(rf"\b{re.escape(name)}\b", text):
                yield f"{place} has no test {name!r}"


def _has_tests(path: Path) -> bool:
    files = path.rglob("test_*.py") if path.is_dir() else path.parent.glob("test_*.py")
    return any(path.is_dir() or file.name == path.name for file in files)


def _suggestion(word: str) -> str:
    """Return the tests that are called so, wherever they are, as a question."""
    places = sorted((ROOT / "tests").rglob("*"))
    files = [path for path in places if path.match("test_*.py")]
    function = re.compile(rf"^def {re.escape(word)}\(", re.MULTILINE)
    found = [
        *(str(p.relative_to(ROOT)) for p in places if p.name == word and _has_tests(p)),
        *(str(f.relative_to(ROOT)) for f in files if f.stem == word),
        *(f"{f.relative_to(ROOT)}::{word}" for f in files if function.search(f.read_text())),
    ]
    return f"; is it T={' or T='.join(found[:MOST_SUGGESTED])}?" if found else ""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
