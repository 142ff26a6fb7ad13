"""`pytest --share=K/N` deals out what the markers have chosen, and leaves nothing out."""

import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openeni_testing.plugins.share import Share

RUN: Final = """
import sys, pytest
from openeni_testing.plugins.share import Share
words = ["-mlong", "-pno:cacheprovider", "-v"]
sys.exit(pytest.main(words, [Share.parse(sys.argv[1])]))
"""
SHORT: Final = "def test_short(): assert False"
LONG: Final = f"""
import pytest
@pytest.mark.long
def test_one(): pass
@pytest.mark.long
def test_two(): pass
{SHORT}
"""
EVERY: Final = f"{LONG}pytestmark = pytest.mark.every_share"


@given(st.lists(st.sampled_from("abcdefgh").map(Path)), st.integers(1, 9))
def test_each_module_is_in_one_share_and_no_share_has_much_more(
    modules: list[Path], of: int
) -> None:
    shares = [Share(number, of).chosen(modules) for number in range(1, of + 1)]
    assert sorted(path for share in shares for path in share) == sorted(set(modules))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


@pytest.mark.slow
def test_what_the_markers_have_not_chosen_is_not_dealt_out(tmp_path: Path) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers =\n  long\n  every_share\n")
    modules = {"a": LONG, "b": SHORT, "c": EVERY, "d": LONG, "e": LONG}
    for name, text in modules.items():
        (tmp_path / f"test_{name}.py").write_text(text)
    ran = [passed(tmp_path, share) for share in ("1/2", "2/2")]
    assert ran == [
        [f"test_{name}.py::test_{number}" for name in names for number in ("one", "two")]
        for names in ("ace", "cd")
    ]


def passed(project: Path, share: str) -> list[str]:
    run = subprocess.run(
        [sys.executable, "-c", RUN, share],
        cwd=project,
        env={"PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return [line.split()[0] for line in run.stdout.splitlines() if " PASSED" in line]


@pytest.mark.parametrize("written", ["0/3", "4/3", "1", "1/", "/2", "a/b", "-1/2", "1/2/3", "1/0"])
def test_what_is_no_share_is_refused_by_name(written: str) -> None:
    with pytest.raises(pytest.UsageError, match=f"--share={written} is not K/N"):
        Share.parse(written)
