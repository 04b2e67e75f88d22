"""Evidence of decisions, read from the ledger's JSON as records; None where it is not there."""

from __future__ import annotations

import os
from collections.abc import Iterable

from tasks.base.errors import ContractError
from tasks.base.monitoring_records import Decision, DecisionKind
from tasks.base.pipeline_file import Pipeline
from tasks.base.training_records import MetricValue
from tasks.ledger.ledger import Ledger, each_ledger, ledger_of

# The kinds after which another version scores.
MOVES: tuple[DecisionKind, ...] = ("promoted", "rolled_back")


_ENDS: dict[DecisionKind, str] = {
    "scored": "scoring",
    "monitored": "monitoring",
    "trained": "training",
}


class NoAccounts:
    """A ledger in which nothing was written yet."""

    def decisions(self, *_: object, **__: object) -> tuple[Decision, ...]:
        """Return nothing."""
        return ()

    def answered_at(self, *_: object) -> None:
        """Return no time."""


Accounts = Ledger | NoAccounts


def accounts_of(pipeline: Pipeline) -> Accounts:
    """Return the ledger of `pipeline`; reading never creates one."""
    return ledger_of(pipeline) if _has_ledger(pipeline) else NoAccounts()


def each_accounts(pipelines: Iterable[Pipeline]) -> list[tuple[Ledger, tuple[Pipeline, ...]]]:
    """Return every ledger that is there once, with the pipelines that keep theirs in it."""
    return each_ledger(pipeline for pipeline in pipelines if _has_ledger(pipeline))


def _has_ledger(pipeline: Pipeline) -> bool:
    return pipeline.config.ledger.url is not None or (pipeline.state / "ledger.db").exists()


def has_registry(pipeline: Pipeline) -> bool:
    """Return whether there is a registry to read; reading never creates one."""
    uri = os.environ.get("MLFLOW_TRACKING_URI", "").strip()
    return bool(uri) or (pipeline.state / "mlflow" / "mlflow.db").exists()


def flow_of(decision: Decision) -> str | None:
    """Return the flow whose work `decision` ended; None where it is of another sort."""
    if decision.kind in ("stopped", "failed"):
        named = decision.text("flow")
        flows = _ENDS.values()
        return named if named in flows else "monitoring" if decision.window else "scoring"
    return _ENDS.get(decision.kind)


def repeats_stop(decision: Decision) -> bool:
    """Return whether a run failed because of its rows, which is a decision of its own."""
    return decision.kind == "failed" and decision.text("error") == ContractError.__name__


def broken_rules(decision: Decision) -> tuple[str, ...]:
    """Return the rules of the contract that the rows of `decision` broke."""
    broken = decision.part("contract").get("broken")
    if isinstance(broken, list):
        return tuple(str(rule) for rule in broken)
    return decision.texts("rules")


def score_of(trained: Decision) -> MetricValue | None:
    """Return the holdout's score of a training, with its interval where that was recorded."""
    plain = trained.number("score")
    if plain is not None:
        return MetricValue(value=plain)
    return trained.read(MetricValue, "score")
