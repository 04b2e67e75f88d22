"""Kind and role of each column."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tasks.base.arrays import Array, Mask
from tasks.base.config import PipelineConfig
from tasks.base.errors import DataError
from tasks.base.runtime.libraries import pa, pc, pd
from tasks.base.text.phrases import listed
from tasks.base.training_records import Kind, Schema, Snapshot
from tasks.data.leaks import suspicions, twins
from tasks.data.ranking_groups import check_groups
from tasks.data.snapshots import open_table
from tasks.data.source_table import absent_column
from tasks.data.targets import labels_of, task_of
from tasks.data.typing.numbers import PLAIN
from tasks.data.typing.storage import READ_AS, storage_of

_ID_NAME = re.compile(
    r"(?:^|[_\s.-])(?:id|uuid|guid)$|^(?:row|record)[_ ]?(?:no|nr|num|number)$|[a-z](?:ID|Id)$"
)
_ID_WORD = re.compile(r"^(?:id|uuid|guid|.*[_\s.-]id)$", re.IGNORECASE)
_COUNTING_ROWS = 20  # fewer rows may count up by chance
_UNIQUE_SHARE = 0.95
_TEXT_SHARE = 0.5
_SAMPLE = 2000


def infer_kinds(
    table: Any,
    overrides: Mapping[str, Kind],
    *,
    target: str | None = None,
    time_column: str | None = None,
    id_columns: Sequence[str] = (),
) -> tuple[dict[str, Kind], tuple[str, ...]]:
    """Return the kind of every column, and what was assumed."""
    # Text with few distinct values for its rows is categorical; nearly unique short words are an
    # identifier; long phrases are text. Unique whole numbers that count the rows, or are called
    # like an id, are an identifier. A column with one value and no null, or without any value, is
    # constant. `overrides` decide over all of it; the target is never an identifier.
    names = list(table.column_names)
    for name in overrides:
        if name not in names:
            raise absent_column("kinds", name, names, "table")
    kinds: dict[str, Kind] = {}
    labels: list[str] = []
    for position, name in enumerate(names):
        column = table[position]
        if name in overrides:
            kinds[name] = overrides[name]
        elif name in id_columns:
            kinds[name] = "identifier"
        else:
            kinds[name] = _kind(column, name, is_target=name == target)
            if pa.types.is_integer(column.type) and kinds[name] == "categorical":
                labels.append(name)
    if time_column is not None and pa.types.is_timestamp(table[time_column].type):
        kinds[time_column] = "datetime"
    note = (
        f"{listed(labels)}: whole numbers called like an id, taken as categories "
        "(`kinds: {column: numeric}` changes it)"
    )
    return kinds, (note,) if labels else ()


def _kind(column: Any, name: str, *, is_target: bool) -> Kind:
    if is_target:
        return READ_AS[storage_of(column)]
    if _constant(column):
        return "constant"
    if pa.types.is_integer(column.type):
        return _kind_of_integers(column, name)
    if pa.types.is_string(column.type):
        return _kind_of_text(column)
    return READ_AS[storage_of(column)]


def _constant(column: Any) -> bool:
    if column.null_count or not len(column):
        return bool(column.null_count == len(column))
    # Most columns vary within a few rows.
    return all(pc.all(pc.equal(part, column[0])).as_py() for part in (column[:100], column))


def _kind_of_integers(column: Any, name: str) -> Kind:
    named = bool(_ID_NAME.search(name) or _ID_WORD.match(name))
    if not named and (len(column) < _COUNTING_ROWS or not _counts_up(column[:100])):
        return "numeric"
    if _counts_up(column) and (named or len(column) >= _COUNTING_ROWS):
        return "identifier"
    if not named:
        return "numeric"
    distinct = pc.count_distinct(column, mode="only_valid").as_py()
    return "identifier" if distinct == len(column) - column.null_count else "categorical"


def _counts_up(column: Any) -> bool:
    if column.null_count or len(column) < 2:
        return False
    return bool((np.diff(column.to_numpy()) == 1).all())


def _kind_of_text(column: Any) -> Kind:
    rows = len(column) - column.null_count
    sample = column.drop_null()[:_SAMPLE]
    # Where many rows share values at the start, the whole cannot be nearly unique.
    if rows > 4 * _SAMPLE and pc.count_distinct(sample).as_py() < _TEXT_SHARE * len(sample) / 2:
        return "categorical" if not _phrases(sample) else _by_share(column, rows, sample)
    return _by_share(column, rows, sample)


def _by_share(column: Any, rows: int, sample: Any) -> Kind:
    distinct = pc.count_distinct(column, mode="only_valid").as_py()
    share = distinct / rows
    if distinct <= 20 and rows < 50:
        # Too few rows to distinguish a category from a name; ten of ten may still repeat later.
        named = rows >= _COUNTING_ROWS / 2 and share == 1 and not _phrases(sample)
        return "identifier" if named else "categorical"
    if share >= _TEXT_SHARE and _phrases(sample):
        return "text"
    return "identifier" if share >= _UNIQUE_SHARE else "categorical"


def _phrases(sample: Any) -> bool:
    """Return whether cells are phrases: three words or more, or very long, on average."""
    words = pc.mean(pc.count_substring_regex(pc.utf8_trim_whitespace(sample), r"\s+")).as_py() or 0
    return bool(words >= 1.5 or (pc.mean(pc.utf8_length(sample)).as_py() or 0) > 100)


def build_schema(snapshot: Snapshot, config: PipelineConfig) -> Schema:
    """Return which column plays which part, and the task that the target gives."""
    # Raises ConfigError for a column, task or label that the table lacks, and DataError where the
    # target can't be learned: no value, one class, too many classes.
    table = open_table(snapshot.path)
    _check_names(config, list(snapshot.kinds))
    judged = task_of(open_table(snapshot.path, [config.target])[config.target], config)
    features, dropped = _features(snapshot, config, table)
    _check_declared(table, features)
    if not features:
        raise DataError(
            "no column is left to predict from.",
            f"Not used: {listed([f'{n} ({why})' for n, why in dropped.items()], 6)}.",
        )
    if config.group is not None:
        check_groups(table[config.group], config.group)
    leaks = suspicions(table, features, config.target, judged, config.time_column)
    return Schema(
        target=config.target,
        task=judged.task,
        features=features,
        classes=judged.classes,
        positive=judged.positive,
        time_column=config.time_column,
        id_columns=config.id_columns,
        aside=config.aside,
        dropped=dropped,
        leaks=leaks,
        assumptions=(*judged.assumptions, *leaks.values(), *twins(table, features)),
        group=config.group,
        item=config.item,
        twins=judged.twins,
        grades=judged.grades,
        relevant=judged.relevant,
    )


def _check_names(config: PipelineConfig, names: list[str]) -> None:
    roles = (
        ("target", (config.target,)),
        ("time_column", (config.time_column,) if config.time_column else ()),
        ("id_columns", config.id_columns),
        ("group", (config.group,) if config.group else ()),
        ("item", (config.item,) if config.item else ()),
        ("kinds", tuple(c for c in config.kinds if c not in config.exclude)),
    )
    for role, columns in roles:
        for column in columns:
            if column not in names:
                raise absent_column(role, column, names, "table")


def _features(
    snapshot: Snapshot, config: PipelineConfig, table: Any
) -> tuple[dict[str, Kind], dict[str, str]]:
    features: dict[str, Kind] = {}
    dropped: dict[str, str] = dict.fromkeys(config.exclude, "excluded by the pipeline file")
    for name, kind in snapshot.kinds.items():
        if name == config.target or name in config.exclude:
            continue
        if name in (config.group, config.item):
            dropped[name] = "names what is ranked" if name == config.item else "what is ranked in"
        elif name in config.id_columns:
            dropped[name] = "names the rows"
        elif name == config.split.group:
            dropped[name] = "keeps rows together (split.group)"
        elif kind == "identifier":
            dropped[name] = "an identifier: nearly every row has its own value"
        elif kind == "constant":
            empty = table[name].null_count == table.num_rows
            dropped[name] = "no value in any row" if empty else "the same in every row"
        else:
            features[name] = kind
    return features, dropped


def _check_declared(table: Any, features: Mapping[str, Kind]) -> None:
    """Refuse a column declared as numbers or times that holds something else."""
    for name, kind in features.items():
        column = table[name]
        if not _suits(column.type, kind):
            raise DataError(
                f"column {name!r} is declared {kind} and holds {_first_misfit(column, kind)!r}.",
                "Fix the cells, list them in source.null_values, or change `kinds`.",
            )


def _suits(stored: Any, kind: Kind) -> bool:
    if kind == "datetime":
        return bool(pa.types.is_timestamp(stored))
    if kind in ("numeric", "boolean"):
        return not (pa.types.is_string(stored) or pa.types.is_timestamp(stored))
    return True


def _first_misfit(column: Any, kind: Kind) -> str:
    cells = column.drop_null()
    if kind == "numeric" and pa.types.is_string(column.type):
        odd = cells.filter(pc.invert(pc.match_substring_regex(cells, PLAIN.pattern)))
        cells = odd if len(odd) else cells
    return str(cells[0].as_py())[:40] if len(cells) else ""


def target_values(frame: pd.DataFrame, schema: Schema) -> tuple[Array, Mask]:
    """Return the usable targets, shape (n_kept,), and the mask of their rows, shape (n_rows,)."""
    # Targets are float64 for regression, else booleans, int64 or text; usable means present, finite
    # and of a known class.
    column = pa.chunked_array([pa.array(frame[schema.target], from_pandas=True)])
    return labels_of(column, schema)
