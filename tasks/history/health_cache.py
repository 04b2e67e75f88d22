"""Health of pipelines, kept in the state folder until something it was made from changes."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from pydantic import AwareDatetime, TypeAdapter

from tasks.base.pipeline_file import Pipeline
from tasks.base.runtime.files import digest_of_bytes, write_whole
from tasks.base.training_records import ModelVersion, Record
from tasks.registry.manual_promotion import moved_unrecorded
from tasks.registry.packaging.provenance import keepfit_version

_FILE = Path("dashboard", ".health.json")  # hidden files of the page's folder are not served


class KeptHealth(Record):
    """A health as JSON, with the digest of what it was made from."""

    inputs: str
    # made, until: it holds from `made` on and before `until`: a schedule may be missed then.
    made: AwareDatetime
    until: AwareDatetime
    health: str

    def holds(self, inputs: str, now: datetime) -> bool:
        """Return whether it is what would be made of `inputs` now."""
        return self.inputs == inputs and self.made <= now < self.until


def read_kept(state: Path) -> dict[str, KeptHealth]:
    """Return pipeline to its kept health; empty where nothing usable is kept."""
    with suppress(OSError, ValueError):
        return TypeAdapter(dict[str, KeptHealth]).validate_json((state / _FILE).read_bytes())
    return {}


def write_kept(state: Path, kept: dict[str, KeptHealth]) -> None:
    """Keep the health of each pipeline; where the folder cannot be written, nothing is kept."""
    # Of two writers at once the last one stays: its older entries no longer hold.
    values = {name: one.model_dump(mode="json") for name, one in kept.items()}
    with suppress(OSError):
        write_whole(state / _FILE, json.dumps(values))


def inputs_digest(
    pipeline: Pipeline,
    registered: tuple[bool, ModelVersion | None, str],
    ledger: str,
) -> str:
    """Return a digest of all but the time that health is made from; `ledger` is its change mark."""
    answered, version, refused = registered
    parts = (
        keepfit_version(),
        repr(pipeline.config),
        str(pipeline.path),
        pipeline.fault,
        answered,
        repr(version),
        refused,
        sorted(moved_unrecorded(pipeline)),
        ledger,
        _files(pipeline.work / "trainings"),
        _files(pipeline.work / "quarantine"),
    )
    return digest_of_bytes(json.dumps(parts).encode())


def _files(folder: Path) -> list[tuple[str, int, int]]:
    found = []
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            with suppress(FileNotFoundError):  # removed meanwhile, or a link to nothing
                at = entry.stat()
                found.append((entry.name, at.st_mtime_ns, at.st_size))
    return sorted(found)
