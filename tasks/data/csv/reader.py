"""CSV files: names, lines and cells, read as text by pyarrow and then given types."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tasks.base.errors import DataError, SourceError
from tasks.base.runtime.libraries import arrow_csv, pa, pc
from tasks.base.settings.sources import CsvSource
from tasks.base.source_notes import ReadingNote, SeveralUnits, SkippedLines
from tasks.base.text.phrases import listed
from tasks.base.training_records import Kind
from tasks.data.csv import dialect, repair
from tasks.data.csv.dialect import NO_DELIMITER, Survey
from tasks.data.csv.preamble import Preamble, below, find_preamble, skipped, stated_separator
from tasks.data.files.file_columns import changed_columns
from tasks.data.files.paths import check_size, files_of
from tasks.data.source_table import SourceTable, nearest
from tasks.data.typing.amounts import UnitError, units_of
from tasks.data.typing.inference import Typing
from tasks.data.typing.text_rules import TextRules

_BLOCK = 1 << 24
_SPACES = " \t\u00a0\u2007\u202f\ufeff"
_LINE_SPACES = "\n\r\f\v"


@dataclass(frozen=True)
class _Layout:
    """One file: how it is divided and what its columns are called."""

    path: Path
    survey: Survey
    delimiter: str
    names: tuple[str, ...]
    unnamed: tuple[str, ...]  # those of `names` that columns without a name got
    preamble: Preamble
    notes: tuple[str, ...]
    detected: dict[str, Any]

    @property
    def skipped(self) -> tuple[ReadingNote, ...]:
        """The note on lines above the header, where any holds something."""
        if not self.preamble.sample:
            return ()
        lines, sample = self.preamble.lines, self.preamble.sample
        return (SkippedLines(file=self.path.name, where="above", lines=lines, sample=sample),)


def csv_columns(source: CsvSource, base: Path) -> tuple[str, ...]:
    """Return the column names of `source`, made unique; columns without a name included."""
    return _united([_layout(path, source) for path in files_of(source, base)])


def read_csv(
    source: CsvSource,
    base: Path,
    *,
    columns: Sequence[str] | None = None,
    expected: Mapping[str, Kind] | None = None,
    written: Mapping[str, str] | None = None,
    may_be_empty: bool = False,
) -> SourceTable:
    """Read all rows of `source`; a header without rows is an error unless it `may_be_empty`."""
    files = files_of(source, base)
    check_size(files, source.max_bytes)
    layouts = [_layout(path, source) for path in files]
    order = _united(layouts)
    _check_formats(source, order)
    notes = [note for layout in layouts for note in layout.notes]
    findings: list[ReadingNote] = []
    parts = [_in_order(_text(layout, notes, findings), order) for layout in layouts]
    findings.extend(changed_columns([(layout.path.name, layout.names) for layout in layouts]))
    texts = pa.concat_tables(parts)
    del parts
    where = files[0].name if len(files) == 1 else source.path
    if texts.num_rows:
        texts = _tidy(texts, layouts, notes, may_be_empty=may_be_empty)
    elif not may_be_empty:
        raise DataError(
            f"{where}: a header and no row.", "Name a file with at least one line of values."
        )
    notes.extend(
        f"{layout.path.name}: columns without a name were named by position: {listed(kept)}"
        for layout in layouts
        if (kept := [name for name in layout.unnamed if name in texts.column_names])
    )
    stated = (source.decimal, source.thousands, source.null_values, source.date_formats)
    typing = Typing(TextRules(*stated, layouts[0].delimiter), expected, written)
    # Every column of the file is evidence, whichever of them are requested.
    typing.settle_decimal(dict(zip(texts.column_names, texts.columns, strict=True)))
    if columns is not None:
        texts = texts.select([name for name in texts.column_names if name in set(columns)])
    cells = dict(zip(texts.column_names, texts.columns, strict=True))
    del texts
    try:
        table = _trimmed(typing.columns(cells), notes)
    except UnitError as error:
        at_fault = _units_by_file(layouts, error.column, typing.rules).get(error.found, "")
        raise UnitError(error.column, error.found, error.known, at_fault) from None
    detected = {**layouts[0].detected, **typing.detected}
    texts = (*notes, *typing.notes.sentences())
    for note in typing.findings:
        if isinstance(note, SeveralUnits) and len(layouts) > 1:
            among = _units_by_file(layouts, note.column, typing.rules)
            note = note.model_copy(update={"files": among})
        findings.append(note)
    return SourceTable(
        table, texts, None, detected, tuple(findings), frozenset(typing.rewritten), typing.written
    )


def _units_by_file(layouts: Sequence[_Layout], column: str, rules: TextRules) -> dict[str, str]:
    """Return each unit of a column of amounts, and the first file that holds it."""
    found: dict[str, str] = {}
    for layout in layouts:
        if column in layout.names:
            cells = _text(layout, [], [])[column]
            for unit in units_of(cells, rules.missing):
                found.setdefault(unit, layout.path.name)
    return found


def _layout(path: Path, source: CsvSource) -> _Layout:
    survey = dialect.survey(path, source.max_bytes, source.encoding)
    notes, detected = [], {}
    if survey.guessed:
        detected["encoding"] = survey.encoding
        notes.append(
            f"{path.name}: not UTF-8; read as {survey.encoding} (`source.encoding` changes it)"
        )
    preamble, delimiter = _preamble(survey.sample, source)
    if source.delimiter is None and delimiter not in (",", NO_DELIMITER):
        detected["delimiter"] = delimiter
    rest = below(survey.sample, preamble.lines)
    blank, fields = dialect.header_of(rest, delimiter)
    preamble = replace(preamble, lines=preamble.lines + blank)
    header = [name.strip() for name in fields]
    if not header:
        raise SourceError(f"{path.name}: no line of names.", "Name a file with a header line.")
    names, renamed = unique_names(header)
    notes.extend(f"{path.name}: {sentence}" for sentence in renamed)
    unnamed = tuple(new for name, new in zip(header, names, strict=True) if not name)
    return _Layout(path, survey, delimiter, names, unnamed, preamble, tuple(notes), detected)


def _preamble(sample: str, source: CsvSource) -> tuple[Preamble, str]:
    """Return the lines above the header, and the delimiter: a file's own ``sep=`` decides."""
    if source.skip_rows is None:
        own = stated_separator(sample) or source.delimiter
        delimiter = own or dialect.detect_delimiter(sample)
        return find_preamble(sample, delimiter), delimiter
    preamble = skipped(sample, source.skip_rows)
    own = preamble.delimiter or source.delimiter
    return preamble, own or dialect.detect_delimiter(below(sample, preamble.lines))


