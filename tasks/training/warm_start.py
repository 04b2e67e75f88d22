"""Whether a training would probably find its work done; decides only what is warmed up."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

from tasks.base.errors import KeepfitError
from tasks.base.pipeline_file import Pipeline
from tasks.base.runtime.files import write_whole
from tasks.contracts.contract_files import contract_file
from tasks.data.sources.source import fingerprint


def trained_before(pipeline: Pipeline) -> bool:
    """Return whether file, source and contract look as they did after the last training."""
    try:
        seen = json.loads(_file(pipeline).read_text(encoding="utf-8"))
        return bool(seen == _marks(pipeline))
    except (OSError, ValueError, KeepfitError):
        return False


def remember_training(pipeline: Pipeline) -> None:
    """Keep the present state of file, source and contract."""
    with contextlib.suppress(KeepfitError):
        write_whole(_file(pipeline), json.dumps(_marks(pipeline)))


def _file(pipeline: Pipeline) -> Path:
    return pipeline.work / "seen.json"


def _marks(pipeline: Pipeline) -> list[str | int | None]:
    contract = contract_file(pipeline)
    changed = contract.stat().st_mtime_ns if contract.exists() else None
    source = fingerprint(pipeline.config.source, pipeline.base)
    if source is None:
        raise KeepfitError("the source has no cheap identity")
    return [pipeline.digest, source, changed]
