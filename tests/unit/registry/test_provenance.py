from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tasks.registry.provenance import git_commit, has_ended, keepfit_version, this_process


def git(folder: Path, *arguments: str) -> str:
    identity = {
        "GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@b.c", "GIT_COMMITTER_NAME": "a",
        "GIT_COMMITTER_EMAIL": "a@b.c", "GIT_CONFIG_GLOBAL": "/dev/null",
    }  # fmt: skip
    done = subprocess.run(
        ["git", *arguments], cwd=folder, env={**os.environ, **identity}, check=True,
        capture_output=True, text=True,
    )  # fmt: skip
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    git(tmp_path, "init", "-q", "-b", "main")
    (tmp_path / "deep" / "er").mkdir(parents=True)
    return tmp_path


def test_the_commit_is_gits_own(repository: Path) -> None:
    assert git_commit(repository) is None
    git(repository, "commit", "-q", "--allow-empty", "-m", "one")
    head = git(repository, "rev-parse", "HEAD")
    assert git_commit(repository / "deep" / "er") == head
    git(repository, "pack-refs", "--all")
    assert git_commit(repository) == head
    git(repository, "checkout", "-q", "--detach")
    assert git_commit(repository) == head


def test_the_commit_of_a_worktree_is_its_own(repository: Path, tmp_path: Path) -> None:
    git(repository, "commit", "-q", "--allow-empty", "-m", "one")
    tree = tmp_path / "tree"
    git(repository, "worktree", "add", "-q", "-b", "side", str(tree))
    git(tree, "commit", "-q", "--allow-empty", "-m", "two")
    assert git_commit(tree) == git(tree, "rev-parse", "HEAD")
    assert git_commit(tree) != git_commit(repository)


def test_a_broken_repository_has_no_commit(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    assert git_commit(tmp_path) is None
    (tmp_path / ".git" / "HEAD").write_text("ref: refs/heads/../../x")
    assert git_commit(tmp_path) is None


def test_a_living_process_has_not_ended() -> None:
    assert not has_ended(this_process())
    assert keepfit_version()


def test_an_ended_process_has_ended() -> None:
    code = "from tasks.registry.provenance import this_process; print(this_process())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert has_ended(done.stdout.strip())


def test_a_number_used_again_does_not_hide_an_ended_process() -> None:
    assert has_ended(this_process().rpartition("-")[0] + "-1")


def test_a_restart_of_the_machine_ends_every_process() -> None:
    host, _, pid, started = this_process().split("-")
    assert has_ended(f"{host}-{'0' * 16}-{pid}-{started}")


def test_what_cannot_be_known_is_not_said_to_have_ended() -> None:
    _, boot, _, _ = this_process().split("-")
    for unknown in ("", "x", f"{'0' * 16}-{boot}-4194305-1", f"{'0' * 16}-unknown-1-None"):
        assert not has_ended(unknown)


def test_the_hosts_name_does_not_leak() -> None:
    assert socket.gethostname() not in this_process()