def unique_names(header: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return unique column names for `header`, and sentences on what was changed.

    >>> unique_names(["a", "a", ""])[0]
    ('a', 'a_2', 'column_3')
    """
    taken = set(header)
    names: list[str] = []
    twice: list[str] = []
    for position, name in enumerate(header, start=1):
        if name and name not in names:
            names.append(name)
            continue
        stem, number = (name, 2) if name else (f"column_{position}", 1)
        new = f"{stem}_{number}" if name else stem
        while new in taken or new in names:
            number += 1
            new = f"{stem}_{number}"
        names.append(new)
        if name:
            twice.append(new)
    renamed = []
    if twice:
        renamed.append(f"names that stand twice were numbered: {listed(twice)}")
    if all(_is_number(name) for name in header):
        renamed.append("the first line holds only numbers and was taken as the column names")
    return tuple(names), tuple(renamed)


def _is_number(name: str) -> bool:
    try:
        float(name)
    except ValueError:
        return False
    return True


def _united(layouts: Sequence[_Layout]) -> tuple[str, ...]:
    """Return the columns of all files, those of the first file first."""
    return tuple(dict.fromkeys(name for layout in layouts for name in layout.names))


def _in_order(table: Any, order: Sequence[str]) -> Any:
    """Return a file's cells with a column for each name, null where it has none."""
    for name in order:
        if name not in table.column_names:
            table = table.append_column(name, pa.nulls(table.num_rows, pa.string()))
    return table.select(list(order))


def _check_formats(source: CsvSource, names: Sequence[str]) -> None:
    for name in source.date_formats:
        if name not in names:
            near = nearest(name, tuple(names))
            raise SourceError(
                f"source.date_formats names {name!r}, which the file lacks"
                f"{f'; nearest: {near}' if near else ''}.",
                f"The columns: {listed(list(names), 12)}.",
            )


def _text(layout: _Layout, notes: list[str], findings: list[ReadingNote]) -> Any:
    survey, path = layout.survey, layout.path
    findings.extend(layout.skipped)
    try:
        with dialect.open_bytes(path) as handle:
            table = _parse(handle, survey.encoding, layout)
    except pa.ArrowInvalid:
        table = _mended(layout, notes, findings)
    except UnicodeError as error:
        raise SourceError(
            f"{path.name}: not text in {survey.encoding} ({error}).",
            "State the right source.encoding, or leave it out to have it detected.",
        ) from None
    # Blank lines, or a field that holds line ends: the latter may be a quote left open.
    above = layout.preamble.lines
    if survey.quotes and survey.lines > table.num_rows + above + 1:
        repair.check_quotes(path, survey.encoding, layout.delimiter, above)
    return table


def _mended(layout: _Layout, notes: list[str], findings: list[ReadingNote]) -> Any:
    path, encoding = layout.path, layout.survey.encoding
    try:
        with repair.mended(
            path, encoding, layout.delimiter, len(layout.names), layout.preamble.lines
        ) as (file, note, found):
            table = _parse(file, "utf-8", layout, above=0)
    except pa.ArrowInvalid as error:
        raise SourceError(f"{path.name}: cannot be read: {error}.") from None
    if note:
        notes.append(note)
    findings.extend(found)
    return table


def _parse(handle: Any, encoding: str, layout: _Layout, above: int | None = None) -> Any:
    names = layout.names
    return arrow_csv.read_csv(
        handle,
        read_options=arrow_csv.ReadOptions(
            column_names=names,
            skip_rows=layout.preamble.lines if above is None else above,
            skip_rows_after_names=1,
            block_size=min(_BLOCK, max(layout.survey.size * 4 + 1024, 1 << 16)),
            encoding="utf-8" if encoding == "utf-8-sig" else encoding,
        ),
        parse_options=arrow_csv.ParseOptions(
            delimiter=layout.delimiter, newlines_in_values=True, ignore_empty_lines=len(names) > 1
        ),
        convert_options=arrow_csv.ConvertOptions(
            column_types=dict.fromkeys(names, pa.string()),
            null_values=[""],
            strings_can_be_null=True,
        ),
    )


def _tidy(table: Any, layouts: list[_Layout], notes: list[str], *, may_be_empty: bool) -> Any:
    table = _without_empty_end(table, notes, may_be_empty=may_be_empty)
    if not table.num_rows:
        return table
    nameless, dropped = list(layouts[0].unnamed), []
    while nameless and table.column_names[-1] == nameless[-1] and _blank(table[-1]):
        dropped.append(nameless.pop())
        table = table.drop_columns(dropped[-1])
    if dropped:
        notes.append(f"{len(dropped)} empty columns without a name at the end were dropped")
    first = table.column_names[0]
    if table.num_columns > 1 and (first in nameless or first == "Unnamed: 0"):
        table = _without_index(table, first, notes)
    return table


def _trimmed(table: Any, notes: list[str]) -> Any:
    """Return `table` without space around its texts; what holds nothing else is null."""
    names = []
    for position, (name, column) in enumerate(zip(table.column_names, table.columns, strict=True)):
        if pa.types.is_string(column.type):
            trimmed = pc.utf8_trim(column, characters=_SPACES)
            if not trimmed.equals(column):
                names.append(name)
                none = pa.scalar(None, pa.string())
                trimmed = pc.if_else(pc.equal(trimmed, ""), none, trimmed)
                table = table.set_column(position, name, trimmed)
    if names:
        notes.append(f"{listed(names)}: space around text was removed")
    return table


def _blank(column: Any) -> bool:
    return bool(pc.all(_blank_cells(column)).as_py())


def _blank_cells(column: Any) -> Any:
    """Return which cells hold nothing, or nothing but space, non-breaking space included."""
    trimmed = pc.utf8_trim(column, characters=_SPACES + _LINE_SPACES)
    return pc.equal(pc.fill_null(trimmed, ""), "")


def _without_empty_end(table: Any, notes: list[str], *, may_be_empty: bool) -> Any:
    rows, step = table.num_rows, 1
    # Look at ever longer ends: a file without empty rows costs one look at its last row.
    while step < 2 * rows and all(_blank(c) for c in table.slice(max(rows - step, 0)).columns):
        step *= 2
    end = table.slice(max(rows - step, 0))
    blank = functools.reduce(pc.and_, map(_blank_cells, end.columns))
    empty = sum(1 for _ in itertools.takewhile(bool, reversed(blank.to_pylist())))
    if not empty:
        return table
    if empty == rows and not may_be_empty:
        raise DataError("every row is empty.", "Name a file with at least one line of values.")
    notes.append(f"{empty:,} empty rows at the end were dropped")
    return table.slice(0, rows - empty)


def _without_index(table: Any, name: str, notes: list[str]) -> Any:
    try:
        numbers = table[0].cast(pa.int64())
    except pa.ArrowInvalid:
        return table
    start = numbers[0].as_py()
    counting = pa.array(range(start or 0, (start or 0) + len(numbers)))
    if start not in (0, 1) or len(numbers) < 2 or not numbers.combine_chunks().equals(counting):
        return table
    notes.append("the first column counts the rows and was dropped")
    return table.drop_columns(name)
