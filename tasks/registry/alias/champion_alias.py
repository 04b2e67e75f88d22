"""Moving the alias `champion`: compare-and-set under a lock, with a journal.

An intent is written before the alias moves and removed after everything that goes with it is
written. What a killed process left is completed at the next start if its version is a verified
one, else reverted; so the alias always points to a complete version.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, Protocol

from tasks.base.errors import EvidenceError, ModelRefusedError, UsageError
from tasks.base.runtime.failpoints import reach
from tasks.base.runtime.files import write_whole
from tasks.base.runtime.locks import locked
from tasks.base.text.commands import command
from tasks.base.training_records import ModelVersion, Record
from tasks.registry.alias.journal import Intent, close_journal, journal_file, lock_file, read_intent

VERIFIED = "keepfit.verified"
PROMOTED = "keepfit.promoted_at"
REPLACED = "keepfit.replaced"
ROLLED_BACK = "keepfit.rolled_back_at"
RETURNED = "keepfit.returned_at"
_WORDS = {"promote": "promotion", "rollback": "rollback"}
_LOGGER = logging.getLogger(__name__)


class Registry(Protocol):
    """The operations of a registry that promotion needs."""

    def pointed(self, name: str) -> ModelVersion | None:
        """Return the version the alias points to, as it is stored."""

    def found(self, name: str, version: str) -> ModelVersion | None:
        """Return one version, as it is stored."""

    def require_intact(self, version: ModelVersion) -> None:
        """Refuse a version that is not what was signed."""

    def tag_version(self, version: ModelVersion, tags: dict[str, str]) -> None:
        """Set tags of a version."""

    def point_alias(self, name: str, version: str | None) -> None:
        """Let the alias point to `version`; None removes it."""


class Moved(Record):
    """The version that the alias points to and the one before, if any; the same if not moved."""

    version: ModelVersion
    former: str | None
    at: datetime | None = None


Across = Callable[[str], AbstractContextManager[None]]  # a lock of other hosts too


@contextmanager
def on_this_host(name: str) -> Iterator[None]:  # noqa: ARG001
    """Hold nothing more: the file lock is all that is needed."""
    yield


def promote(
    registry: Registry,
    folder: Path,
    name: str,
    version: str,
    expected_previous: str | None,
    across: Across = on_this_host,
) -> ModelVersion:
    """Let the alias of `name` point to `version` if it still points to `expected_previous`."""
    # A second call for the version that is champion already changes nothing. Raises EvidenceError
    # when another version became champion since, or `version` was not verified.
    with alone(registry, folder, name, across) as current:
        wanted = _verified(registry, name, version)
        if current is not None and current.version == version:
            return current
        held = current.version if current else None
        if held != expected_previous:
            raise EvidenceError(
                f"{name}: the champion changed from {_named(expected_previous)} to {_named(held)} "
                f"while version {version} was judged against the former.",
                "Run the command again: it judges against the new champion.",
            )
        return _moved(registry, folder, wanted, held, "promote").version


def promote_by_hand(
    registry: Registry, folder: Path, name: str, version: str, across: Across = on_this_host
) -> Moved:
    """Let the alias of `name` point to `version`; raises EvidenceError when it was not verified."""
    with alone(registry, folder, name, across) as current:
        wanted = _verified(registry, name, version)
        if current is not None and current.version == version:
            return Moved(version=current, former=version)
        held = current.version if current else None
        return _moved(registry, folder, wanted, held, "promote", by_hand=True)


def rollback(
    registry: Registry,
    folder: Path,
    name: str,
    expected: str | None = None,
    across: Across = on_this_host,
    to: str | None = None,
) -> Moved:
    """Let the alias point again to what the champion, `expected` or any, replaced; or to `to`."""
    # The version rolled back from is marked, and no later rollback goes back to it: it is passed
    # over for the one that it had replaced. Raises EvidenceError when the champion is not
    # `expected`, or the other not verified; UsageError when there is none.
    with alone(registry, folder, name, across) as current:
        if current is None:
            raise UsageError(
                f"{name} has no champion, so there is nothing to roll back.",
                f"See the versions with `{command('status')}`.",
            )
        if expected is not None and current.version != expected:
            raise EvidenceError(
                f"{name}: the champion is {_named(current.version)}, no longer "
                f"{_named(expected)}, so nothing was rolled back.",
                f"Look at it with `{command('status')}`.",
            )
        wanted = _before(registry, current) if to is None else _verified(registry, name, to)
        by_hand = expected is None
        return _moved(registry, folder, wanted, current.version, "rollback", by_hand=by_hand)


def recover(registry: Registry, folder: Path, across: Across = on_this_host) -> tuple[Intent, ...]:
    """Complete or revert what killed processes left; return the intents that were found."""
    found = []
    for journal in sorted(folder.glob("*.journal")):
        with locked(journal.with_suffix(".lock")), across(journal.stem):
            intent = _finish(registry, journal)
        if intent is not None:
            found.append(intent)
    return tuple(found)


@contextmanager
def alone(
    registry: Registry, folder: Path, name: str, across: Across
) -> Iterator[ModelVersion | None]:
    """Hold the locks of `name`, finish what a killed process left, and give the champion."""
    with locked(lock_file(folder, name)), across(name):
        _finish(registry, journal_file(folder, name))
        yield registry.pointed(name)


def _finish(registry: Registry, journal: Path) -> Intent | None:
    """Complete or revert an intent, unless another host moved the alias on since."""
    intent = read_intent(journal)
    if intent is None:
        return None
    current = registry.pointed(intent.name)
    if current is None or current.version in (intent.version, intent.previous):
        try:
            wanted = _verified(registry, intent.name, intent.version)
        except (EvidenceError, ModelRefusedError):
            held = current.version if current else None
            if held != intent.previous:
                registry.point_alias(intent.name, intent.previous)
        else:
            _carry_out(registry, intent, wanted)
            close_journal(journal, intent)
        _LOGGER.warning("%s: finished an interrupted %s", intent.name, _WORDS[intent.reason])
    journal.unlink(missing_ok=True)
    return intent


def _moved(
    registry: Registry,
    folder: Path,
    wanted: ModelVersion,
    previous: str | None,
    reason: Literal["promote", "rollback"],
    *,
    by_hand: bool = False,
) -> Moved:
    """Write the intent, carry it out, remove it."""
    intent = Intent(
        name=wanted.name, version=wanted.version, previous=previous, written=datetime.now(UTC),
        reason=reason, by_hand=by_hand,
    )  # fmt: skip
    journal = journal_file(folder, wanted.name)
    reach("registry.journal.before_write")
    write_whole(journal, intent.model_dump_json())
    reach("registry.journal.after_write")
    _carry_out(registry, intent, wanted)
    reach("registry.journal.before_removal")
    close_journal(journal, intent)
    reach("registry.journal.after_removal")
    found = registry.found(wanted.name, wanted.version) or wanted
    aliases = tuple(dict.fromkeys((*found.aliases, "champion")))
    version = found.model_copy(update={"aliases": aliases})
    return Moved(version=version, former=previous, at=intent.written)


def rolled_back_to(
    champion: ModelVersion, find: Callable[[str], ModelVersion | None]
) -> tuple[ModelVersion, ...]:
    """Return the versions by which a rollback finds its way, down to the one it goes back to."""
    # One that was rolled back from itself is passed over for the one that it had replaced.
    line = [champion]
    while len(line) == 1 or ROLLED_BACK in line[-1].tags:
        replaced = line[-1].tags.get(REPLACED, "none")
        if replaced == "none" or replaced in {version.version for version in line}:
            break
        if (former := find(replaced)) is None:
            break
        line.append(former)
    return tuple(line[1:])


def _before(registry: Registry, current: ModelVersion) -> ModelVersion:
    """Return the newest version in the champion's line that was not rolled back from."""
    line = rolled_back_to(current, lambda version: registry.found(current.name, version))
    if line and ROLLED_BACK not in line[-1].tags:
        return _verified(registry, current.name, line[-1].version)
    raise UsageError(
        f"{current.name}: no version before the champion, version {current.version}, is left to "
        "go back to.",
        f"Name one: `{command('promote', 'V')}`; see them with `{command('status')}`.",
    )


