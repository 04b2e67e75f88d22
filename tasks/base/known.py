"""Which pipelines keep their state in one folder, and which version of their files is in use."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
from pathlib import Path

from tasks.base.environment import RUNNER_VARIABLE
from tasks.base.errors import ConfigError, KeepfitError
from tasks.base.files import write_whole
from tasks.base.pipeline_file import Pipeline, load_pipeline, pipeline_of
from tasks.base.yaml import parse_yaml

_FILE = "pipeline.json"
_ACCEPTED = "accepted.yaml"


def remember_pipeline(pipeline: Pipeline) -> None:
    """Keep where the file of a pipeline is, so that pages show every pipeline of the state."""
    path = pipeline.work / _FILE
    content = json.dumps({"file": str(pipeline.path.resolve())})
    with contextlib.suppress(OSError):
        if not path.exists() or path.read_text(encoding="utf-8") != content:
            write_whole(path, content)


def accept(pipeline: Pipeline) -> None:
    """Keep the text of a valid pipeline file, for when an edit makes the file invalid.

    Variables stand in it by name, as in the file itself.
    """
    remember_pipeline(pipeline)
    with contextlib.suppress(OSError):
        write_whole(pipeline.work / _ACCEPTED, pipeline.path.read_text(encoding="utf-8"))


def pipeline_in_use(path: Path) -> Pipeline:
    """Return the pipeline of a file; in runs of the stack, its last valid version if need be.

    Raises
    ------
    ConfigError
        When the file is wrong, and this is no run of a stack that knows a valid version of it.
    """
    try:
        return load_pipeline(path)
    except ConfigError as error:
        state = os.environ.get("KEEPFIT_STATE")
        if RUNNER_VARIABLE not in os.environ or not state:
            raise
        for work in _folders(Path(state)):
            if _file_of(work) == path.resolve() and (last := _accepted(work, error)) is not None:
                return last
        raise


def known_pipelines(state: Path) -> tuple[Pipeline, ...]:
    """Return the pipelines of `state`, by name.

    Where a file is no longer right, its last valid version stands for it, if there is one.
    """
    found: dict[str, Pipeline] = {}
    for work in _folders(state):
        pipeline = _pipeline_of(work)
        if pipeline is not None and pipeline.state == state and pipeline.work == work:
            found[pipeline.config.name] = pipeline
    return tuple(found[name] for name in sorted(found))


def _folders(state: Path) -> list[Path]:
    return [path.parent for path in sorted((state / "pipelines").glob(f"*/{_FILE}"))]


def _pipeline_of(work: Path) -> Pipeline | None:
    path = _file_of(work)
    if path is None:
        return None
    try:
        found = load_pipeline(path)
    except KeepfitError as error:
        return _accepted(work, error)
    except (OSError, ValueError):
        return None
    return found


def _file_of(work: Path) -> Path | None:
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        return Path(json.loads((work / _FILE).read_text(encoding="utf-8"))["file"])
    return None


def _accepted(work: Path, error: KeepfitError) -> Pipeline | None:
    """Return the last valid version of a file, with what is wrong with the present one."""
    path = _file_of(work)
    if path is None:
        return None
    try:
        text = (work / _ACCEPTED).read_text(encoding="utf-8")
        last = pipeline_of(parse_yaml(text, path))
    except (KeepfitError, OSError, ValueError):
        return None
    return dataclasses.replace(last, fault=error.message)
