"""`keepfit init`: a working pipeline from a table that nobody prepared."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.base.command_results import Draft, DraftedColumn
from tasks.base.config import PipelineConfig
from tasks.base.errors import ConfigError, UsageError
from tasks.base.key_reference import schema as json_schema
from tasks.base.pipeline_file import DEFAULT_FILE, Pipeline, nearest, pipeline_of
from tasks.base.runtime.files import write_whole
from tasks.base.settings.evaluation import default_metric
from tasks.base.settings.object_addresses import anchored, object_fault
from tasks.base.settings.yaml_document import dump_yaml, parse_yaml
from tasks.base.source_notes import note_text
from tasks.base.text.commands import command
from tasks.base.text.phrases import plural
from tasks.base.text.terminal import without_marks
from tasks.base.training_records import Schema, Snapshot
from tasks.contracts.contract_files import contract_text, infer_from
from tasks.data.column_kinds import build_schema, target_values
from tasks.data.files.paths import storage_kind
from tasks.data.loading import stated_options
from tasks.data.snapshots import read_frame
from tasks.data.sources.source import column_names
from tasks.projects.database_source import DatabaseSource, database_source
from tasks.projects.demos import DEMOS
from tasks.projects.label_delay import label_delay
from tasks.projects.window_length import WindowLength, window_length
from tasks.training.row_windows import training_snapshot
from tasks.training.training_plan import repeated_ids

_SCHEMA = "keepfit.schema.json"
_NAME = re.compile(r"^[a-z0-9][a-z0-9_-]{0,63}$")
# A search monthly: alarms lead to refits in between.
_SCHEDULES = {"training": "0 3 1 * *", "scoring": "0 * * * *", "monitoring": "30 3 * * *"}


@dataclass(frozen=True)
class Request:
    """Options of `init`."""

    folder: Path
    data: str | Path | None = None
    target: str | None = None
    time_column: str | None = None
    id_columns: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    demo: str | None = None
    url: str | None = None
    table: str | None = None
    query: str | None = None


def draft_project(request: Request) -> Draft:
    """Write ``keepfit.yaml`` and its inferred contract into a folder that has none."""
    file = request.folder / DEFAULT_FILE
    contract = request.folder / "contracts" / f"{_name_of(request.folder)}.yaml"
    for path in (file, contract):
        if path.exists():
            raise UsageError(
                f"{path} exists and is never overwritten.",
                f"Name another folder, or use it as it is: {command('run', file=file)}",
            )
    database = _database(request)
    values = _values(request, database)
    pipeline = _pipeline(values, file, database)
    snapshot = training_snapshot(pipeline, keep_contract=False)
    schema = build_schema(snapshot, pipeline.config)
    values["source"] = {**values["source"], **stated_options(pipeline.config.source, pipeline.base)}
    length = _window_length(values, snapshot)
    delay = 0 if length is None else _label_delay(snapshot, schema)
    values = _completed(values, schema, snapshot, request, length, delay)
    pipeline = _pipeline(values, file, database)
    schema = build_schema(snapshot, pipeline.config)
    inferred = infer_from(pipeline, snapshot)
    repeated = repeated_ids(snapshot, schema)
    assumptions = (
        *_secret(database),
        *_assumptions(snapshot, schema, request),
        *([length.assumption] if length is not None and length.assumption else []),
        *([_late_labels(schema.target, delay)] if delay else []),
        *([repeated] if repeated else []),
    )
    write_whole(contract, contract_text(inferred))
    values["source"] = _portable(values["source"], request)
    if database is not None:
        values["source"] |= {"url": database.written}
    stated = {**values, "contract": f"contracts/{contract.name}"}
    described = request.folder / _SCHEMA
    if not described.exists():
        write_whole(described, json.dumps(json_schema(), indent=1))
    write_whole(file, _text(stated, assumptions) + _spellings(schema))
    return Draft(
        folder=str(request.folder),
        file=str(file),
        contract=str(contract),
        name=pipeline.config.name,
        task=schema.task,
        rows=snapshot.rows,
        columns=_columns(snapshot, schema, pipeline.config),
        assumptions=assumptions,
        findings=(*snapshot.findings, *schema.twins),
        next_command=command("run", file=file),
    )


def _database(request: Request) -> DatabaseSource | None:
    if request.url is None:
        if request.table or request.query:
            raise UsageError(
                "`--table` and `--query` belong to a database: --data is its URL.",
                "keepfit init mine --data sqlite:///sales.db --table orders --target y",
            )
        return None
    return database_source(
        request.url,
        request.folder,
        _name_of(request.folder),
        table=request.table,
        query=request.query,
    )


def _secret(database: DatabaseSource | None) -> tuple[str, ...]:
    """Return the variable to set where the database's secret is not in the file."""
    if database is None or not database.variable:
        return ()
    name = database.variable
    what = "URL" if name.endswith("_URL") else "password"
    return (
        f"the database's {what} is not written to the file; set it before each command: "
        f"export {name}=…",
    )


