"""The trainings that were done, one file each in the state folder."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from tasks.base.outcomes import TrainingOutcome
from tasks.base.runtime.files import write_whole


def save_outcome(work: Path, outcome: TrainingOutcome) -> None:
    """Keep `outcome`; a training with the same key is replaced."""
    write_whole(_file(work, outcome.key), outcome.model_dump_json(indent=1))


def find_outcome(work: Path, key: str) -> TrainingOutcome | None:
    """Return the training with `key`, or None."""
    return _read(_file(work, key))


def last_outcomes(work: Path, most: int = 5) -> tuple[TrainingOutcome, ...]:
    """Return the last trainings, newest first."""
    found = [outcome for path in (work / "trainings").glob("*.json") if (outcome := _read(path))]
    return tuple(sorted(found, key=lambda outcome: outcome.finished, reverse=True)[:most])


def _file(work: Path, key: str) -> Path:
    return work / "trainings" / f"{key[:32]}.json"


def _read(path: Path) -> TrainingOutcome | None:
    try:
        return TrainingOutcome.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, ValidationError):
        # An outcome of an older version, or none: the training is simply done again.
        return None
