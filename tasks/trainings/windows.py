"""The rows of a pipeline: the training window, and rows to score."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from tasks.base.config import (
    CsvSink,
    CsvSource,
    ParquetSink,
    ParquetSource,
    PipelineConfig,
    Sink,
    Source,
)
from tasks.base.errors import UsageError
from tasks.base.pipeline_file import Pipeline, require_columns, require_evaluated
from tasks.base.records import Snapshot
from tasks.validation.contracts import ensure_contract, forms_of, known_contract


def training_snapshot(
    pipeline: Pipeline, *, fresh: bool = False, keep_contract: bool = True
) -> Snapshot:
    """Read the training window, and infer the contract when the pipeline has none yet.

    A column that the contract promises and the source lost is left to the contract check, which
    names everything that is broken at once.

    Raises
    ------
    ConfigError
        When the file names a column that neither source nor contract has.
    """
    from tasks.data.loading import load_window
    from tasks.data.sources import column_names

    contract = known_contract(pipeline)
    promised = () if contract is None else tuple(contract.columns)
    available = column_names(pipeline.config.source, pipeline.base)
    require_columns(pipeline, available, promised)
    config = _readable(pipeline.config, available)
    snapshot = load_window(
        config, pipeline.base, pipeline.work / "data", forms=forms_of(contract), fresh=fresh
    )
    if config.hooks.features is not None:
        require_evaluated(pipeline, {*snapshot.kinds, *promised})
    if keep_contract:
        ensure_contract(pipeline, snapshot)
    return snapshot


def scoring_snapshot(
    pipeline: Pipeline, since: datetime | None = None, until: datetime | None = None
) -> Snapshot:
    """Read the rows to score: the file's scoring source, else its source.

    Parameters
    ----------
    since, until
        Only rows whose time lies in [since, until); None reads without that bound.
    """
    from tasks.data.loading import load_window
    from tasks.data.sources import column_names

    config = pipeline.config
    chosen = config.scoring.source or config.source
    available = column_names(chosen, pipeline.base)
    whole = config.model_copy(
        update={
            "source": chosen,
            "training": config.training.model_copy(update={"window": None}),
        }
    )
    readable = _readable(whole, available)
    if readable.time_column is None:
        since = until = None
    return load_window(
        readable,
        pipeline.base,
        pipeline.work / "scoring",
        forms=forms_of(known_contract(pipeline)),
        for_scoring=True,
        since=since,
        until=until,
    )


def newest_row(pipeline: Pipeline) -> datetime | None:
    """Return the greatest time among the rows to score, in UTC; None without a time column."""
    from tasks.data.sources import newest_time, read_source

    config = pipeline.config
    chosen, column = config.scoring.source or config.source, config.time_column
    if column is None:
        return None
    newest = newest_time(chosen, pipeline.base, column)
    if newest is None:
        read = read_source(chosen, pipeline.base, columns=[column], time_column=column)
        newest = read.latest
    return newest


def with_overrides(pipeline: Pipeline, input_path: str | None, output_path: str | None) -> Pipeline:
    """Return `pipeline` with another place to read rows to score from, or to write them to.

    Raises
    ------
    UsageError
        When the input does not exist or the output's format is not known.
    """
    scoring = pipeline.config.scoring
    if input_path is not None:
        source = input_source(Path(input_path), pipeline.config.source)
        scoring = scoring.model_copy(update={"source": source})
    if output_path is not None:
        scoring = scoring.model_copy(update={"sink": output_sink(Path(output_path))})
    config = pipeline.config.model_copy(update={"scoring": scoring})
    return replace(pipeline, config=config)


def output_sink(path: Path) -> Sink:
    """Return a file to write predictions to as a sink."""
    suffix = path.suffix.lower()
    if suffix not in {".parquet", ".csv"}:
        raise UsageError(
            f"Predictions are written as .parquet or .csv; got {path.name!r}.",
            "Name the output with one of these endings.",
        )
    absolute = str(path.absolute())
    if suffix == ".csv":
        return CsvSink(kind="csv", path=absolute)
    return ParquetSink(kind="parquet", path=absolute)


def input_source(path: Path, like: Source) -> Source:
    """Return a file to score as a source, read as the pipeline's own source of that kind is."""
    if not path.exists():
        raise UsageError(f"No such file or folder: {path}.")
    absolute = str(path.absolute())
    if path.is_dir() or path.suffix.lower() in {".parquet", ".pq"}:
        return ParquetSource(kind="parquet", path=absolute)
    if isinstance(like, CsvSource):
        return like.model_copy(update={"path": absolute})
    return CsvSource(kind="csv", path=absolute)


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
