"""Which pipelines keep their state in one folder."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

from tasks.base.errors import KeepfitError
from tasks.base.files import write_whole
from tasks.base.pipeline_file import Pipeline, load_pipeline

_FILE = "pipeline.json"


def remember_pipeline(pipeline: Pipeline) -> None:
    """Keep where the file of a pipeline is, so that pages show every pipeline of the state."""
    path = pipeline.work / _FILE
    content = json.dumps({"file": str(pipeline.path.resolve())})
    with contextlib.suppress(OSError):
        if not path.exists() or path.read_text(encoding="utf-8") != content:
            write_whole(path, content)


def known_pipelines(state: Path) -> tuple[Pipeline, ...]:
    """Return the pipelines of `state` whose files are still there and right, by name."""
    found: dict[str, Pipeline] = {}
    for path in sorted((state / "pipelines").glob(f"*/{_FILE}")):
        with contextlib.suppress(KeepfitError, OSError, ValueError, KeyError):
            pipeline = load_pipeline(Path(json.loads(path.read_text(encoding="utf-8"))["file"]))
            if pipeline.state == state and pipeline.work == path.parent:
                found[pipeline.config.name] = pipeline
    return tuple(found[name] for name in sorted(found))
