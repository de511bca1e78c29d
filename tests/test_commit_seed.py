"""The seed of a run: the same for everybody who tests one commit, another for the next."""

import subprocess
from pathlib import Path

import pytest

import commit_seed


@pytest.fixture(autouse=True)
def forget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(commit_seed.VARIABLE, raising=False)
    monkeypatch.setattr(commit_seed, "seed", commit_seed.seed.__wrapped__)


def git(folder: Path, *words: str) -> None:
    given = ("-c", "user.name=n", "-c", "user.email=n@example.org", "-C", str(folder))
    subprocess.run(["git", *given, *words], check=True, capture_output=True)


def test_each_commit_has_its_own_seed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commit_seed, "ROOT", tmp_path)
    git(tmp_path, "init")
    seeds = []
    for message in ("one", "two"):
        git(tmp_path, "commit", "--allow-empty", "-m", message)
        seeds += [commit_seed.seed(), commit_seed.seed()]
    assert seeds[0] == seeds[1] != seeds[2] == seeds[3]


def test_a_tree_without_git_has_a_seed_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commit_seed, "ROOT", tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert commit_seed.checked_out(tmp_path) == ""
    assert commit_seed.seed() >= 0


def test_a_seed_that_is_given_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(commit_seed.VARIABLE, "7")
    assert commit_seed.seed() == 7
