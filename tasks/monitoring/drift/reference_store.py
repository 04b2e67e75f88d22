"""The reference of drift: a summary of the rows that a version was trained on, kept as a file."""

from __future__ import annotations

import io
import json
import logging
import zipfile
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tasks.base.arrays import spread
from tasks.base.errors import DataError
from tasks.base.runtime.files import changed_file, read_recorded, write_recorded
from tasks.base.runtime.libraries import pd
from tasks.base.text.durations import format_duration
from tasks.base.training_records import SNAPSHOT_TAG
from tasks.contracts.contract_files import forms_of, known_contract
from tasks.data.snapshots import open_table, read_frame, write_snapshot
from tasks.data.source_table import as_utc
from tasks.data.sources.source import read_source
from tasks.data.typing.storage import declared_forms, reading_kinds, writings
from tasks.monitoring.drift.column_summary import Summary
from tasks.monitoring.drift.compared_rows import Side
from tasks.monitoring.drift.reference_summary import (
    Reference,
    build_from_file,
    rows_up_to,
    times_in,
)
from tasks.plugins.features import with_features

if TYPE_CHECKING:
    from tasks.base.pipeline_file import Pipeline
    from tasks.base.training_records import ModelVersion, Schema

_LOGGER = logging.getLogger(__name__)
_FORMAT = 1
_ARRAYS = ("points", "at_most", "counts", "cells", "cell_nulls")
_DATA_TAG = "keepfit.data_digest"
_UNTIL_TAG = "keepfit.trained_until"
_READ_AGAIN: dict[tuple[str, str, str, str], Path] = {}  # a pass needs the rows several times


def save(reference: Reference, path: Path) -> None:
    """Write a reference, whole or not at all; no object is pickled."""
    about: dict[str, Any] = {
        "format": _FORMAT,
        **_plain(reference),
        "columns": [{"name": n, **_plain(column)} for n, column in reference.columns.items()],
    }
    arrays: dict[str, NDArray[Any]] = {
        "about": np.frombuffer(json.dumps(about).encode("ascii"), dtype=np.uint8),
        "cell_rows": reference.cell_rows,
    }
    for place, column in enumerate(reference.columns.values()):
        for name in _ARRAYS:
            arrays[f"{place}_{name}"] = getattr(column, name)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    write_recorded(path, buffer.getvalue())


def _plain(record: Reference | Summary) -> dict[str, Any]:
    """Return the fields that are no arrays."""
    values = {field.name: getattr(record, field.name) for field in fields(record)}
    return {n: value for n, value in values.items() if n not in ("columns", "cell_rows", *_ARRAYS)}


def load_reference(path: Path) -> Reference:
    """Return a reference that `save` wrote; DataError when damaged or of another version."""
    try:
        with np.load(io.BytesIO(read_recorded(path)), allow_pickle=False) as file:
            about = json.loads(file["about"].tobytes())
            if (stated := about.pop("format")) != _FORMAT:
                raise ValueError(f"format {stated}")
            columns = {
                column.pop("name"): Summary(
                    **{**column, "levels": tuple(column["levels"])},
                    **{name: file[f"{place}_{name}"] for name in _ARRAYS},
                )
                for place, column in enumerate(about["columns"])
            }
            return Reference(**{**about, "columns": columns}, cell_rows=file["cell_rows"])
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(
            f"{path}: the reference cannot be read ({type(error).__name__}: {error}).",
            "Remove the file: it is made anew.",
        ) from None


def reference_of(pipeline: Pipeline, champion: ModelVersion) -> Reference:
    """Return the reference of a version for the pipeline's monitored length; made once."""
    # Its rows are those of the snapshot that the version was trained on, up to the version's
    # training end. Where the snapshot is gone, they are read from the source again. Raises
    # DataError when no row of the training window is left anywhere.
    length = pipeline.config.monitoring.window
    digest = champion.tags.get(_DATA_TAG, "")
    until = champion.tags.get(_UNTIL_TAG, "")
    source = f"{champion.name} {champion.version} {champion.run_id} {digest} {until}"
    path = pipeline.work / "references" / f"v{int(champion.version)}-{format_duration(length)}.npz"
    if path.exists():
        try:
            known = load_reference(path)
        except DataError as error:
            _LOGGER.warning("%s", error)
        else:
            if known.source == source:
                return known
    roles = champion.roles
    made = build_from_file(
        _training_path(pipeline, champion, digest, until),
        roles.watched,
        roles.time_column,
        length,
        until=until,
        source=source,
    )
    if not made.rows:
        raise DataError(
            f"no row of the training of version {champion.version} is left.",
            "Train again: drift is measured against the rows of the training.",
        )
    save(made, path)
    return made