def _values(request: Request, database: DatabaseSource | None) -> dict[str, Any]:
    if (request.data is None and request.url is None) == (request.demo is None):
        raise UsageError(
            "`init` needs either --data or --demo.",
            "keepfit init mine --data my.csv --target y, or keepfit init demo --demo flights",
        )
    head: dict[str, Any] = {"name": _name_of(request.folder)}
    if request.demo is not None:
        return head | DEMOS[request.demo]
    source = _source(request) if database is None else database.values
    if request.target is None:
        columns = _columns_of(request, database)
        raise UsageError("`--data` needs `--target`, the column to predict.", columns)
    values = head | {"target": request.target, "source": source}
    if request.time_column:
        values["time_column"] = request.time_column
    if request.id_columns:
        values["id_columns"] = list(request.id_columns)
    if request.exclude:
        values["exclude"] = list(request.exclude)
    return values


def _source(request: Request) -> dict[str, Any]:
    data = request.data
    assert data is not None  # noqa: S101 - decided by the caller
    fault = object_fault(str(data))
    if fault:
        raise UsageError(f"--data: the address cannot be used: {fault}.")
    kind = storage_kind(data)
    if kind is None:
        raise UsageError(f"No such file or folder: {data}.", _neighbours(Path(data)))
    return {"kind": kind, "path": anchored(data)}


def _portable(source: dict[str, Any], request: Request) -> dict[str, Any]:
    """Return the source with its path as the person gave it; relative in the pipeline's folder."""
    if request.data is None:
        return source
    data, folder = anchored(request.data), request.folder.absolute()
    if data == str(request.data) and not Path(data).is_relative_to(folder):
        return source
    return {**source, "path": os.path.relpath(data, folder)}


def _neighbours(data: Path) -> str:
    folder = data.parent
    names = sorted(p.name for p in folder.iterdir()) if folder.is_dir() else []
    return nearest(data.name, names) if names else ""


def _columns_of(request: Request, database: DatabaseSource | None) -> str:
    """Return the columns there are to choose a target from."""
    values: dict[str, Any] = {"name": "x", "target": "x"}
    values["source"] = _source(request) if database is None else database.values
    source = _pipeline(values, request.folder / DEFAULT_FILE, database).config.source
    names = column_names(source, request.folder.absolute())
    return f"The columns: {', '.join(names[:40])}."


def _pipeline(
    values: dict[str, Any], file: Path, database: DatabaseSource | None = None
) -> Pipeline:
    """Return the pipeline that `values` would be; a column they misname is the user's slip."""
    environ = None if database is None else database.environ
    try:
        return pipeline_of(parse_yaml(dump_yaml(values), file), environ)
    except ConfigError as error:
        raise UsageError(error.message, error.remedy) from None


def _window_length(values: dict[str, Any], snapshot: Snapshot) -> WindowLength | None:
    """Return the windows that suit the table; None without times, or where the file states them."""
    column = values.get("time_column")
    if column is None or "monitoring" in values or snapshot.kinds.get(column) != "datetime":
        return None
    times = read_frame(snapshot.path, columns=[column])[column]
    return window_length(times.to_numpy(dtype="datetime64[s]"))


def _label_delay(snapshot: Snapshot, schema: Schema) -> int:
    """Return the days that labels take to arrive, of a table whose rows have a time."""
    assert schema.time_column is not None  # noqa: S101 - decided by the caller
    frame = read_frame(snapshot.path, columns=[schema.time_column, schema.target])
    _, labelled = target_values(frame, schema)
    return label_delay(frame[schema.time_column].to_numpy(dtype="datetime64[s]"), labelled)


def _late_labels(target: str, days: int) -> str:
    return (
        f"{target!r} becomes known {plural(days, 'day')} after a row's time: no newer row has it "
        "(`monitoring: {label_delay: …}`)"
    )


