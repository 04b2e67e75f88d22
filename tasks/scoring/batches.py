"""One batch of new rows: scored by the champion, written whole into ledger and sink."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tasks.base.command_results import ScoringOutcome
from tasks.base.errors import UsageError
from tasks.base.pipeline_file import Pipeline
from tasks.base.runtime.failpoints import reach
from tasks.base.runtime.files import private_folder
from tasks.base.runtime.libraries import pd
from tasks.base.runtime.progress import reported
from tasks.base.runtime.temporary import temporary_folder
from tasks.base.settings.object_addresses import with_stem
from tasks.base.settings.scoring import ParquetSink, Sink
from tasks.base.text.commands import command
from tasks.base.text.phrases import plural
from tasks.base.training_records import ContractResult, ModelVersion, Schema, Snapshot
from tasks.contracts.contract_files import known_contract
from tasks.ledger.training_outcomes import last_outcomes
from tasks.registry.open_pipeline import OpenPipeline
from tasks.scoring.incremental import record_recovered
from tasks.scoring.sinks import write_predictions
from tasks.scoring.version_predictions import PredictionParts, empty_predictions, predicted_parts

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from tasks.registry.mlflow.store import Store


def champion_of(pipeline: OpenPipeline) -> ModelVersion:
    """Return the champion; raises UsageError when there is none yet."""
    champion = pipeline.store.champion(pipeline.config.name)
    if champion is None:
        raise _no_champion(pipeline)
    return champion


def challenger_of(store: Store, champion: ModelVersion) -> ModelVersion | None:
    """Return the version that predicts beside `champion`: the newest, where it came later."""
    newest = store.versions(champion.name)[:1]
    return next((v for v in newest if int(v.version) > int(champion.version)), None)


def version_of(pipeline: OpenPipeline, version: str | None) -> ModelVersion:
    """Return a version, with or without a leading `v`, or the champion; UsageError when absent."""
    if version is None:
        return champion_of(pipeline)
    number = version.removeprefix("v")
    found = pipeline.store.version(pipeline.config.name, number)
    if found is None:
        raise UsageError(
            f"{pipeline.config.name} has no version {number}.",
            f"See them with `{command('status', file=pipeline.path)}`.",
        )
    return found


def _no_champion(pipeline: OpenPipeline) -> UsageError:
    name, train = pipeline.config.name, command("run", file=pipeline.path)
    left = [v.version for v in pipeline.store.versions(name)]
    if not left and not last_outcomes(pipeline.work, 1):
        return UsageError(
            f"{name} has no champion yet, so there is nothing to score with.", f"Train one: {train}"
        )
    earlier = command("promote", left[0], file=pipeline.path) if left else ""
    of_left = f"; or let an earlier one score: {earlier}" if left else ""
    return UsageError(
        f"{name} has no champion any more: it was deleted in MLflow, or its alias was.",
        f"Train one: {train}{of_left}",
    )


def score_batch(
    pipeline: OpenPipeline,
    snapshot: Snapshot,
    contract: ContractResult,
    champion: ModelVersion,
    *,
    newcomers: bool = False,
    named: bool = False,
) -> ScoringOutcome:
    """Score the rows of `snapshot` and write the predictions, all of them or none."""
    # The ledger comes first: what is in the sink is in the ledger too. Done again after a crash, it
    # adds to the ledger what is missing and writes the sink anew. Of `newcomers` the sink gets
    # those of this batch, and before them those of batches that a crash kept from it; these wait
    # where a person `named` the output.
    with temporary_folder(private_folder(pipeline.work)) as folder:
        predicted = predicted_parts(
            pipeline, snapshot, champion, folder, _known_categories(pipeline)
        )
        parts = zip(predicted.frames(), predicted.rows(), strict=True)
        text = f"{plural(predicted.counts.rows, 'prediction')} prepared"
        written = pipeline.ledger.write_predictions(
            pipeline.config.name,
            reported(parts, len(predicted.files), "ledger", text),
            champion.roles,
            version=champion.version,
            run_id=champion.run_id,
            batch=snapshot.digest,
            to_send=newcomers,
        )
        reach("scoring.sink.before")
        if newcomers:
            output, sent = send_newcomers(pipeline, snapshot, champion, predicted, named=named)
        else:
            sink = _sink(pipeline, snapshot.digest, newcomers=False)
            output, sent = _written(
                predicted.best(pipeline.config.scoring.top_k), sink, pipeline.base
            )
    counts = predicted.counts
    return ScoringOutcome(
        pipeline=pipeline.config.name, rows=counts.rows, written=sent, version=champion.version,
        run_id=champion.run_id, output=output, batch=snapshot.digest, start=snapshot.start,
        end=snapshot.end, unseen=counts.unseen, contract_warnings=len(contract.warnings),
        contract_page=contract.page, ledger_new=written.new,
        ledger_known=written.known + written.repeated, findings=snapshot.findings,
    )  # fmt: skip


def nothing_new(pipeline: Pipeline, snapshot: Snapshot, champion: ModelVersion) -> ScoringOutcome:
    """Return the outcome of a scoring for which no row has come."""
    return ScoringOutcome(
        pipeline=pipeline.config.name, rows=0, version=champion.version, run_id=champion.run_id,
        output="", batch=snapshot.digest, findings=snapshot.findings,
    )  # fmt: skip


def score_nothing(
    pipeline: OpenPipeline, snapshot: Snapshot, champion: ModelVersion
) -> ScoringOutcome:
    """Write an output without rows, with the columns that rows would have; not into a table."""
    outcome = nothing_new(pipeline, snapshot, champion)
    sink = _sink(pipeline, snapshot.digest, newcomers=False)
    if sink.kind == "sql":
        return outcome
    empty = iter([empty_predictions(pipeline, snapshot, champion)])
    output, _ = _written(empty, sink, pipeline.base)
    return outcome.model_copy(update={"output": output, "written": 0})


def send_newcomers(
    pipeline: OpenPipeline,
    snapshot: Snapshot,
    champion: ModelVersion,
    predicted: PredictionParts,
    *,
    named: bool = False,
) -> tuple[str, int]:
    """Write to the sink what the ledger holds of this batch and of those it may lack."""
    # Each goes under its own name and with the predictions of the version that the ledger names, so
    # that one which the sink had after all is there once. This batch counts as sent when it is
    # recorded. Returns where it went, and how many rows of it.
    name = pipeline.config.name
    for pending in pipeline.ledger.unsent(name):
        if named or pending.batch == snapshot.digest:
            continue
        version, found = champion, predicted
        if pending.version != champion.version:
            version = pipeline.store.version(name, pending.version) or champion
            found = predicted_parts(pipeline, snapshot, version, predicted.files[0].parent)
        output, rows = _send(pipeline, version.roles, found, pending.batch, pending.version)
        record_recovered(pipeline.ledger, name, pending.batch, version, output, rows)
    output, rows = _send(
        pipeline, champion.roles, predicted, snapshot.digest, champion.version, named=named
    )
    reach("scoring.sink.after")
    return output, rows


def _send(
    pipeline: OpenPipeline,
    roles: Schema,
    predicted: PredictionParts,
    batch: str,
    version: str,
    *,
    named: bool = False,
) -> tuple[str, int]:
    held = list(
        pipeline.ledger.in_batch(pipeline.config.name, predicted.rows(), roles, batch, version)
    )
    if not any(mask.any() for mask in held):
        return "", 0
    sent = predicted.best(pipeline.config.scoring.top_k, held)
    sink = _sink(pipeline, batch, newcomers=not named)
    return _written((rows.assign(batch=batch) for rows in sent), sink, pipeline.base)


def _written(parts: Iterator[pd.DataFrame], sink: Sink, base: Path) -> tuple[str, int]:
    """Write to the sink; return where to, and how many rows."""
    rows = [0]

    def counted() -> Iterator[pd.DataFrame]:
        for frame in parts:
            rows[0] += len(frame)
            yield frame

    return write_predictions(counted(), sink, base), rows[0]


def _sink(pipeline: Pipeline, batch: str, *, newcomers: bool) -> Sink:
    """Return where predictions go: a batch of newcomers never replaces an earlier one."""
    stated = pipeline.config.scoring.sink
    name = batch[:16]
    if stated is None:
        folder = Path(pipeline.work) / "predictions"
        return ParquetSink(kind="parquet", path=str(folder / f"{name}.parquet"))
    if stated.kind == "sql" or not newcomers:
        return stated
    return stated.model_copy(update={"path": with_stem(stated.path, f"-{name}")})


def _known_categories(pipeline: Pipeline) -> dict[str, Collection[str]]:
    """Return the categories that the contract lists, as text."""
    contract = known_contract(pipeline)
    if contract is None:
        return {}
    return {
        column: frozenset(str(value) for value in rule.categories.values)
        for column, rule in contract.columns.items()
        if rule.categories is not None
    }
