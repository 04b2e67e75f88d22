"""Pipelines that keep their state in one folder, and the version of their files in use."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
from pathlib import Path

from tasks.base.errors import KeepfitError, UsageError
from tasks.base.pipeline_file import Pipeline, load_pipeline, pipeline_of
from tasks.base.runtime.environment import REGISTERED_VARIABLE
from tasks.base.runtime.files import digest_of_bytes, write_whole
from tasks.base.settings.yaml_document import parse_yaml

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
    """Keep the text of a valid pipeline file, for when an edit makes the file invalid."""
    # Variables stand in it by name, as in the file itself.
    remember_pipeline(pipeline)
    with contextlib.suppress(OSError):
        write_whole(pipeline.work / _ACCEPTED, pipeline.document.text)


def registration(pipeline: Pipeline) -> str:
    """Return variables by which flow runs accept the pipeline's file as it is now."""
    return json.dumps({str(pipeline.path.resolve()): _text_digest(pipeline)})


def pipeline_in_use(path: Path, *, edited: bool = False) -> Pipeline:
    """Return the pipeline of a file; in runs of the stack, the version that the stack took up."""
    # Raises ConfigError when the file is wrong and no valid version is known; UsageError when it,
    # or what stands in it (but for `edited`, in read-only commands), is not registered with the
    # stack or deployment that runs this: a run can be created with any file, whose hooks run code.
    registered = os.environ.get(REGISTERED_VARIABLE)
    if registered is None:
        return load_pipeline(path)
    digest = json.loads(registered).get(str(path.resolve()))
    if digest is None:
        raise UsageError(
            f"{path} is not registered with the stack or deployment that runs this.",
            "Start `keepfit up` with it, or `keepfit deploy` it.",
        )
    if digest:
        pipeline = load_pipeline(path)
        if not edited and _text_digest(pipeline) != digest:
            raise UsageError(
                f"{path} was edited after it was deployed.",
                f"Take the edit up: `keepfit deploy {path} --pool NAME`. Or undo it.",
            )
        return pipeline
    folders = [
        w for w in _folders(Path(os.environ["KEEPFIT_STATE"])) if _file_of(w) == path.resolve()
    ]
    for work in sorted(folders, key=_accepted_at, reverse=True):
        if (last := _accepted(work, path)) is not None:
            return last
    return load_pipeline(path)


def known_pipelines(state: Path) -> tuple[Pipeline, ...]:
    """Return the pipelines of `state`, by name."""
    # Where a file is no longer right, its last valid version stands for it, if there is one.
    found: dict[str, Pipeline] = {}
    for work in _folders(state):
        pipeline = _pipeline_of(work)
        if pipeline is not None and pipeline.state == state and pipeline.work == work:
            found[pipeline.config.name] = pipeline
    return tuple(found[name] for name in sorted(found))


def _text_digest(pipeline: Pipeline) -> str:
    return digest_of_bytes(pipeline.document.text.encode("utf-8"))


def _folders(state: Path) -> list[Path]:
    return [path.parent for path in sorted((state / "pipelines").glob(f"*/{_FILE}"))]


def _pipeline_of(work: Path) -> Pipeline | None:
    path = _file_of(work)
    if path is None:
        return None
    try:
        return load_pipeline(path)
    except KeepfitError:
        return _accepted(work, path)
    except (OSError, ValueError):
        return None


def _file_of(work: Path) -> Path | None:
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        return Path(json.loads((work / _FILE).read_text(encoding="utf-8"))["file"])
    return None


def _accepted_at(work: Path) -> float:
    try:
        return (work / _ACCEPTED).stat().st_mtime
    except OSError:
        return 0.0


def _accepted(work: Path, path: Path) -> Pipeline | None:
    """Return the last valid version of a file, with what is wrong with the present one."""
    try:
        last = pipeline_of(parse_yaml((work / _ACCEPTED).read_text(encoding="utf-8"), path))
    except (KeepfitError, OSError, ValueError):
        return None
    try:
        load_pipeline(path)
    except KeepfitError as error:
        return dataclasses.replace(last, fault=error.message)
    return last
