"""Commands that a person may run next, with the file that they need."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from shlex import quote

DEFAULT_FILE = "keepfit.yaml"
_at_work: ContextVar[Path | None] = ContextVar("keepfit_file", default=None)


@contextmanager
def working_on(file: Path) -> Iterator[None]:
    """Let `command` name `file` wherever the work on a pipeline leads."""
    token = _at_work.set(file)
    try:
        yield
    finally:
        _at_work.reset(token)


def command(*words: str, file: Path | str | None = None) -> str:
    """Return a command of keepfit with the pipeline file that it needs, to be pasted into a shell.

    A file of the default name is named by its folder; in the working folder it needs no name.

    `file`: as the person gave it; absent: the pipeline that is worked on, if any.

    >>> command("why", "3", file="my models/keepfit.yaml"), command("run", file="other.yaml")
    ("keepfit why 3 'my models'", 'keepfit run other.yaml')
    >>> command("run", file="keepfit.yaml")
    'keepfit run'
    """
    path = _at_work.get() if file is None else Path(file)
    if path is not None and path.name == DEFAULT_FILE:
        path = path.parent
    named = () if path is None or path == Path() else (quote(str(path)),)
    return " ".join(("keepfit", *words, *named))
