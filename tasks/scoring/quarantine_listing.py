"""The files of rows that broke their contract, and which of them wait to be scored."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from tasks.base.pipeline_file import Pipeline
from tasks.base.runtime.files import write_whole
from tasks.base.training_records import Record, SetAside


class Kept(Record):
    """Metadata of one file of rows that were set aside."""

    aside: SetAside
    contract_digest: str  # of the whole contract that they broke
    at: datetime
    scored: datetime | None = None  # when the file was scored; None while it waits


def folder_of(pipeline: Pipeline) -> Path:
    """Return where the rows of a pipeline are kept that were set aside."""
    return pipeline.work / "quarantine"


def waiting(pipeline: Pipeline) -> tuple[Kept, ...]:
    """Return the files of rows that were set aside and not scored since, oldest first."""
    found = [kept for kept in all_kept(folder_of(pipeline)) if kept.scored is None]
    return tuple(sorted(found, key=lambda kept: kept.at))


def mark_scored(pipeline: Pipeline, input_path: str | None) -> None:
    """Take down that a file of rows that were set aside has been scored."""
    if (kept := kept_at(pipeline, input_path)) is not None:
        scored = kept.model_copy(update={"scored": datetime.now(UTC)})
        record = Path(str(input_path)).resolve().with_suffix(".json")
        write_whole(record, scored.model_dump_json(indent=1))


def kept_at(pipeline: Pipeline, input_path: str | Path | None) -> Kept | None:
    """Return the metadata of a file of rows that were set aside; None of any other file."""
    path = Path(input_path or "").resolve()
    if path.parent != folder_of(pipeline).resolve():
        return None
    try:
        return Kept.model_validate_json(path.with_suffix(".json").read_bytes())
    except (OSError, ValueError):
        return None


def all_kept(folder: Path) -> list[Kept]:
    """Return the metadata of every file in `folder`, in the order of their names."""
    found = []
    for record in sorted(folder.glob("*.json")):
        try:
            kept = Kept.model_validate_json(record.read_bytes())
        except (OSError, ValueError):
            continue
        # A state folder may have been restored elsewhere, with the file beside its record.
        aside = kept.aside.model_copy(update={"file": str(record.with_suffix(".parquet"))})
        found.append(kept.model_copy(update={"aside": aside}))
    return found
