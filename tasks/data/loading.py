"""The window of a pipeline: read, given kinds, and kept as a snapshot."""

from __future__ import annotations

import hashlib
import json
import logging
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import astuple, dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tasks.base.config import PipelineConfig
from tasks.base.errors import DataError
from tasks.base.runtime.files import changed_file, read_recorded, write_recorded
from tasks.base.runtime.libraries import pa
from tasks.base.settings.section import plain
from tasks.base.settings.sources import CsvSource, Source
from tasks.base.source_notes import UnreadColumn
from tasks.base.text.phrases import plural
from tasks.base.training_records import Kind, Snapshot
from tasks.base.utc_times import latest_believed
from tasks.data.column_kinds import infer_kinds
from tasks.data.label_spellings import with_joined_labels
from tasks.data.snapshots import write_snapshot
from tasks.data.source_table import SourceTable, absent_column, as_utc, time_range, within
from tasks.data.sources.source import column_names, fingerprint, newest_time, read_source
from tasks.data.time_columns import declared_times
from tasks.data.typing.storage import (
    ColumnForm,
    declared_forms,
    reading_kinds,
    storage_of,
    stored,
    writings,
)
from tasks.plugins.features import given_table, hooks_identity, with_features

# Raise it when the same source would give another snapshot than before.
_FORMAT = 3
_LOGGER = logging.getLogger(__name__)
_TICK = timedelta(microseconds=1)


@dataclass(frozen=True)
class _Wanted:
    """Source, columns and rows to read."""

    config: PipelineConfig
    source: Source
    base: Path
    window: timedelta | None
    for_scoring: bool
    forms: Mapping[str, ColumnForm]
    since: datetime | None = None
    until: datetime | None = None
    scratch: Path | None = None

    @property
    def bounded(self) -> bool:
        """Whether rows of a stated range of time are wanted, however few they are."""
        return self.since is not None or self.until is not None


def load_window(
    config: PipelineConfig,
    base: Path,
    folder: Path,
    *,
    forms: Mapping[str, ColumnForm] | None = None,
    for_scoring: bool = False,
    fresh: bool = False,
    since: datetime | None = None,
    until: datetime | None = None,
) -> Snapshot:
    """Read a pipeline's rows into a snapshot; unchanged ones are not read again unless `fresh`."""
    # Training reads the newest `training.window` of the rows. Scoring reads all rows of the scoring
    # source whose time lies in [since, until), maybe none, and does without the target. Of the
    # excluded columns training reads those that it is evaluated by, and nothing else does. The
    # kinds that the configuration states, and the `forms` of an earlier reading, decide how cells
    # are read. `folder` keeps the snapshots and the record of the last reading.
    known_forms = declared_forms(config.kinds, forms or {}) | spelled_target(config)
    source = (for_scoring and config.scoring.source) or config.source
    window = None if for_scoring else config.training.window
    bounds = (since, until, folder)
    wanted = _Wanted(config, source, base, window, for_scoring, known_forms, *bounds)
    record = _record(wanted, folder)
    if record is not None and not fresh and (known := _known(record)) is not None:
        return known
    snapshot = _read(wanted, folder)
    if record is not None:
        write_recorded(record, snapshot.model_dump_json().encode())
    return snapshot


def spelled_target(config: PipelineConfig) -> dict[str, ColumnForm]:
    """Return the target's type where `labels` join its spellings: as it is written."""
    return {config.target: ColumnForm("categorical", "text")} if config.labels else {}


def _columns(wanted: _Wanted) -> tuple[str, ...]:
    """Return the columns to read, once those that the configuration names are there."""
    config = wanted.config
    names = column_names(wanted.source, wanted.base)
    needed = {
        "time_column": (config.time_column,) if config.time_column else (),
        "id_columns": config.id_columns,
        "group": (config.group,) if config.group else (),
    }
    if not wanted.for_scoring:
        needed["target"] = (config.target,)
        needed["item"] = (config.item,) if config.item else ()
        needed["exclude"] = config.exclude
        needed["kinds"] = tuple(config.kinds)
    for role, columns in needed.items():
        for column in columns:
            if column not in names:
                raise absent_column(role, column, names, "source")
    aside = () if wanted.for_scoring else config.aside
    return tuple(name for name in names if name not in config.exclude or name in aside)


def _record(wanted: _Wanted, folder: Path) -> Path | None:
    """Return the file that remembers this reading; None where the source has no identity."""
    identity = fingerprint(wanted.source, wanted.base)
    if identity is None:
        return None
    config = wanted.config
    parts = {
        "format": _FORMAT,
        "fingerprint": identity,
        "source": plain(wanted.source),
        "exclude": config.exclude,
        **({"aside": config.aside} if config.aside and not wanted.for_scoring else {}),
        "for_scoring": wanted.for_scoring,
        "target": config.target,
        "time_column": config.time_column,
        "id_columns": config.id_columns,
        "kinds": dict(config.kinds),
        "forms": {name: astuple(form) for name, form in wanted.forms.items()},
        **({"labels": config.labels} if config.labels else {}),
        "since": wanted.since,
        "until": wanted.until,
        "window": None if wanted.window is None else wanted.window.total_seconds(),
    }
    if config.hooks.features is not None:
        parts["hooks"] = f"{hooks_identity(config.hooks, wanted.base)} given"
    key = hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()
    return folder / f"read-{key[:32]}.json"


def _known(record: Path) -> Snapshot | None:
    try:
        snapshot = Snapshot.model_validate_json(read_recorded(record))
    except (OSError, ValueError):
        return None
    path = Path(snapshot.path)
    if changed_file(path.parent, {path.name: snapshot.file_digest}) is not None:
        if path.is_file() and snapshot.file_digest:
            _LOGGER.warning("%s is not the snapshot that was kept; the source is read again", path)
        return None
    return snapshot.model_copy(update={"cached": True})


