"""Retention of versions: which stay; the others go with all their runs and files.

A version is collected in this order: it can never be champion again; the ledger records that it was
collected; it leaves the registry; its training's runs, models and files go. Each step finds again
what a killed process left, so a pass that is cut off is ended by the next.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable
from datetime import datetime

from tasks.base.monitoring_records import Decision, decision_id, new_correlation
from tasks.base.runtime.failpoints import reach
from tasks.base.training_records import ModelVersion, Verdict
from tasks.history.evidence import has_registry
from tasks.ledger.ledger import Ledger
from tasks.monitoring.probation.promotion_chain import MOVES, chain_of, moves_of
from tasks.registry.alias.champion_alias import rolled_back_to
from tasks.registry.mlflow.store import Store
from tasks.registry.open_pipeline import OpenPipeline

_LOGGER = logging.getLogger(__name__)
NEWEST = 5
_NONE = frozenset({"", "none"})


def kept_versions(
    pipeline: OpenPipeline, trained: Iterable[str], before: datetime
) -> dict[str, str]:
    """Return the versions that stay, with the first reason; older ones than `before` may go."""
    if not has_registry(pipeline):
        return {}
    store, name = pipeline.store, pipeline.config.name
    champion, versions = store.pointed(name), store.versions(name)
    back = rolled_back_to(champion, {v.version: v for v in versions}.get) if champion else ()
    moves = pipeline.ledger.decisions(name, kinds=MOVES)
    chain = chain_of(champion.version, moves_of(moves)) if champion else None
    reasons = [
        ("champion", [champion.version] if champion else []),
        ("alias", store.aliased(name)),
        ("rollback", [v.version for v in back]),
        ("probation", (*chain.members, chain.base) if chain else ()),
        ("newest", [v.version for v in versions[:NEWEST]]),
        ("recent", [v.version for v in versions if not _is_old(v, before)]),
        ("trained", trained),
        (
            "decided",
            [v for d in pipeline.ledger.decisions(name, since=before) for v in named_by(d)],
        ),
    ]
    kept: dict[str, str] = {}
    for reason, found in reasons:
        for version in found:
            kept.setdefault(version, reason)
    return kept


def named_by(decision: Decision) -> frozenset[str]:
    """Return the versions that a decision is about or was made against."""
    if decision.kind == "collected":
        return frozenset()
    verdict = decision.read(Verdict, "verdict")
    found = {
        decision.version or "",
        decision.text("former"),
        decision.text("champion"),
        (verdict.champion_version if verdict else None) or "",
    }
    return frozenset(found - _NONE)


def collect_registry(
    pipeline: OpenPipeline, kept: Collection[str], before: datetime, now: datetime
) -> int:
    """Remove the versions of `pipeline` that are not `kept`, and old runs that hold none."""
    # Returns how many versions and runs went.
    if not has_registry(pipeline):
        return 0
    store, name, gone = pipeline.store, pipeline.config.name, 0
    for version in store.versions(name):
        if version.version not in kept and _is_old(version, before):
            gone += _collected(store, pipeline.ledger, version, now)
    families = (
        *store.families(name, before),
        *store.old_monitoring(name, before, {v.version for v in store.versions(name)}),
    )
    for family in families:
        store.remove_family(family)
        gone += len(family.runs)
    store.shrink()
    return gone


def _is_old(version: ModelVersion, before: datetime) -> bool:
    return version.created is not None and version.created < before


def _collected(store: Store, ledger: Ledger, version: ModelVersion, now: datetime) -> bool:
    if not store.retire_version(version):
        return False
    reach("deploy.retention.versions.after_retiring")
    trained = ledger.decisions(version.name, kinds=("trained",), version=version.version, most=1)
    ledger.record(
        Decision(
            id=decision_id(version.name, "collected", version.version),
            pipeline=version.name,
            kind="collected",
            at=now,
            # With its training's correlation it stays as long as that training's record.
            correlation=trained[0].correlation if trained else new_correlation(),
            sentence=(
                f"v{version.version} was collected by retention: older than the pipeline keeps, "
                "neither champion nor wanted for a rollback. Its model, runs and files are gone."
            ),
            version=version.version,
            evidence={"created": str(version.created), "run": version.run_id},
        )
    )
    reach("deploy.retention.versions.after_recording")
    store.remove_version(version)
    reach("deploy.retention.versions.after_version")
    _LOGGER.info("%s: version %s was collected", version.name, version.version)
    return True
