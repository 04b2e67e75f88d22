"""The rows of a pipeline: the training window, and rows to score."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from tasks.base.command_results import ScoringScope
from tasks.base.config import PipelineConfig
from tasks.base.errors import ConfigError, SourceError, UsageError
from tasks.base.pipeline_file import Pipeline, require_columns, require_evaluated
from tasks.base.runtime.files import write_whole
from tasks.base.runtime.libraries import pa
from tasks.base.settings.object_addresses import anchored, object_fault
from tasks.base.settings.scoring import CsvSink, ParquetSink, Sink
from tasks.base.settings.sources import CsvSource, ParquetSource, Source
from tasks.base.source_notes import ChangedColumns, FileAside, JoinedLabels, note_text
from tasks.base.training_records import Snapshot
from tasks.contracts.contract_files import ensure_contract, forms_of, known_contract
from tasks.data.files.file_columns import renamed_since
from tasks.data.files.paths import storage_kind
from tasks.data.loading import load_window
from tasks.data.sources.file_completeness import complete_part, without_copies
from tasks.data.sources.source import column_names, newest_believed, read_source

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def training_snapshot(
    pipeline: Pipeline, *, fresh: bool = False, keep_contract: bool = True, whole: bool = True
) -> Snapshot:
    """Read the training window, and infer the contract when the pipeline has none yet."""
    # A column that the contract promises and the source lost is left to the contract check, which
    # names everything that is broken at once. A file that is empty or incomplete is refused if
    # `whole`, else left aside with a note.
    contract = known_contract(pipeline)
    promised = () if contract is None else tuple(contract.columns)
    source = pipeline.config.source
    found, aside = _read_part(pipeline, source, whole=whole, settled=True)
    source = found or source  # without a complete file its own error is raised
    available = column_names(source, pipeline.base)
    require_columns(pipeline, available, promised)
    config = _readable(pipeline.config.model_copy(update={"source": source}), available)
    snapshot = load_window(
        config, pipeline.base, pipeline.work / "data", forms=forms_of(contract), fresh=fresh
    )
    if config.hooks.features is not None:
        require_evaluated(pipeline, {*snapshot.kinds, *promised})
    changed = _renamed(pipeline, source, available)
    require_spellings(pipeline, snapshot)
    if keep_contract:
        ensure_contract(pipeline, snapshot)
    return snapshot.model_copy(update={"findings": (*aside, *changed, *snapshot.findings)})


def rows_to_score(pipeline: Pipeline) -> tuple[Source | None, tuple[FileAside, ...]]:
    """Return the scoring source, or the source, without unfinished files; see `complete_part`."""
    return _read_part(pipeline, pipeline.config.scoring.source or pipeline.config.source)


def _read_part(
    pipeline: Pipeline, source: Source, *, whole: bool = False, settled: bool = False
) -> tuple[Source | None, tuple[FileAside, ...]]:
    # Where an id names a row, a file that was delivered twice has no rows of its own.
    found, aside = (source, ()) if whole else complete_part(source, pipeline.base, settled=settled)
    if found is None or not pipeline.config.id_columns:
        return found, aside
    found, copies = without_copies(found, pipeline.base)
    return found, (*aside, *copies)


def scoring_snapshot(
    pipeline: Pipeline,
    since: datetime | None = None,
    until: datetime | None = None,
    *,
    whole: bool = False,
    settled: bool = False,
) -> Snapshot:
    """Read the rows to score whose time lies in [since, until); there may be none."""
    # A file that is empty or incomplete is refused if `whole`, else left aside with a note;
    # `settled` leaves aside also what may be half written.
    config = pipeline.config
    stated = config.scoring.source or config.source
    chosen, aside = _read_part(pipeline, stated, whole=whole, settled=settled)
    if chosen is None and until is None:
        return Snapshot(path="", digest="", rows=0, kinds={}, findings=aside)
    if chosen is None:
        raise _no_complete_file(aside)
    available = column_names(chosen, pipeline.base)
    changed = _renamed(pipeline, chosen, available)
    every = config.model_copy(
        update={"source": chosen, "training": config.training.model_copy(update={"window": None})}
    )
    readable = _readable(every, available)
    if readable.time_column is None:
        since = until = None
    snapshot = load_window(
        readable,
        pipeline.base,
        pipeline.work / "scoring",
        forms=forms_of(known_contract(pipeline)),
        for_scoring=True,
        since=since,
        until=until,
    )
    return snapshot.model_copy(update={"findings": (*aside, *changed, *snapshot.findings)})


def _renamed(
    pipeline: Pipeline, source: Source, available: Collection[str]
) -> tuple[ChangedColumns, ...]:
    """Return the contract's columns that all files lack, with the new ones called like them."""
    contract = known_contract(pipeline)
    if contract is None or pipeline.config.hooks.features is not None:
        return ()
    config = pipeline.config
    known = [c for c in contract.columns if c != config.target]
    others = [c for c in available if c not in {config.target, *config.exclude}]
    where = Path(source.path).name if isinstance(source, CsvSource | ParquetSource) else "the query"
    return renamed_since(where, others, known)


