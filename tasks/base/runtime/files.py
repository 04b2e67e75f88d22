"""Files written whole or not at all, and folders that only their owner reads."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def private_folder(path: Path) -> Path:
    """Make `path` and what is missing above it, readable by its owner only; return it resolved."""
    whole = path.resolve()
    for folder in (*reversed(whole.parents), whole):
        if not folder.exists():
            folder.mkdir(exist_ok=True, mode=0o700)
    return whole


def write_whole(path: Path, content: str | bytes) -> None:
    """Write `content` beside `path`, then rename: a reader sees the old file or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data = content.encode("utf-8") if isinstance(content, str) else content
    descriptor, beside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(beside).replace(path)
    except BaseException:
        Path(beside).unlink(missing_ok=True)
        raise
