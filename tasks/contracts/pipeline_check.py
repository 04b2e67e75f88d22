"""A pipeline's rows against the pipeline's contract."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from tasks.base.errors import ContractError
from tasks.base.pipeline_file import Pipeline
from tasks.base.runtime.progress import Step, report
from tasks.base.source_notes import ChangedColumns, ReadingNote, note_text
from tasks.base.text.phrases import plural
from tasks.base.training_records import ContractResult, ModelVersion, Snapshot
from tasks.contracts.contract_files import ensure_contract, late_labels
from tasks.contracts.snapshot_check import check_snapshot
from tasks.plugins.versions import require_hooks


def check_pipeline(
    pipeline: Pipeline,
    snapshot: Snapshot,
    *,
    champion: ModelVersion | None = None,
    fresh: bool = False,
) -> ContractResult:
    """Check `snapshot` against the contract of `pipeline`, or its part for a champion's columns."""
    if champion is not None:
        require_hooks(pipeline.config, pipeline.base, champion)
    contract = ensure_contract(pipeline, snapshot)
    title = f"{pipeline.config.name}: data contract"
    aside = pipeline.config.aside
    if champion is not None:
        roles = champion.roles
        time_column = [roles.time_column] if roles.time_column else []
        contract = contract.feature_part([*roles.features, *roles.id_columns, *time_column])
        title = f"{pipeline.config.name}: data contract, features"
        aside = (*aside, pipeline.config.target)
    report(Step("contract", f"checking {plural(snapshot.rows, 'row')}", 0, 1))
    return check_snapshot(
        snapshot,
        contract,
        pipeline.work / "contracts",
        aside=aside,
        title=title,
        late=late_labels(pipeline, snapshot) if champion is None else None,
        fresh=fresh,
    )


@contextmanager
def naming_changes(findings: Iterable[ReadingNote]) -> Iterator[None]:
    """Add to a contract's error a line for each change of columns that it does not name itself."""
    try:
        yield
    except ContractError as error:
        changed = [
            note_text(note)
            for note in findings
            if isinstance(note, ChangedColumns) and error.absent.isdisjoint(note.absent)
        ]
        error.message = "\n".join([error.message, *(f"  {text}" for text in changed)])
        raise
