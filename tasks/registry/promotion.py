"""Moving the alias `champion`: compare-and-set under a lock, with a journal.

An intent is written before the alias moves and removed after everything that goes with it is
written. What a killed process left is completed at the next start if its version is a verified
one, else reverted; so the alias always points to a complete version.
"""

from __future__ import annotations

import json
import logging
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from tasks.base.errors import EvidenceError, InfrastructureError
from tasks.base.files import write_whole
from tasks.base.records import ModelVersion, Record
from tasks.registry.locks import locked

VERIFIED = "keepfit.verified"
_LOGGER = logging.getLogger(__name__)


class Registry(Protocol):
    """What promotion needs of a registry."""

    def champion(self, name: str) -> ModelVersion | None:
        """Return the version the alias points to."""

    def version(self, name: str, version: str) -> ModelVersion | None:
        """Return one version."""

    def tag_version(self, version: ModelVersion, tags: dict[str, str]) -> None:
        """Set tags of a version."""

    def point_alias(self, name: str, version: str | None) -> None:
        """Let the alias point to `version`; None removes it."""


class Intent(Record):
    """What is about to happen to the alias."""

    name: str
    version: str
    previous: str | None
    written: datetime


def promote(
    registry: Registry, folder: Path, name: str, version: str, expected_previous: str | None
) -> ModelVersion:
    """Let the alias of `name` point to `version` if it still points to `expected_previous`.

    A second call for the version that is champion already changes nothing.

    Raises
    ------
    EvidenceError
        When another version became champion since, or `version` was not verified.
    """
    with locked(_lock_file(folder, name)):
        current = registry.champion(name)
        wanted = _verified(registry, name, version)
        if current is not None and current.version == version:
            return current
        held = current.version if current else None
        if held != expected_previous:
            raise EvidenceError(
                f"{name}: the champion changed from {_said(expected_previous)} to {_said(held)} "
                f"while version {version} was judged against the former.",
                "Run the command again: it judges against the new champion.",
            )
        intent = Intent(name=name, version=version, previous=held, written=datetime.now(UTC))
        journal = _journal_file(folder, name)
        write_whole(journal, intent.model_dump_json())
        _carry_out(registry, intent, wanted)
        journal.unlink()
    return wanted.model_copy(update={"aliases": tuple({*wanted.aliases, "champion"})})


def recover(registry: Registry, folder: Path) -> tuple[Intent, ...]:
    """Complete or revert what killed processes left; return the intents that were found."""
    found = []
    for journal in sorted(folder.glob("*.journal")):
        with locked(journal.with_suffix(".lock")):
            intent = _read(journal)
            if intent is None:
                continue
            try:
                wanted = _verified(registry, intent.name, intent.version)
            except EvidenceError:
                _revert(registry, intent)
            else:
                _carry_out(registry, intent, wanted)
            journal.unlink(missing_ok=True)
            found.append(intent)
            _LOGGER.warning("%s: finished an interrupted promotion", intent.name)
    return tuple(found)


def _carry_out(registry: Registry, intent: Intent, wanted: ModelVersion) -> None:
    registry.point_alias(intent.name, intent.version)
    registry.tag_version(
        wanted,
        {
            "keepfit.promoted_at": intent.written.isoformat(timespec="seconds"),
            "keepfit.replaced": intent.previous or "none",
        },
    )


def _revert(registry: Registry, intent: Intent) -> None:
    current = registry.champion(intent.name)
    held = current.version if current else None
    if held in (intent.version, None) and held != intent.previous:
        registry.point_alias(intent.name, intent.previous)


def _verified(registry: Registry, name: str, version: str) -> ModelVersion:
    wanted = registry.version(name, version)
    if wanted is None:
        raise EvidenceError(f"{name} has no version {version}.", "See them with `keepfit status`.")
    if wanted.tags.get(VERIFIED) != "true":
        raise EvidenceError(
            f"{name} version {version} was never loaded back and asked for its predictions.",
            "Only a verified version becomes champion; run the training again.",
        )
    return wanted


def _read(journal: Path) -> Intent | None:
    try:
        return Intent.model_validate(json.loads(journal.read_bytes()))
    except FileNotFoundError:
        return None
    except ValueError:
        raise InfrastructureError(
            f"{journal}: not a journal that keepfit wrote.",
            "See with `keepfit status` which version is champion, then remove the file.",
        ) from None


def _journal_file(folder: Path, name: str) -> Path:
    return folder / f"{_plain(name)}.journal"


def _lock_file(folder: Path, name: str) -> Path:
    return folder / f"{_plain(name)}.lock"


def _plain(name: str) -> str:
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,63}", name):
        raise InfrastructureError(
            f"{name!r} is not a pipeline's name.", "Use a-z, 0-9, _ and -, at most 64 characters."
        )
    return name


def _said(version: str | None) -> str:
    return "none" if version is None else f"version {version}"