def _carry_out(registry: Registry, intent: Intent, wanted: ModelVersion) -> None:
    """Move the alias and write what goes with it; done twice it leaves the same."""
    moment = intent.written.isoformat(timespec="seconds")
    reach("registry.alias.before_move")
    registry.point_alias(intent.name, intent.version)
    reach("registry.alias.after_move")
    if intent.reason == "promote":
        # A version that comes back by a rollback keeps what it had replaced when it came.
        registry.tag_version(wanted, {PROMOTED: moment, REPLACED: intent.previous or "none"})
        return
    left = registry.found(intent.name, intent.previous or "")
    if left is not None:
        registry.tag_version(left, {ROLLED_BACK: moment})
    registry.tag_version(wanted, {RETURNED: moment})


def _verified(registry: Registry, name: str, version: str) -> ModelVersion:
    wanted = registry.found(name, version)
    if wanted is None:
        raise EvidenceError(
            f"{name} has no version {version}.", f"See them with `{command('status')}`."
        )
    if wanted.tags.get(VERIFIED) != "true":
        raise EvidenceError(
            f"{name} version {version} was never loaded back to verify its predictions.",
            "Only a verified version becomes champion; run the training again.",
        )
    registry.require_intact(wanted)
    return wanted


def _named(version: str | None) -> str:
    return "none" if version is None else f"version {version}"
