"""A pipeline's contract: the file it names, or the one inferred at its first training."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from expectations.column_batches import infer_in_parts
from expectations.contract import Contract
from expectations.late_labels import LateLabels
from tasks.base.errors import EvidenceError
from tasks.base.pipeline_file import Pipeline
from tasks.base.runtime.environment import give_back_memory
from tasks.base.runtime.files import write_whole
from tasks.base.runtime.libraries import pd
from tasks.base.runtime.progress import Step, report
from tasks.base.settings.document_validation import validate_document
from tasks.base.settings.yaml_document import Document, dump_yaml, read_yaml
from tasks.base.training_records import Snapshot
from tasks.base.utc_times import as_utc
from tasks.data.snapshots import read_frame
from tasks.data.typing.storage import ColumnForm


def contract_file(pipeline: Pipeline) -> Path:
    """Return where the pipeline's contract is, or will be written."""
    return pipeline.contract_path or pipeline.work / "contract.yaml"


def parsed_contract(document: Document) -> Contract:
    """Return the contract that a YAML document writes."""
    # A fault is a ConfigError with file, line, rule, value and remedy.
    return validate_document(Contract, document.values, document)


def known_contract(pipeline: Pipeline) -> Contract | None:
    """Return the pipeline's contract, or None before its first training."""
    path = contract_file(pipeline)
    if not path.exists():
        return None
    return _in_use(parsed_contract(read_yaml(path, "keepfit contract infer")), pipeline)


def ensure_contract(pipeline: Pipeline, snapshot: Snapshot) -> Contract:
    """Return the pipeline's contract; infer it from `snapshot` and keep it when there is none."""
    known = known_contract(pipeline)
    if known is not None:
        return known
    contract = infer_from(pipeline, snapshot)
    path = contract_file(pipeline)
    write_whole(path, contract_text(contract))
    report(Step("contract", f"none named: inferred from this window, kept as {path}"))
    return contract


def contract_digest(pipeline: Pipeline) -> str:
    """Return the digest of the pipeline's contract, which `ensure_contract` made sure of."""
    known = known_contract(pipeline)
    if known is None:
        raise EvidenceError(f"{contract_file(pipeline)}: the contract is gone.", "Run again.")
    return known.digest()


def infer_from(pipeline: Pipeline, snapshot: Snapshot) -> Contract:
    """Return the contract that the rows of `snapshot` suggest."""
    config = pipeline.config
    contract = infer_in_parts(
        lambda columns: read_frame(snapshot.path, columns=columns),
        [column for column in snapshot.kinds if column not in config.exclude],
        snapshot.rows,
        snapshot.kinds,
        name=config.name,
        target=config.target,
        time_column=config.time_column,
        id_columns=config.id_columns,
        late=late_labels(pipeline, snapshot),
    )
    give_back_memory()
    return _with_writing(contract, snapshot.written).with_common_nulls()


def _with_writing(contract: Contract, written: Mapping[str, str]) -> Contract:
    """State how text is written that was read as numbers or times: later files are read so."""
    stated = {
        name: rule.model_copy(update={"written_as": written[name]})
        for name, rule in contract.columns.items()
        if name in written and rule.storage in ("number", "time")
    }
    return contract.model_copy(update={"columns": {**contract.columns, **stated}})


def late_labels(pipeline: Pipeline, snapshot: Snapshot) -> LateLabels | None:
    """Return which rows of `snapshot` need no label yet; None where labels come with the rows."""
    # They are those that the label delay reaches back to from the newest row, or from now where
    # that is earlier; where the file states no delay, those newer than the newest label.
    config = pipeline.config
    delay, time_column = config.monitoring.label_delay, config.time_column
    if time_column is None or snapshot.end is None:
        return None
    if delay is None:
        newest = _newest_label(snapshot, config.target, time_column)
        return None if newest is None else LateLabels(config.target, time_column, newest)
    newest = min(as_utc(snapshot.end), datetime.now(UTC))
    return LateLabels(config.target, time_column, newest - delay)


def _newest_label(snapshot: Snapshot, target: str, time_column: str) -> datetime | None:
    """Return the time of the newest labelled row; None without any, or where none is missing."""
    if not {target, time_column} <= {*snapshot.kinds}:
        return None
    labelled = read_frame(snapshot.path, columns=[target])[target].notna().to_numpy()
    if labelled.all():
        return None
    newest = read_frame(snapshot.path, columns=[time_column])[time_column][labelled].max()
    known = isinstance(newest, pd.Timestamp) and not pd.isna(newest)
    return as_utc(newest.to_pydatetime()) if known else None


def contract_text(contract: Contract) -> str:
    """Return the contract as the text of its file."""
    head = (
        "# What must hold of the table. Edit it: `keepfit contract check` lists what fails.\n"
        "# error stops the flow, warning is recorded.\n"
    )
    return head + dump_yaml(contract.to_dict())


def _in_use(contract: Contract, pipeline: Pipeline) -> Contract:
    """Leave out the rules of columns that the pipeline file excludes: they are not read."""
    excluded = frozenset(contract.columns) & frozenset(pipeline.config.exclude)
    if not excluded:
        return contract
    unique = tuple(key for key in contract.table.unique if excluded.isdisjoint(key))
    return contract.model_copy(
        update={
            "columns": {c: r for c, r in contract.columns.items() if c not in excluded},
            "rules": tuple(r for r in contract.rules if excluded.isdisjoint(r.columns)),
            "table": contract.table.model_copy(update={"unique": unique}),
        }
    )


def forms_of(contract: Contract | None) -> dict[str, ColumnForm]:
    """Return the contract's form of each column: later files are read like the first."""
    if contract is None:
        return {}
    return {
        column: ColumnForm(rule.kind, rule.storage, rule.written_as or "")
        for column, rule in contract.columns.items()
    }
