"""Rows of files that lack a column which the others have: their absent cells are no missing values.

A column is absent in a file where somebody renamed it, or where an export lost it. Read beside
complete files its cells are null, and a share of nulls over all rows can hide a whole file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tasks.base.pipeline_file import Pipeline
from tasks.base.settings.sources import CsvSource, ParquetSource
from tasks.base.source_notes import ChangedColumns
from tasks.base.training_records import ContractResult, ModelVersion, RuleResult, Snapshot
from tasks.contracts.contract_files import known_contract
from tasks.data.files.paths import files_of
from tasks.data.row_hashes import among, row_hashes
from tasks.data.snapshots import open_table
from tasks.training.row_windows import scoring_snapshot

if TYPE_CHECKING:
    from expectations.contract import Contract

Mask = NDArray[np.bool_]
_TICK = timedelta(microseconds=1)
_MOST_NAMED = 3


@dataclass(frozen=True)
class Lacking:
    """Rows to score from files without a column."""

    rows: Mask  # which rows lie in such a file, bool of shape (n_rows,)
    rules: tuple[RuleResult, ...] = ()  # one broken rule for each column that must be there

    def joined_to(self, result: ContractResult) -> ContractResult:
        """Return the result of a check with these rules in the place of those that held."""
        if not self.rules:
            return result
        lacking = tuple(dict.fromkeys(str(rule.column) for rule in self.rules))
        # That their cells are missing follows from it.
        held = [
            rule
            for rule in result.rules
            if not (rule.column in lacking and rule.rule in ("present", "nulls"))
        ]
        return result.model_copy(
            update={"passed": False, "rules": (*self.rules, *held), "lacking": lacking}
        )


def lacking_files(pipeline: Pipeline, snapshot: Snapshot, champion: ModelVersion) -> Lacking:
    """Return which rows lie in files without a feature that may not be absent."""
    # Absent may be what the contract lets be empty in as many rows.
    nothing = Lacking(np.zeros(snapshot.rows, dtype=bool))
    notes = [n for n in snapshot.findings if isinstance(n, ChangedColumns) and n.absent]
    contract = known_contract(pipeline)
    if not notes or contract is None or not snapshot.rows:
        return nothing
    mask, rules = nothing.rows, []
    for note in notes:
        absent = [
            c for c in note.absent
            if c in champion.roles.features and c in contract.columns and c in snapshot.kinds
        ]  # fmt: skip
        if not absent:
            continue
        found = _rows_of(pipeline, snapshot, champion, note.files, absent)
        count = int(found.sum())
        wanted = [c for c in absent if _must_be_there(contract, c, count)]
        if wanted:
            mask = mask | found
            rules += [_rule(note, column, count, snapshot.rows) for column in wanted]
    return Lacking(mask, tuple(rules))


def _must_be_there(contract: Contract, column: str, rows: int) -> bool:
    rule = contract.columns[column]
    nulls = rule.nulls
    if not rows or nulls is None or (nulls.severity or rule.severity) != "error":
        return False
    return nulls.max < 1.0 if nulls.empty_from is None else rows >= nulls.empty_from


def _rule(note: ChangedColumns, column: str, count: int, rows: int) -> RuleResult:
    where = ", ".join(note.files[:_MOST_NAMED])
    more = len(note.files) - _MOST_NAMED
    observed = f"absent in {where}{f' and {more} more' if more > 0 else ''}, {count:,} rows"
    if column in note.renamed:
        observed += f"; {note.renamed[column]!r} is new there"
    return RuleResult(
        column=column, rule="present", severity="error", passed=False,
        expected="the column is there", observed=observed,
        failed_rows=count, failed_share=count / rows,
    )  # fmt: skip


def _rows_of(
    pipeline: Pipeline,
    snapshot: Snapshot,
    champion: ModelVersion,
    files: Sequence[str],
    absent: Sequence[str],
) -> Mask:
    """Return the rows of `snapshot` that are null in all of `absent` and stand in `files`."""
    mask = np.ones(snapshot.rows, dtype=bool)
    table = open_table(snapshot.path)
    for column in absent:
        mask &= table[column].is_null().to_numpy()
    if not mask.any():
        return mask
    theirs = _read(pipeline, snapshot, files)
    if theirs is None:
        return mask
    other = open_table(theirs.path)
    shared = [c for c in theirs.kinds if c in snapshot.kinds]
    roles = champion.roles
    ids = [c for c in (*roles.id_columns, roles.time_column) if c in shared]
    wanted = (ids if roles.id_columns and {*roles.id_columns} <= {*ids} else shared) or shared
    found: Mask = mask & among(row_hashes(table, wanted), row_hashes(other, wanted))
    return found


def _read(pipeline: Pipeline, snapshot: Snapshot, names: Sequence[str]) -> Snapshot | None:
    """Return the rows of some files in the range of time of `snapshot`; None without files."""
    config = pipeline.config
    source = config.scoring.source or config.source
    if not isinstance(source, CsvSource | ParquetSource):
        return None
    files = tuple(f for f in files_of(source, pipeline.base) if f.name in set(names))
    if not files:
        return None
    scoring = config.scoring.model_copy(update={"source": source.only(files)})
    alone = replace(pipeline, config=config.model_copy(update={"scoring": scoring}))
    until = None if snapshot.end is None else snapshot.end + _TICK
    return scoring_snapshot(alone, snapshot.start, until)
