"""Journal of moves of an alias, kept on disk until all steps of a move are done."""

from __future__ import annotations

import json
import re
from datetime import datetime
from pathlib import Path
from typing import Literal

from tasks.base.errors import InfrastructureError
from tasks.base.text.commands import command
from tasks.base.training_records import Record


class Intent(Record):
    """An intended move of the alias."""

    name: str
    version: str
    previous: str | None
    written: datetime
    reason: Literal["promote", "rollback"] = "promote"
    by_hand: bool = False


def read_intent(journal: Path) -> Intent | None:
    """Return a journal's intent or None; InfrastructureError when it holds something else."""
    try:
        return Intent.model_validate(json.loads(journal.read_bytes()))
    except FileNotFoundError:
        return None
    except ValueError:
        raise InfrastructureError(
            f"{journal}: not a journal that keepfit wrote.",
            f"See with `{command('status')}` which version is champion, then remove the file.",
        ) from None


def journal_file(folder: Path, name: str) -> Path:
    """Return the journal of the model `name`."""
    return folder / f"{_plain(name)}.journal"


def close_journal(journal: Path, intent: Intent) -> None:
    """Remove a journal; that of a manual move is kept until the ledger holds the move."""
    if intent.by_hand:
        journal.replace(journal.with_suffix(f".{intent.written:%Y%m%dT%H%M%S%f}.moved"))
    else:
        journal.unlink(missing_ok=True)


def unrecorded(folder: Path, name: str) -> list[tuple[Path, Intent]]:
    """Return the moves by hand that the ledger may not hold yet, the oldest first."""
    files = sorted(folder.glob(f"{_plain(name)}.*.moved"))
    return [(file, intent) for file in files if (intent := read_intent(file)) is not None]


def lock_file(folder: Path, name: str) -> Path:
    """Return the lock file of the model `name`."""
    return folder / f"{_plain(name)}.lock"


def _plain(name: str) -> str:
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,63}", name):
        raise InfrastructureError(
            f"{name!r} is not a pipeline's name.", "Use a-z, 0-9, _ and -, at most 64 characters."
        )
    return name