def newest_row(pipeline: Pipeline, now: datetime | None = None) -> datetime | None:
    """Return the greatest time, not in the future, of the rows to score, in UTC, or None."""
    column = pipeline.config.time_column
    if column is None:
        return None
    chosen, aside = rows_to_score(pipeline)
    if chosen is None:
        raise _no_complete_file(aside)
    return newest_believed(chosen, pipeline.base, column, now or datetime.now(UTC))


def _no_complete_file(aside: Collection[FileAside]) -> SourceError:
    return SourceError(
        f"No complete file to read: {'; '.join(map(note_text, aside))}.",
        "Wait until one is written, or look at the source's path.",
    )


def scope_of(input_path: str | None, *, everything: bool) -> ScoringScope:
    """Return the rows of a scoring: a named file, all rows of the source, or the new ones."""
    if input_path is not None and everything:
        raise UsageError(
            "--all scores every row of the pipeline's source, and --input names another one.",
            "Leave one of them out: of a named file every row is scored.",
        )
    if input_path is not None:
        return "file"
    return "all" if everything else "new"


def row_times(pipeline: Pipeline, start: datetime, end: datetime) -> NDArray[np.datetime64]:
    """Return the times in [start, end) of rows to score: UTC ``datetime64[us]``, no nulls."""
    column = pipeline.config.time_column or ""
    chosen, aside = rows_to_score(pipeline)
    if chosen is None:
        raise _no_complete_file(aside)
    table = read_source(
        chosen, pipeline.base, columns=[column], time_column=column, start=start, end=end
    ).table
    times = table[column].drop_null()
    found: NDArray[np.datetime64] = times.cast(pa.timestamp("us", times.type.tz)).to_numpy()
    return found


def with_overrides(pipeline: Pipeline, input_path: str | None, output_path: str | None) -> Pipeline:
    """Return `pipeline` with another place to read rows to score from, or to write them to."""
    scoring = pipeline.config.scoring
    if input_path is not None:
        source = input_source(input_path, pipeline.config.source).keep_copies_in(pipeline.state)
        scoring = scoring.model_copy(update={"source": source})
    if output_path is not None:
        scoring = scoring.model_copy(update={"sink": output_sink(output_path)})
    config = pipeline.config.model_copy(update={"scoring": scoring})
    return replace(pipeline, config=config)


def output_sink(path: str) -> Sink:
    """Return a file or object to write predictions to as a sink."""
    suffix = Path(path).suffix.lower()
    if suffix not in {".parquet", ".csv"}:
        raise UsageError(
            f"Predictions are written as .parquet or .csv; got {Path(path).name!r}.",
            "Name the output with one of these endings.",
        )
    absolute = _usable(path)
    if suffix == ".csv":
        return CsvSink(kind="csv", path=absolute)
    return ParquetSink(kind="parquet", path=absolute)


def input_source(path: str, like: Source) -> CsvSource | ParquetSource:
    """Return a file to score as a source, read as the pipeline's own source of that kind is."""
    absolute = _usable(path)
    kind = storage_kind(absolute)
    if kind is None:
        raise UsageError(f"No such file or folder: {path}.")
    if kind == "parquet":
        return ParquetSource(kind="parquet", path=absolute)
    if isinstance(like, CsvSource):
        return like.model_copy(update={"path": absolute})
    return CsvSource(kind="csv", path=absolute)


def _usable(path: str) -> str:
    fault = object_fault(path)
    if fault:
        raise UsageError(f"The address cannot be used: {fault}.")
    return anchored(path)


def _readable(config: PipelineConfig, available: Collection[str]) -> PipelineConfig:
    """Leave out of `config` the columns that are not there to be read."""
    time_column = config.time_column if config.time_column in available else None
    training = config.training
    if time_column is None:
        training = training.model_copy(update={"window": None})
    return config.model_copy(
        update={
            "time_column": time_column,
            "training": training,
            "id_columns": tuple(c for c in config.id_columns if c in available),
            "exclude": tuple(c for c in config.exclude if c in available),
            "kinds": {c: k for c, k in config.kinds.items() if c in available},
        }
    )


def require_spellings(pipeline: Pipeline, snapshot: Snapshot) -> None:
    """Refuse a spelling in `labels` that no row has, the first time that it is read."""
    # A mapping that fitted once stays right: a later window may lack a spelling of an earlier one.
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
