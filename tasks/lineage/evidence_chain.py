"""Why a version scores, or does not: the whole chain of evidence, assembled from every record."""

from __future__ import annotations

from collections.abc import Sequence

from tasks.base.command_results import TrainingOutcome
from tasks.base.errors import InfrastructureError, UsageError
from tasks.base.monitoring_records import Decision
from tasks.base.pipeline_file import Pipeline
from tasks.base.text.commands import command
from tasks.base.training_records import ModelVersion, Record
from tasks.history import evidence
from tasks.history.evidence import MOVES, Accounts
from tasks.history.overview import champion_of
from tasks.ledger.training_outcomes import last_outcomes
from tasks.lineage.evidence_steps import steps_of
from tasks.lineage.records import Known, Link
from tasks.registry.mlflow.shared_stores import pointed, require_intact, versions_of


class Chain(Record):
    """Everything that led to a version and that followed from it, in the order of time."""

    pipeline: str
    version: str
    champion: bool  # whether it scores now
    correlation: str = ""  # the id that its decisions carry; empty where none was recorded
    steps: tuple[Link, ...] = ()
    missing: tuple[str, ...] = ()  # what is not recorded, a sentence each

    def answer(self) -> dict[str, object]:
        """Return the result for `keepfit why --json`."""
        return self.model_dump(mode="json")


def explain_version(pipeline: Pipeline, version: str | None) -> Chain:
    """Return the chain of evidence of `version`, leading `v` or not, or of the champion."""
    # Raises UsageError when there is no such version; ModelRefusedError when it is not as signed.
    ledger = evidence.accounts_of(pipeline)
    outcomes = last_outcomes(pipeline.work, most=10_000)
    number = None if version is None else version.strip().removeprefix("v")
    versions, aliased, silent, answered = _registry(pipeline, number)
    ended = ledger.decisions(pipeline.config.name, kinds=("trained", *MOVES))
    moves = [d for d in ended if d.kind in MOVES]
    recorded = champion_of(moves, (), outcomes)
    champion = aliased if answered else recorded.version if recorded else None
    wanted = champion if number is None else number
    known = _versions(ended, versions, outcomes)
    if wanted is None or wanted not in known:
        raise _unknown(pipeline, wanted, known)
    found = Known(
        pipeline=pipeline,
        version=wanted,
        decisions=_of_the_newest(_about(ledger, pipeline.config.name, wanted, moves), wanted),
        outcome=next((o for o in outcomes if o.model and o.model.version == wanted), None),
        registered=next((v for v in versions if v.version == wanted), None),
    )
    steps, missing = steps_of(found, champion=champion)
    return Chain(
        pipeline=pipeline.config.name,
        version=wanted,
        champion=wanted == champion,
        correlation=found.correlation,
        steps=steps,
        missing=(*missing, *([silent] if silent else []), *(_deleted(found) if answered else ())),
    )


def _registry(
    pipeline: Pipeline, number: str | None
) -> tuple[tuple[ModelVersion, ...], str | None, str, bool]:
    """Return versions, the aliased one, why the registry does not respond, and whether it did."""
    if not evidence.has_registry(pipeline):
        return (), None, "", False
    try:
        champion, versions = pointed(pipeline), versions_of(pipeline)
        aliased = champion.version if champion else None
        for version in versions:
            if version.version == (number or aliased):
                require_intact(pipeline, version)
        return versions, aliased, "", True
    except InfrastructureError as error:
        return (), None, f"The registry did not answer: {error.message}", False


def _deleted(known: Known) -> tuple[str, ...]:
    """Return a note on a version that the registry no longer has, though keepfit left it."""
    if known.registered is not None or known.of("collected"):
        return ()
    return (f"v{known.version} is no longer in MLflow: it was deleted there.",)


def _versions(
    ended: Sequence[Decision],
    versions: Sequence[ModelVersion],
    outcomes: Sequence[TrainingOutcome],
) -> tuple[str, ...]:
    found = {d.version for d in ended if d.version}
    found |= {v.version for v in versions} | {o.model.version for o in outcomes if o.model}
    return tuple(sorted(found, key=lambda v: (v.isdigit(), int(v) if v.isdigit() else 0, v)))[::-1]


def _unknown(pipeline: Pipeline, wanted: str | None, known: Sequence[str]) -> UsageError:
    name = pipeline.config.name
    if not known:
        return UsageError(
            f"{name} has no version yet.", f"Train one with `{command('run', file=pipeline.path)}`."
        )
    listed = ", ".join(f"v{v}" for v in known[:12])
    more = f" and {len(known) - 12} older" if len(known) > 12 else ""
    if wanted is None:
        return UsageError(f"{name} has no champion.", f"Name one of its versions: {listed}{more}.")
    return UsageError(f"{name} has no version {wanted!r}.", f"It has: {listed}{more}.")


def _of_the_newest(decisions: tuple[Decision, ...], version: str) -> tuple[Decision, ...]:
    """Leave out what is about an earlier version of the same number."""
    # A model that was deleted in MLflow and trained again counts its versions from 1.
    trained = [d for d in decisions if d.kind == "trained" and d.version == version]
    earlier = {d.correlation for d in trained[:-1]} - {d.correlation for d in trained[-1:]}
    return tuple(d for d in decisions if d.correlation not in earlier)


def _about(
    ledger: Accounts, name: str, version: str, moves: Sequence[Decision]
) -> tuple[Decision, ...]:
    """Return decisions about a version, its training and moves away from it, oldest first."""
    about = ledger.decisions(name, version=version)
    found = {d.id: d for d in about if d.kind != "scored"}
    correlations = {d.correlation for d in about if d.kind in ("trained", *MOVES, "refused")}
    away = [d for d in moves if d.text("former") == version]
    for correlation in {*correlations, *(d.correlation for d in away)}:
        found |= {d.id: d for d in ledger.decisions(name, correlation=correlation)}
    found |= {d.id: d for d in away}
    return tuple(sorted(found.values(), key=lambda d: d.at))
