"""Provenance of a run: the version of keepfit and the commit."""

from __future__ import annotations

import re
from functools import cache
from importlib import metadata
from pathlib import Path

PROCESS_TAG = "keepfit.process"


@cache
def keepfit_version() -> str:
    """Return the version of keepfit that is installed."""
    try:
        return metadata.version("keepfit")
    except metadata.PackageNotFoundError:
        return "0+unknown"


def git_commit(folder: Path) -> str | None:
    """Return the commit checked out in the repository around `folder`, 40 or 64 hex digits."""
    # From the repository's files, without a program; None outside one, or without a commit.
    for place in (folder.resolve(), *folder.resolve().parents):
        if (place / ".git").exists():
            try:
                return _head(_git_folder(place / ".git"))
            except (OSError, UnicodeDecodeError):
                return None
    return None


def _git_folder(dot_git: Path) -> Path:
    if dot_git.is_dir():
        return dot_git
    # A worktree or submodule: the file names the folder.
    return (dot_git.parent / dot_git.read_text("utf-8").removeprefix("gitdir:").strip()).resolve()


def _head(git: Path) -> str | None:
    head = (git / "HEAD").read_text("utf-8").strip()
    if not head.startswith("ref:"):
        return _hexadecimal(head)
    ref = head.removeprefix("ref:").strip()
    common = git / "commondir"
    shared = (git / common.read_text("utf-8").strip()).resolve() if common.exists() else git
    for root in (git, shared):
        if (root / ref).is_file():
            return _hexadecimal((root / ref).read_text("utf-8").strip())
    packed = shared / "packed-refs"
    lines = packed.read_text("utf-8").splitlines() if packed.is_file() else []
    found = [line.split()[0] for line in lines if line.endswith(f" {ref}")]
    return _hexadecimal(found[0]) if found else None


def _hexadecimal(text: str) -> str | None:
    return text if re.fullmatch(r"[0-9a-f]{40}([0-9a-f]{24})?", text) else None