def _completed(
    values: dict[str, Any],
    schema: Schema,
    snapshot: Snapshot,
    request: Request,
    length: WindowLength | None,
    delay: int,
) -> dict[str, Any]:
    """Return the keys in the order of the file, with what was inferred stated."""
    ids = values.get("id_columns") or _identifiers(snapshot, request)
    stated: dict[str, Any] = {
        "name": values["name"],
        "target": values["target"],
        "task": schema.task,
    }
    if schema.positive is not None:
        stated["positive"] = values.get("positive", schema.positive)
    stated["source"] = values["source"]
    for key in ("group", "item", "relevant", "time_column", "exclude", "kinds"):
        if values.get(key):
            stated[key] = values[key]
    if ids:
        stated["id_columns"] = ids
    stated["split"] = values.get("split", {"holdout": 0.2})
    stated["training"] = values.get("training", {"budget": "120s", "cv": 5})
    stated["metric"] = values.get("metric", default_metric(schema.task))
    stated |= {key: values[key] for key in ("objective", "report", "scoring") if key in values}
    if stated.get("time_column"):
        # What `keepfit up` runs; nothing else reads it.
        usual = {"window": "7d"} if length is None else length.values
        usual |= {"label_delay": f"{delay}d"} if delay else {}
        stated["monitoring"] = values.get("monitoring", usual)
        stated["schedules"] = dict(_SCHEDULES)
    return stated


def _identifiers(snapshot: Snapshot, request: Request) -> list[str]:
    """Return the first column that names rows, to recognise a scored row by."""
    taken = {request.target, request.time_column, *request.exclude}
    return [c for c, kind in snapshot.kinds.items() if kind == "identifier" and c not in taken][:1]


def _assumptions(snapshot: Snapshot, schema: Schema, request: Request) -> tuple[str, ...]:
    notes = [*snapshot.remarks, *map(note_text, schema.twins), *schema.assumptions]
    times = [c for c, kind in snapshot.kinds.items() if kind == "datetime"]
    if request.demo is None and not request.time_column and times:
        notes.append(
            f"rows have no order in time: a stable hash decides the holdout; {times[0]!r} looks "
            "like a time, and `time_column:` makes the newest rows the holdout"
        )
    return tuple(dict.fromkeys(notes))


def _columns(
    snapshot: Snapshot, schema: Schema, config: PipelineConfig
) -> tuple[DraftedColumn, ...]:
    def role(name: str) -> str:
        if name == schema.target:
            return "target"
        if name in schema.features:
            return "time, feature" if name == schema.time_column else "feature"
        if name == schema.time_column:
            return "time"
        if name in schema.id_columns:
            return "id"
        return f"not used: {schema.dropped.get(name, 'no feature')}"

    columns = [
        DraftedColumn(name=name, kind=kind, role=role(name))
        for name, kind in snapshot.kinds.items()
    ]
    columns += [
        DraftedColumn(name=name, kind="", role="not read: excluded")
        for name in config.exclude
        if name not in snapshot.kinds
    ]
    return tuple(columns)


def _name_of(folder: Path) -> str:
    return pipeline_name(folder.absolute().name)


def pipeline_name(text: str) -> str:
    """Return a pipeline name made of a folder's or a column's.

    >>> pipeline_name("My Churn (v2)")
    'my-churn-v2'
    """
    words = re.sub(r"[^a-z0-9_]+", "-", text.lower()).strip("-_")[:64]
    return words if _NAME.match(words) else "pipeline"


def _spellings(schema: Schema) -> str:
    """Return the section that would join labels that may be one, commented out."""
    if not schema.twins:
        return ""
    labels = {note.name: list(note.spellings)[1:] for note in schema.twins}
    lines = dump_yaml({"labels": labels}).splitlines()
    head = "# Remove the # to join labels that differ in case, space or a final dot only:"
    return "\n".join([head, *(f"# {line}" for line in lines)]) + "\n"


def _text(values: dict[str, Any], assumptions: tuple[str, ...]) -> str:
    lines = [
        f"# yaml-language-server: $schema=./{_SCHEMA}",
        "# Written by `keepfit init`. `keepfit config explain` lists every key.",
    ]
    if assumptions:
        lines.append("# Assumed, and changed here:")
        lines += [f"#   - {without_marks(' '.join(note.split()))}" for note in assumptions]
    return "\n".join(lines) + "\n" + dump_yaml(values)
