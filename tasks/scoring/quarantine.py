"""Rows that broke their contract: kept in a file that can be scored later, the rest is scored.

A row that was set aside is not looked at again by the calendar while it and the contract are as
they were; by hand it always is.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from expectations.contract_differences import of_the_delivery
from tasks.base.command_results import ScoringScope
from tasks.base.errors import ContractError
from tasks.base.monitoring_records import Cause
from tasks.base.pipeline_file import Pipeline
from tasks.base.runtime.files import digest_of_bytes, write_whole
from tasks.base.runtime.libraries import pa, pc, pq
from tasks.base.settings.sources import CsvSource, ParquetSource
from tasks.base.text.commands import command
from tasks.base.text.phrases import plural
from tasks.base.training_records import (
    Admitted,
    ContractResult,
    ModelVersion,
    Schema,
    SetAside,
    Snapshot,
)
from tasks.contracts.contract_files import known_contract
from tasks.contracts.pipeline_check import check_pipeline
from tasks.contracts.snapshot_check import accept_command, describe, require_passed, score_command
from tasks.data.row_hashes import Hashes, among, row_hashes
from tasks.data.snapshots import Columns, open_table, read_frame, take_rows
from tasks.registry.open_pipeline import OpenPipeline
from tasks.scoring.incomplete_files import lacking_files
from tasks.scoring.incremental import learned_rows
from tasks.scoring.quarantine_listing import Kept, all_kept, folder_of, mark_scored, waiting

Mask = NDArray[np.bool_]
WHOLE = 0.5  # share of the rows at fault above which the delivery is, as in a check of its rules


def admit_rows(
    pipeline: OpenPipeline,
    snapshot: Snapshot,
    champion: ModelVersion,
    cause: Cause,
    scope: ScoringScope,
) -> Admitted:
    """Return the rows of `snapshot` that may be scored; those at fault are set aside."""
    # Where only new rows are wanted, scored ones are not judged: a fault of the newest must not be
    # thinned by older ones that are read again. Rows that the champion learned from go no further.
    # Raises ContractError when the delivery is at fault, or `contract.on_error` is `stop`.
    if not pipeline.quarantines:
        result, _ = _checked(pipeline, snapshot, champion)
        require_passed(result, file=pipeline.path, scored=True)
        return Admitted(snapshot=snapshot, contract=result)
    skipped = np.zeros(snapshot.rows, dtype=bool)
    judged = np.arange(snapshot.rows, dtype=np.int64)
    _settle(pipeline, champion)
    if scope == "new" and snapshot.rows:
        if cause.kind != "manual":
            skipped = _set_aside_before(pipeline, snapshot)
        known = _scored_before(pipeline, snapshot, champion)
        if not (known | skipped).all():
            skipped = skipped | (learned_rows(pipeline, snapshot, champion) & ~known)
        judged = np.flatnonzero(~skipped & ~known)
    if not len(judged):
        return Admitted(
            snapshot=_without(pipeline, snapshot, skipped),
            contract=ContractResult(
                passed=True, contract_digest="", data_digest=snapshot.digest, rows=0, rules=()
            ),
        )
    part = snapshot
    if len(judged) < snapshot.rows:
        part = _taken(pipeline, snapshot, judged.astype(np.int64))
    result, at_fault = _checked(pipeline, part, champion)
    if not result.aside:
        require_passed(result, file=pipeline.path, scored=True)
        return Admitted(snapshot=_without(pipeline, snapshot, skipped), contract=result)
    faulty = judged[at_fault]
    aside = _keep(pipeline, snapshot, faulty, result, scope)
    if result.whole:
        raise whole_delivery(result, aside)
    skipped[faulty] = True
    return Admitted(snapshot=_without(pipeline, snapshot, skipped), contract=result, aside=aside)


def admit_window(pipeline: Pipeline, snapshot: Snapshot, champion: ModelVersion) -> Admitted:
    """Return the rows of a window that are not at fault, as for scoring; nothing is kept."""
    result, skipped = _checked(pipeline, snapshot, champion)
    if not pipeline.quarantines or result.whole or not result.aside:
        require_passed(result, file=pipeline.path, scored=True)
        return Admitted(snapshot=snapshot, contract=result)
    return Admitted(snapshot=_without(pipeline, snapshot, skipped), contract=result)


def without_waiting(pipeline: Pipeline, snapshot: Snapshot) -> Snapshot | None:
    """Return `snapshot` without the rows that wait in files set aside; None where it has none."""
    # They are recognised by their id, with the time where the file names one: what arrives later,
    # such as a label, changes the rest of a row.
    config = pipeline.config
    timed = [config.time_column] if config.time_column else []
    keys = [*config.id_columns, *timed]
    if not pipeline.quarantines or not config.id_columns or not {*keys} <= {*snapshot.kinds}:
        return None
    files = [Path(kept.aside.file) for kept in waiting(pipeline)]
    tables = [pq.read_table(file) for file in files if file.is_file()]
    hashes = [row_hashes(table, keys) for table in tables if {*keys} <= {*table.column_names}]
    if not hashes:
        return None
    skipped = among(row_hashes(Columns(snapshot.path), keys), np.concatenate(hashes))
    if not skipped.any() or skipped.all():
        return None
    # Beside the other training snapshots: drift is measured against their rows.
    kept = np.flatnonzero(~skipped).astype(np.int64)
    rest = take_rows(snapshot, kept, pipeline.work / "data", time_column=config.time_column)
    left_out = plural(int(skipped.sum()), "row")
    shown = command("status", file=pipeline.path)
    note = f"{left_out} that scoring set aside, see `{shown}`, not trained on"
    return rest.model_copy(
        update={
            "assumptions": (*rest.assumptions, note),
            "written": snapshot.written,
            "given": snapshot.given,
        }
    )


def _checked(
    pipeline: Pipeline, snapshot: Snapshot, champion: ModelVersion
) -> tuple[ContractResult, Mask]:
    """Return the result of a check, and which rows are at fault; all where the delivery is."""
    result = check_pipeline(pipeline, snapshot, champion=champion)
    mask = np.zeros(snapshot.rows, dtype=bool)
    if result.aside:
        mask[np.load(result.faults, allow_pickle=False)] = True
    if not result.passed and not result.aside:
        return result, mask
    lacking = lacking_files(pipeline, snapshot, champion)
    mask |= lacking.rows
    whole = result.whole or int(mask.sum()) > WHOLE * snapshot.rows
    if whole:
        mask[:] = True
    result = lacking.joined_to(result).model_copy(update={"whole": whole, "aside": int(mask.sum())})
    return result, mask


def whole_delivery(result: ContractResult, aside: SetAside) -> ContractError:
    """Return the error that none of the rows could be scored, with the place of the rows."""
    rules = "rule" if len(aside.rules) == 1 else "rules"
    remedy = "Fix them at their source"
    if aside.accept_command:
        remedy = f"Fix them at their source, or accept the change: `{aside.accept_command}`"
    return ContractError(
        f"The data broke {len(aside.rules)} {rules} of its contract: none of the {aside.of:,} rows "
        "was scored, all are set aside.",
        f"The whole result: {result.page}. The rows are kept in {aside.file}. {remedy}; then "
        f"`{aside.score_command}`.",
        lines=map(describe, aside.rules[:12]),
        rules=aside.rules,
        page=result.page,
        aside=aside,
        absent=result.lacking,
    )


def _keep(
    pipeline: Pipeline,
    snapshot: Snapshot,
    faulty: NDArray[np.int64],
    result: ContractResult,
    scope: ScoringScope,
) -> SetAside:
    """Write the rows at `faulty` into a file named by their content, with what they broke."""
    table = open_table(snapshot.path).take(pa.array(faulty))
    hashes = _contents(pipeline, table).astype("<u8")
    digest = digest_of_bytes(np.sort(hashes).tobytes())[:24]  # whatever the order of the rows
    folder = folder_of(pipeline)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    file = folder / f"{digest}.parquet"
    known = known_contract(pipeline)
    causes = tuple(
        r for r in result.rules if not r.passed and (r.severity == "error" or r.rule == "future")
    )
    aside = SetAside(
        rows=len(faulty), of=result.rows, whole=result.whole, file=str(file), digest=digest,
        contract_digest=result.contract_digest, rules=causes,
    )  # fmt: skip
    aside = aside.model_copy(
        update={
            "accept_command": _accepting(pipeline, aside),
            "score_command": _scoring_again(pipeline, aside, scope),
        }
    )
    out = pa.BufferOutputStream()
    pq.write_table(table, out)
    write_whole(file, out.getvalue().to_pybytes())
    write_whole(file.with_suffix(".npy"), hashes.tobytes())
    # The record comes last: what it names is there.
    kept = Kept(aside=aside, contract_digest=known.digest() if known else "", at=datetime.now(UTC))
    write_whole(file.with_suffix(".json"), kept.model_dump_json(indent=1))
    return aside


def _accepting(pipeline: Pipeline, aside: SetAside) -> str:
    """Return the command that accepts the change; empty where that would fix nothing."""
    # The champion cannot score a column that is absent or of another kind; the ledger keeps one row
    # of each id; and a time that lies ahead stays ahead. Rules on a share or a median are the whole
    # delivery's: these few rows alone would turn them off.
    if not aside.whole and any(map(of_the_delivery, aside.rules)):
        return ""
    if {rule.rule for rule in aside.rules} & {"present", "kind", "unique", "future"}:
        return ""
    return accept_command(pipeline.path, aside.names, aside.file)


def _scoring_again(pipeline: Pipeline, aside: SetAside, scope: ScoringScope) -> str:
    """Return the command that scores the rows once what they broke is fixed."""
    # Of rows without a column, or with one of another kind, only the source can be fixed.
    if not {rule.rule for rule in aside.rules} & {"present", "kind"}:
        return score_command(pipeline.path, aside.file)
    source = pipeline.config.scoring.source
    if scope == "file" and isinstance(source, CsvSource | ParquetSource):
        return score_command(pipeline.path, source.path)
    return command("score", file=pipeline.path)


def _set_aside_before(pipeline: Pipeline, snapshot: Snapshot) -> Mask:
    """Return which rows were set aside under the contract of now, as they are."""
    known = known_contract(pipeline)
    digest = known.digest() if known else ""
    files = [
        Path(kept.aside.file).with_suffix(".npy")
        for kept in all_kept(folder_of(pipeline))
        if kept.contract_digest == digest
    ]
    hashes = [np.frombuffer(file.read_bytes(), "<u8") for file in files if file.is_file()]
    if not hashes:
        return np.zeros(snapshot.rows, dtype=bool)
    table = open_table(snapshot.path)
    return among(_contents(pipeline, table), np.concatenate(hashes))


def _contents(pipeline: Pipeline, table: Any) -> Hashes:
    """Return a hash of what each row holds, whatever columns other files of the source have."""
    # A label that arrives later, or a column that only newer files have, makes no other row of it.
    names = [name for name in table.column_names if name != pipeline.config.target]
    total = np.zeros(table.num_rows, np.uint64)
    for name in names:
        column = table[name]
        known = ~pc.is_null(column, nan_is_null=True).to_numpy(zero_copy_only=False)
        total += row_hashes(table, [name]) * known
    return total


def _settle(pipeline: OpenPipeline, champion: ModelVersion) -> None:
    """Take down that rows wait no longer that were fixed at their source and scored since."""
    roles = champion.roles
    if not roles.id_columns:
        return
    for kept in waiting(pipeline):
        table = pq.read_table(kept.aside.file) if Path(kept.aside.file).is_file() else None
        if table is None or not {*roles.id_columns} <= {*table.column_names}:
            continue
        rows = table.select([c for c in table.column_names if c in _keys(roles)]).to_pandas()
        if pipeline.ledger.predicted_before(pipeline.config.name, rows, roles, None).all():
            mark_scored(pipeline, kept.aside.file)


def _keys(roles: Schema) -> set[str]:
    return {*roles.id_columns, *([roles.time_column] if roles.time_column else [])}


def _scored_before(pipeline: OpenPipeline, snapshot: Snapshot, champion: ModelVersion) -> Mask:
    roles = champion.roles
    wanted = [*(roles.id_columns or roles.features)]
    if roles.time_column and not roles.id_columns:
        wanted.append(roles.time_column)
    if not set(wanted) <= set(snapshot.kinds):
        return np.zeros(snapshot.rows, dtype=bool)
    frame = read_frame(snapshot.path, columns=list(dict.fromkeys(wanted)))
    return pipeline.ledger.predicted_before(pipeline.config.name, frame, roles, snapshot.start)


def _without(pipeline: Pipeline, snapshot: Snapshot, skipped: Mask) -> Snapshot:
    if not skipped.any():
        return snapshot
    return _taken(pipeline, snapshot, np.flatnonzero(~skipped).astype(np.int64))


def _taken(pipeline: Pipeline, snapshot: Snapshot, rows: NDArray[np.int64]) -> Snapshot:
    folder = pipeline.work / "scoring"
    return take_rows(snapshot, rows, folder, time_column=pipeline.config.time_column)
