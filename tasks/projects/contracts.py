"""`keepfit contract`: infer, check, compare and change the contract of a pipeline."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from expectations.contract_differences import GONE, find_differences
from tasks.base.command_results import ContractDiff, RuleDifference, WrittenContract
from tasks.base.errors import UsageError
from tasks.base.pipeline_file import Pipeline, nearest
from tasks.base.runtime.files import write_whole
from tasks.base.runtime.libraries import pd
from tasks.base.settings.object_addresses import anchored
from tasks.base.settings.yaml_document import edited_yaml, parse_yaml, read_yaml
from tasks.base.text.commands import command
from tasks.base.training_records import ContractResult, Snapshot
from tasks.contracts.contract_files import (
    contract_file,
    contract_text,
    infer_from,
    known_contract,
    late_labels,
    parsed_contract,
)
from tasks.contracts.pipeline_check import check_pipeline
from tasks.contracts.snapshot_check import accept_command, check_snapshot, score_command
from tasks.data.snapshots import read_frame
from tasks.scoring.quarantine_listing import kept_at
from tasks.training.row_windows import scoring_snapshot, training_snapshot, with_overrides

if TYPE_CHECKING:
    from expectations.contract import Contract
    from expectations.contract_differences import Difference


def infer_contract_file(pipeline: Pipeline, output: Path | None) -> WrittenContract:
    """Infer the contract from the training window and write it; a file is never overwritten."""
    path = output or contract_file(pipeline)
    if path.exists():
        raise UsageError(
            f"{path} exists and is never overwritten.",
            f"Write beside it and compare: {command('contract', 'infer', file=pipeline.path)} "
            f"--output {path.with_suffix('.new.yaml')}",
        )
    snapshot = training_snapshot(pipeline)
    contract = infer_from(pipeline, snapshot)
    write_whole(path, contract_text(contract))
    return WrittenContract(
        file=str(path),
        columns=len(contract.columns),
        rows=snapshot.rows,
        assumptions=snapshot.assumptions,
    )


def check_contract_file(pipeline: Pipeline, input_path: str | Path | None) -> ContractResult:
    """Check the training window, or the rows of `input_path`, against the contract."""
    if input_path is None:
        snapshot = training_snapshot(pipeline)
    else:
        snapshot = scoring_snapshot(with_overrides(pipeline, str(input_path), None), whole=True)
    return check_pipeline(pipeline, snapshot)


def diff_contract(pipeline: Pipeline, input_path: str | Path | None) -> ContractDiff:
    """Compare the training window, or the rows of `input_path`, with the contract."""
    result, found = _differences(pipeline, input_path)
    names = [one.name for one in found if one.edits]
    rows = anchored(input_path) if input_path else ""
    return _outcome(pipeline, result, found).model_copy(
        update={"next_command": accept_command(pipeline.path, names, rows) if names else ""}
    )


def accept_rules(
    pipeline: Pipeline, rules: Sequence[str], input_path: str | Path | None
) -> ContractDiff:
    """Take what rows show into the contract's file: `rules`, or all that can be proposed."""
    # With a rule go the other rules of its column by which the same rows could not be scored.
    # Comments and order of the file stay. Raises UsageError when a rule is none that the rows
    # break, or nothing can be proposed for it.
    result, found = _differences(pipeline, input_path)
    known = {one.name: one for one in found}
    for name in rules:
        if name not in known:
            raise UsageError(
                f"The rows do not break a rule {name!r}.",
                nearest(name, list(known)) or "`keepfit contract diff` shows what they break.",
            )
        if not known[name].edits:
            raise UsageError(
                f"Nothing can be proposed for {name!r}: {known[name].observed}.",
                f"Change it by hand in {contract_file(pipeline)}.",
            )
    wanted = {*rules, *_beside(found, rules)}
    chosen = [one for one in found if one.edits and (not rules or one.name in wanted)]
    if chosen:
        _rewrite(contract_file(pipeline), chosen)
    after = score_command(pipeline.path, anchored(input_path)) if input_path else ""
    return _outcome(pipeline, result, found).model_copy(
        update={
            "accepted": tuple(dict.fromkeys(one.name for one in chosen)),
            "next_command": after or command("contract", "check", file=pipeline.path),
        }
    )


def _differences(
    pipeline: Pipeline, input_path: str | Path | None
) -> tuple[ContractResult, tuple[Difference, ...]]:
    contract = known_contract(pipeline)
    if contract is None:
        raise UsageError(
            f"{pipeline.config.name} has no contract yet: {contract_file(pipeline)}.",
            f"Write one: {command('contract', 'infer', file=pipeline.path)}",
        )
    snapshot, compared = _compared(pipeline, contract, input_path)
    result = check_snapshot(
        snapshot,
        compared,
        pipeline.work / "contracts",
        aside=pipeline.config.aside,
        title=f"{pipeline.config.name}: data contract",
        late=late_labels(pipeline, snapshot) if input_path is None else None,
    )
    inferred = infer_from(pipeline, snapshot)

    def read(columns: Sequence[str]) -> pd.DataFrame:
        return read_frame(snapshot.path, columns=columns)

    kept = kept_at(pipeline, input_path)
    faulty = kept is not None and not kept.aside.whole
    broken = (*result.broken, *result.warnings)
    return result, find_differences(contract, broken, inferred, read, faulty=faulty)


def _compared(
    pipeline: Pipeline, contract: Contract, input_path: str | Path | None
) -> tuple[Snapshot, Contract]:
    """Return the rows, and what of the contract they are compared with."""
    if input_path is None:
        return training_snapshot(pipeline), contract
    snapshot = scoring_snapshot(with_overrides(pipeline, str(input_path), None))
    # Rows to score have no target, and a column that is no feature may be absent.
    columns = [
        name
        for name, rule in contract.columns.items()
        if name in snapshot.kinds or (name != pipeline.config.target and rule.severity == "error")
    ]
    return snapshot, contract.feature_part(columns)


def _beside(found: Sequence[Difference], rules: Sequence[str]) -> Iterator[str]:
    """Yield faults of the same rows in the columns of `rules` that prevent their scoring."""
    columns = {name.rpartition(".")[0] for name in rules} - {""}
    for one in found:
        if one.severity == "error" and one.name.rpartition(".")[0] in columns:
            yield one.name


def _outcome(
    pipeline: Pipeline, result: ContractResult, found: Sequence[Difference]
) -> ContractDiff:
    return ContractDiff(
        pipeline=pipeline.config.name,
        file=str(contract_file(pipeline)),
        rows=result.rows,
        rules=len(result.rules),
        differences=tuple(
            RuleDifference(
                rule=one.name,
                severity=one.severity,
                limit=one.limit,
                observed=one.observed,
                proposed=one.proposed,
            )
            for one in found
        ),
        page=result.page,
    )


def _rewrite(path: Path, chosen: Sequence[Difference]) -> None:
    document = read_yaml(path, "keepfit contract infer")
    edits = [(edit.path, edit.value) for one in chosen for edit in one.edits]
    text = edited_yaml(document.text, edits, GONE)
    # What would not be read again is never written.
    parsed_contract(parse_yaml(text, path))
    write_whole(path, text)
