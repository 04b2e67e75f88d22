"""One batch of new rows: scored by the champion, written whole."""

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
    pipeline: Pipeline, snapshot: Snapshot, contract: ContractResult, champion: ModelVersion
) -> ScoringOutcome:
    """Score the rows of `snapshot` and write the predictions, all of them or none."""
    from tasks.data.snapshots import read_frame
    from tasks.scoring.predict import score_frame
    from tasks.scoring.sinks import write_predictions

    roles = champion.roles
    wanted = [*roles.features, *roles.id_columns]
    if roles.time_column and roles.time_column not in wanted:
        wanted.append(roles.time_column)
    frame = read_frame(snapshot.path, columns=[c for c in wanted if c in snapshot.kinds])
    predictions, counts = score_frame(
        frame,
        roles,
        store_of(pipeline.state).load(champion),
        version=champion,
        run_id=champion.run_id,
        batch=snapshot.digest,
        known=_known_categories(pipeline),
    )
    output = write_predictions(predictions, _sink(pipeline, snapshot), pipeline.base)
    return ScoringOutcome(
        pipeline=pipeline.config.name,
        rows=counts.rows,
        version=champion.version,
        run_id=champion.run_id,
        output=output,
        batch=snapshot.digest,
        start=snapshot.start,
        end=snapshot.end,
        unseen=counts.unseen,
        contract_warnings=len(contract.warnings),
        contract_page=contract.page,
    )


def _sink(pipeline: Pipeline, snapshot: Snapshot) -> Sink:
    stated = pipeline.config.scoring.sink
    if stated is not None:
        return stated
    name = f"{snapshot.digest[:16]}.parquet"
    return ParquetSink(kind="parquet", path=str(Path(pipeline.work) / "predictions" / name))


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
