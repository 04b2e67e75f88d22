"""One batch of new rows: scored by the champion, written whole into ledger and sink."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tasks.base.config import ParquetSink, Sink
from tasks.base.errors import UsageError
from tasks.base.outcomes import ScoringOutcome
from tasks.base.pipeline_file import Pipeline
from tasks.base.records import ContractResult, ModelVersion, Snapshot
from tasks.registry.stores import store_of

if TYPE_CHECKING:
    from collections.abc import Collection


def champion_of(pipeline: Pipeline) -> ModelVersion:
    """Return the champion.

    Raises
    ------
    UsageError
        When there is none yet.
    """
    champion = store_of(pipeline.state).champion(pipeline.config.name)
    if champion is None:
        raise UsageError(
            f"{pipeline.config.name} has no champion yet, so there is nothing to score with.",
            f"Train one: keepfit run {pipeline.path}",
        )
    return champion


def score_batch(
    pipeline: Pipeline,
    snapshot: Snapshot,
    contract: ContractResult,
    champion: ModelVersion,
    *,
    newcomers: bool = False,
) -> ScoringOutcome:
    """Score the rows of `snapshot` and write the predictions, all of them or none.

    The ledger comes first: what is in the sink is in the ledger too. Done again after a crash, it
    adds to the ledger what is missing and writes the sink anew.
    """
    from tasks.ledger.ledger import ledger_of
    from tasks.scoring.predict import best
    from tasks.scoring.sinks import write_predictions
    from tasks.scoring.versions import predictions_of

    predicted = predictions_of(pipeline, snapshot, champion, _known_categories(pipeline))
    counts = predicted.counts
    written = ledger_of(pipeline).write_predictions(
        pipeline.config.name,
        predicted.predictions,
        champion.roles,
        version=champion.version,
        run_id=champion.run_id,
        batch=snapshot.digest,
        rows=predicted.rows,
    )
    predictions, sink = predicted.predictions, _sink(pipeline, snapshot, newcomers)
    if newcomers:
        first = ledger_of(pipeline).in_batch(
            pipeline.config.name, predicted.rows, champion.roles, snapshot.digest
        )
        predictions = predictions[first].reset_index(drop=True)
    predictions = best(predictions, pipeline.config.scoring.top_k)
    output = ""
    if len(predictions) or not newcomers:
        output = write_predictions(predictions, sink, pipeline.base)
    return ScoringOutcome(
        pipeline=pipeline.config.name,
        rows=counts.rows,
        written=len(predictions),
        version=champion.version,
        run_id=champion.run_id,
        output=output,
        batch=snapshot.digest,
        start=snapshot.start,
        end=snapshot.end,
        unseen=counts.unseen,
        contract_warnings=len(contract.warnings),
        contract_page=contract.page,
        ledger_new=written.new,
        ledger_known=written.known + written.repeated,
    )


def nothing_new(pipeline: Pipeline, snapshot: Snapshot, champion: ModelVersion) -> ScoringOutcome:
    """Return the outcome of a scoring for which no row has come."""
    return ScoringOutcome(
        pipeline=pipeline.config.name,
        rows=0,
        version=champion.version,
        run_id=champion.run_id,
        output="",
        batch=snapshot.digest,
    )


def _sink(pipeline: Pipeline, snapshot: Snapshot, newcomers: bool) -> Sink:
    """Return where predictions go: a batch of newcomers never takes the place of an earlier one."""
    stated = pipeline.config.scoring.sink
    name = snapshot.digest[:16]
    if stated is None:
        folder = Path(pipeline.work) / "predictions"
        return ParquetSink(kind="parquet", path=str(folder / f"{name}.parquet"))
    if stated.kind == "sql" or not newcomers:
        return stated
    path = Path(stated.path)
    return stated.model_copy(update={"path": str(path.with_stem(f"{path.stem}-{name}"))})


def _known_categories(pipeline: Pipeline) -> dict[str, Collection[str]]:
    """Return the categories that the contract lists, as text."""
    from tasks.validation.contracts import known_contract

    contract = known_contract(pipeline)
    if contract is None:
        return {}
    return {
        column: frozenset(str(value) for value in rule.categories.values)
        for column, rule in contract.columns.items()
        if rule.categories is not None
    }
