"""Spellings that the pipeline file joins: each has to be one that its labels have, or had."""

from __future__ import annotations

import hashlib
import json

from tasks.base.errors import ConfigError
from tasks.base.pipeline_file import Pipeline
from tasks.base.runtime.files import write_whole
from tasks.base.source_notes import JoinedLabels
from tasks.base.training_records import Snapshot


def require_spellings(pipeline: Pipeline, snapshot: Snapshot) -> None:
    """Refuse a spelling in `labels` that no row has, the first time that it is read.

    A mapping that fitted once stays right: a later window may lack a spelling of an earlier one.
    """
    note = next((n for n in snapshot.findings if isinstance(n, JoinedLabels)), None)
    if note is None:
        return
    mapping = json.dumps(pipeline.config.labels, sort_keys=True)
    accepted = pipeline.work / "labels" / hashlib.sha256(mapping.encode()).hexdigest()[:32]
    if accepted.exists():
        return
    if note.unknown:
        raise _unknown(pipeline, note)
    write_whole(accepted, mapping)


def _unknown(pipeline: Pipeline, note: JoinedLabels) -> ConfigError:
    spelling, near = next(iter(note.unknown.items()))
    name, place = next(
        (name, spellings.index(spelling))
        for name, spellings in pipeline.config.labels.items()
        if spelling in spellings
    )
    # The document has keys as they are written, in the same order.
    keys = list(pipeline.document.values["labels"])
    key = keys[list(pipeline.config.labels).index(name)]
    line = pipeline.line_of("labels", key, place)
    return ConfigError(
        f"{pipeline.path}, line {line}: `labels` joins {spelling!r} to {name!r}, and no row of "
        f"{note.target!r} has that label.",
        f"Did you mean {near!r}?" if near else "Remove it.",
    )