def _read(wanted: _Wanted, folder: Path) -> Snapshot:
    config = wanted.config
    read = _window(wanted, _columns(wanted))
    _check_readable(read, config)
    declared = reading_kinds(wanted.forms)
    table, assumptions = declared_times(read.table, declared), list(read.assumptions)
    table, notes = with_joined_labels(table, config.target, config.labels)
    given = ""
    if config.hooks.features is not None and (table.num_rows or not wanted.for_scoring):
        schema = given_table(table, config).schema.remove_metadata()
        given = b64encode(schema.serialize()).decode("ascii")
        table = with_features(table, config, wanted.base)
    if config.time_column is not None:
        later = within(table, config.time_column, latest_believed(datetime.now(UTC)), None)
        if later.num_rows:
            lie = "lies" if later.num_rows == 1 else "lie"
            rows = plural(later.num_rows, "row")
            assumptions.append(f"{config.time_column}: {rows} {lie} in the future")
    overrides = {
        name: form.kind
        for name, form in wanted.forms.items()
        # What never varied may vary by now; a training looks again, unless the file states it.
        if name in table.column_names
        and (wanted.for_scoring or form.kind != "constant" or name in config.kinds)
    }
    kinds, assumed = infer_kinds(
        table,
        overrides,
        target=config.target,
        time_column=config.time_column,
        id_columns=config.id_columns,
    )
    words = [n for n in read.rewritten if _kept_as_text(table, n, kinds, wanted)]
    if words:
        # As at any later reading, when the column is known as text: cell for cell as written.
        texts = {name: ColumnForm(kinds[name], "text") for name in words}
        return _read(replace(wanted, forms={**wanted.forms, **texts}), folder)
    snapshot = write_snapshot(
        table,
        kinds,
        folder,
        time_column=config.time_column,
        assumptions=(*assumptions, *assumed),
        findings=(*read.findings, *notes),
        written=read.written,
        storage={name: form.storage for name, form in wanted.forms.items()},
    )
    del table, read
    # Arrow keeps what it freed for later; nothing as large comes again in this process.
    pa.default_memory_pool().release_unused()
    return snapshot.model_copy(update={"given": given})


def _check_readable(read: SourceTable, config: PipelineConfig) -> None:
    """Refuse a column that has a part to play and cells of which nothing can be made."""
    roles = {
        "target": (config.target,),
        "time_column": (config.time_column,),
        "id_columns": config.id_columns,
        "group": (config.group,),
        "item": (config.item,),
        "split.group": (config.split.group,),
        "kinds": tuple(config.kinds),
    }
    unread = {note.column: note.stored for note in read.findings if isinstance(note, UnreadColumn)}
    for role, columns in roles.items():
        for column in columns:
            if column in unread:
                raise DataError(
                    f"column {column!r}, which `{role}` names, is {unread[column]}: neither "
                    "numbers nor text nor times.",
                    "Flatten it into such columns before, or name another one.",
                )


def _kept_as_text(table: Any, name: str, kinds: Mapping[str, Kind], wanted: _Wanted) -> bool:
    if name in wanted.forms or name not in table.column_names:
        return False
    return storage_of(stored(table[name], kinds[name])) == "text"


def _window(wanted: _Wanted, columns: tuple[str, ...]) -> SourceTable:
    """Read the newest window: its end is the newest time that is believed."""
    if wanted.bounded:
        return _rows(wanted, columns, wanted.since, wanted.until)
    time_column, now = wanted.config.time_column, latest_believed(datetime.now(UTC))
    if time_column is None or wanted.window is None:
        return _rows(wanted, columns)
    latest = newest_time(wanted.source, wanted.base, time_column)
    if latest is not None and as_utc(latest) <= now:
        return _filled(
            _rows(wanted, columns, latest - wanted.window + _TICK, latest + _TICK), wanted
        )
    read = _rows(wanted, columns)
    past = within(read.table, time_column, None, now)
    latest = time_range((past if past.num_rows else read.table)[time_column])[1]
    if latest is None:
        raise DataError(
            f"the time column {time_column!r} has no value.", "Name another time_column."
        )
    start, end = latest - wanted.window + _TICK, latest + _TICK
    later = read.table.num_rows - within(read.table, time_column, None, end).num_rows
    assumptions = read.assumptions
    if later and past.num_rows:
        assumptions += (
            f"{later:,} rows lie after {latest:%Y-%m-%d %H:%M} UTC, or have no time, and are "
            "not read",
        )
    table = within(read.table, time_column, start, end)
    return _filled(replace(read, table=table, assumptions=assumptions, latest=latest), wanted)


def _rows(
    wanted: _Wanted,
    columns: tuple[str, ...],
    start: datetime | None = None,
    end: datetime | None = None,
) -> SourceTable:
    return read_source(
        wanted.source,
        wanted.base,
        columns=columns,
        time_column=wanted.config.time_column,
        start=start,
        end=end,
        expected=reading_kinds(wanted.forms),
        written=writings(wanted.forms),
        may_be_empty=wanted.for_scoring,
        scratch=wanted.scratch,
    )


def _filled(read: SourceTable, wanted: _Wanted) -> SourceTable:
    if not read.table.num_rows:
        raise DataError(
            f"no row lies in the training window ({wanted.config.training.window}).",
            "Write a longer training.window.",
        )
    return read


def stated_options(source: Source, base: Path) -> dict[str, Any]:
    """Return the options that reading a CSV source found out, as its file would state them."""
    if not isinstance(source, CsvSource):
        return {}
    return dict(read_source(source, base).detected)
