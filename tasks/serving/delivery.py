"""From the spool into the ledger: each predicted row once, under the key of a scoring."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from tasks.base.errors import DataError
from tasks.base.pipeline_file import Pipeline
from tasks.base.runtime.failpoints import reach
from tasks.base.runtime.files import digest_of_bytes, write_whole
from tasks.base.runtime.libraries import pd
from tasks.base.training_records import Record, Schema
from tasks.ledger.records import SERVED, AnsweredCells, Role
from tasks.registry.open_pipeline import OpenPipeline
from tasks.serving.request_columns import Column, RequestColumns, frame_of
from tasks.serving.spool import SegmentHeldError, SpooledVersion, segments, taken

if TYPE_CHECKING:
    from tasks.serving.served_model import Answer, ServedModel


class Delivered(Record):
    """Result of delivering some segments; `new` rows were not in the ledger."""

    segments: int = 0
    rows: int = 0
    new: int = 0


def spool_folder(pipeline: Pipeline) -> Path:
    """Return where the predicted rows of a pipeline wait."""
    return pipeline.work / "serving" / "spool"


def announce(pipeline: Pipeline, model: ServedModel) -> None:
    """Write the facts that the ledger needs about a version's predictions."""
    write_whole(_version_file(pipeline, model.version.version, model.facts_digest), model.facts)


def record_of(model: ServedModel, answer: Answer, request: str, role: Role = "champion") -> bytes:
    """Return the spool's record of a response."""
    return orjson.dumps(
        {
            "request": request,
            "version": model.version.version,
            "facts": model.facts_digest,
            "role": role,
            "columns": answer.columns.cells,
            "predicted": answer.predicted.tolist(),
            "probability": None if answer.probability is None else answer.probability.tolist(),
        }
    )


def deliver(pipeline: OpenPipeline) -> Delivered:
    """Bring every segment that nobody writes to the ledger, and remove it once it is there."""
    # Done again after a kill it adds what is missing: a row is known by its key.
    # One of a version of which nothing is known stays, and is named when the others are delivered.
    total, unknown = Delivered(), None
    for segment in segments(spool_folder(pipeline)):
        try:
            with taken(segment) as records:
                reach("serving.deliver.before")
                rows, new = _write(pipeline, segment.stem, records)
                reach("serving.deliver.after")
                segment.unlink()
        except SegmentHeldError:
            continue
        except DataError as error:
            unknown = unknown or error
            continue
        total = Delivered(segments=total.segments + 1, rows=total.rows + rows, new=total.new + new)
    if unknown is not None:
        raise unknown
    return total


def _write(pipeline: OpenPipeline, segment: str, records: Sequence[bytes]) -> tuple[int, int]:
    groups: dict[tuple[str, str, Role], list[dict[str, Any]]] = {}
    for record in map(orjson.loads, records):
        # A spool of before names no facts.
        key = (record["version"], record.get("facts", ""), record["role"])
        groups.setdefault(key, []).append(record)
    rows = new = 0
    for key, group in groups.items():
        written = _write_group(pipeline, segment, *key, group)
        rows, new = rows + written[0], new + written[1]
    return rows, new


def _write_group(
    pipeline: OpenPipeline,
    segment: str,
    version: str,
    facts: str,
    role: Role,
    group: list[dict[str, Any]],
) -> tuple[int, int]:
    name = pipeline.config.name
    known = _known_version(pipeline, version, facts)
    batch = hashlib.sha256(f"{name} {segment} {role} {version}{facts}".encode()).hexdigest()
    predictions = _predictions(group, known.roles)
    written = pipeline.ledger.write_predictions(
        name,
        predictions,
        known.roles,
        version=version,
        run_id=known.run_id,
        batch=SERVED + batch,
        role=role,
        rows=_rows(group, known),
        answered=_answered(group, known) if role == "champion" else None,
    )
    return written.rows, written.new


def _rows(group: list[dict[str, Any]], known: SpooledVersion) -> pd.DataFrame:
    """Return the keys of rows: their ids and time, without ids all their cells."""
    roles = known.roles
    by_id = [*roles.id_columns, *([roles.time_column] if roles.time_column else [])]
    names = by_id if roles.id_columns else list(known.forms)
    cells: dict[str, list[Any]] = {name: [] for name in names}
    for record in group:
        for name in names:
            cells[name] += record["columns"][name]
    columns = [Column(name, known.forms[name]) for name in names]
    return frame_of(RequestColumns(len(cells[names[0]]), cells), columns)


def _answered(group: list[dict[str, Any]], known: SpooledVersion) -> AnsweredCells:
    cells = [
        orjson.dumps(row).decode("utf-8")
        for record in group
        for row in zip(*(record["columns"][name] for name in known.forms), strict=True)
    ]
    return AnsweredCells(known.forms, cells)


def _predictions(group: list[dict[str, Any]], roles: Schema) -> pd.DataFrame:
    predicted = [value for record in group for value in record["predicted"]]
    frame: dict[str, Any] = {"prediction": pd.Series(predicted)}
    if roles.classes:
        shares = np.array([row for record in group for row in record["probability"]])
        for place, label in enumerate(roles.classes):
            frame[f"probability_{label}"] = pd.Series(shares[:, place])
    return pd.DataFrame(frame, copy=False)


def _version_file(pipeline: Pipeline, version: str, facts: str) -> Path:
    name = f"{version}-{facts[:16]}" if facts else version
    return pipeline.work / "serving" / "versions" / f"{name}.json"


def _known_version(pipeline: Pipeline, version: str, facts: str) -> SpooledVersion:
    path = _version_file(pipeline, version, facts)
    try:
        content = path.read_bytes()
        if facts and digest_of_bytes(content) != facts:
            raise ValueError("another file")
        return SpooledVersion.model_validate_json(content)
    except (OSError, ValueError):
        raise DataError(
            f"{path}: what is known of version {version} is gone or changed.",
            "Predicted rows of it wait in the spool; start `keepfit serve` with that champion.",
        ) from None
