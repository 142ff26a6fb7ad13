"""What differs from the commit is found, whatever it is called."""

import subprocess
from pathlib import Path

import pytest

from openeni_lab.release.checkout import CheckoutError, changed_paths


def git(root: Path, *words: str) -> None:
    of_nobody = ["-c", "user.name=test", "-c", "user.email=test@example.com"]
    subprocess.run(["git", "-C", root, *of_nobody, *words], check=True, timeout=30)


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    git(tmp_path, "init", "--quiet")
    (tmp_path / "kept").write_text("1")
    (tmp_path / "gone").write_text("1")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "--message=one")
    return tmp_path


def test_a_commit_is_clean(clone: Path) -> None:
    assert list(changed_paths(clone)) == []


def test_what_is_changed_new_or_gone_is_found(clone: Path) -> None:
    (clone / "kept").write_text("2")
    (clone / "gone").unlink()
    (clone / "a new one").write_text("1")
    assert sorted(changed_paths(clone)) == ["a new one", "gone", "kept"]


def test_a_folder_that_is_no_clone_is_named_with_what_is_needed(tmp_path: Path) -> None:
    with pytest.raises(CheckoutError, match="a release is made of a git clone"):
        list(changed_paths(tmp_path))