@dataclass(frozen=True)
class TrainingRows:
    """The rows that a version was trained on, as far as they are left; read when needed."""

    path: Path
    columns: tuple[str, ...]
    places: NDArray[np.int64] | None  # of the rows in the snapshot; None for all
    times: NDArray[np.datetime64] | None  # of the rows in UTC, shape (count,); None without times
    count: int
    original: bool  # whether of the training: read again, others may stand in their places

    def side(self, chosen: NDArray[np.int64]) -> Side:
        """Return the chosen rows, by their place among these."""
        at = chosen if self.places is None else self.places[chosen]
        times = None if self.times is None else self.times[chosen]
        return Side(read_frame(self.path, list(self.columns), at), times)


def training_rows(pipeline: Pipeline, champion: ModelVersion) -> TrainingRows:
    """Return the rows that a version was trained on, with all columns that a prediction needs."""
    roles = champion.roles
    until = champion.tags.get(_UNTIL_TAG, "")
    digest = champion.tags.get(_DATA_TAG, "")
    path = _training_path(pipeline, champion, digest, until)
    table = open_table(path)
    names = [*roles.features, *roles.id_columns, roles.time_column, roles.group]
    times = times_in(path, roles.time_column)
    places = rows_up_to(times, until)
    if times is not None and places is not None:
        times = times[places]
    return TrainingRows(
        path=path,
        columns=tuple(n for n in dict.fromkeys(names) if n and n in table.column_names),
        places=places,
        times=times,
        count=table.num_rows if places is None else len(places),
        original=bool(digest) and path.name.startswith(digest),
    )


def reference_rows(pipeline: Pipeline, champion: ModelVersion, most: int) -> pd.DataFrame:
    """Return up to `most` of a version's training rows, evenly spread: for pictures, no counts."""
    rows = training_rows(pipeline, champion)
    frame = rows.side(spread(rows.count, most)).frame
    return frame[[name for name in champion.roles.watched if name in frame.columns]]


def _training_path(pipeline: Pipeline, champion: ModelVersion, digest: str, until: str) -> Path:
    folder = pipeline.work / "data"
    if len(digest) >= 16 and digest.isalnum():
        recorded = champion.tags.get(SNAPSHOT_TAG, "")
        found = [
            path
            for path in sorted(folder.glob(f"{digest}*.arrow"))
            if not recorded or not changed_file(folder, {path.name: recorded})
        ]
        if found:
            return found[0]
    key = (str(folder), champion.version, champion.run_id, until)
    if key not in _READ_AGAIN or not _READ_AGAIN[key].is_file():
        _LOGGER.warning(
            "version %s: the snapshot it was trained on is gone or changed; its rows are read from "
            "the source",
            champion.version,
        )
        _READ_AGAIN[key] = _read_again(pipeline, champion.roles, until, folder)
    return _READ_AGAIN[key]


def _read_again(pipeline: Pipeline, roles: Schema, until: str, folder: Path) -> Path:
    """Return a snapshot of the training window's rows as the source has them now."""
    config = pipeline.config
    kinds = roles.watched
    # A prediction needs them too.
    named = [*roles.id_columns, *([roles.group] if roles.group else [])]
    kinds |= {name: "identifier" for name in named if name not in kinds}
    start = end = None
    if roles.time_column is not None:
        kinds[roles.time_column] = "datetime"
        if until:
            end = as_utc(datetime.fromisoformat(until.partition(" ")[0])) + timedelta(
                microseconds=1
            )
            start = None if config.training.window is None else end - config.training.window
    forms = declared_forms(kinds, forms_of(known_contract(pipeline)))
    read = read_source(
        config.source,
        pipeline.base,
        columns=None if config.hooks.features else list(kinds),
        time_column=roles.time_column,
        start=start,
        end=end,
        expected=reading_kinds(forms),
        written=writings(forms),
    )
    table = with_features(read.table, config, pipeline.base)
    kinds = {name: kinds[name] for name in table.column_names if name in kinds}
    table = table.select(list(kinds))
    snapshot = write_snapshot(
        table, kinds, folder, time_column=roles.time_column, assumptions=read.assumptions,
        storage={name: form.storage for name, form in forms.items()},
    )  # fmt: skip
    return Path(snapshot.path)
