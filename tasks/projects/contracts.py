"""`keepfit contract`: infer the contract of a pipeline, or check rows against it."""

from __future__ import annotations

from pathlib import Path

from tasks.base.errors import UsageError
from tasks.base.files import write_whole
from tasks.base.outcomes import WrittenContract
from tasks.base.pipeline_file import Pipeline
from tasks.base.records import ContractResult
from tasks.trainings.windows import scoring_snapshot, training_snapshot, with_overrides
from tasks.validation.contracts import contract_file, contract_text, infer_from
from tasks.validation.pipelines import check_pipeline


def infer_contract_file(pipeline: Pipeline, output: Path | None) -> WrittenContract:
    """Infer the contract from the training window and write it; a file is never overwritten.

    Raises
    ------
    UsageError
        When the file exists.
    """
    path = output or contract_file(pipeline)
    if path.exists():
        raise UsageError(
            f"{path} exists and is never overwritten.",
            f"Write beside it and compare: keepfit contract infer {pipeline.path} "
            f"--output {path.with_suffix('.new.yaml')}",
        )
    snapshot = training_snapshot(pipeline)
    contract = infer_from(pipeline, snapshot)
    write_whole(path, contract_text(contract))
    return WrittenContract(
        file=str(path),
        columns=len(contract.columns),
        rows=snapshot.rows,
        assumptions=snapshot.remarks,
    )


def check_contract_file(pipeline: Pipeline, input_path: Path | None) -> ContractResult:
    """Check the training window, or the rows of `input_path`, against the contract."""
    if input_path is None:
        snapshot = training_snapshot(pipeline)
    else:
        snapshot = scoring_snapshot(with_overrides(pipeline, str(input_path), None), whole=True)
    return check_pipeline(pipeline, snapshot)
