"""The trainings that were done, one file each in the state folder."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from tasks.base.command_results import TrainingOutcome
from tasks.base.runtime.files import write_whole


def save_outcome(work: Path, outcome: TrainingOutcome) -> None:
    """Keep `outcome`: one record for each version, of which recomputed trainings make several."""
    version = f".v{outcome.model.version}" if outcome.model else ""
    path = work / "trainings" / f"{outcome.key[:32]}{version}.json"
    write_whole(path, outcome.model_dump_json(indent=1))


def find_outcome(work: Path, key: str) -> TrainingOutcome | None:
    """Return the newest training with `key`, or None."""
    return next((o for o in _outcomes(work, f"{key[:32]}*.json") if o.key == key), None)


def last_outcomes(work: Path, most: int = 5) -> tuple[TrainingOutcome, ...]:
    """Return the last trainings, newest first."""
    return tuple(_outcomes(work, "*.json")[:most])


def _outcomes(work: Path, pattern: str) -> list[TrainingOutcome]:
    found = [outcome for path in (work / "trainings").glob(pattern) if (outcome := _read(path))]
    return sorted(found, key=lambda outcome: outcome.finished, reverse=True)


def _read(path: Path) -> TrainingOutcome | None:
    try:
        return TrainingOutcome.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, ValidationError):
        # An outcome of an older version, or none: the training is simply done again.
        return None
