"""Rows that broke their contract: recorded, so that people and `why` learn of it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from pydantic import JsonValue

from tasks.base.errors import ContractError
from tasks.base.monitoring_records import Cause, Decision, Window, decision_id
from tasks.base.pipeline_file import Pipeline
from tasks.base.servers.stack_file import prefect_run_page
from tasks.base.source_notes import FileAside
from tasks.base.text.phrases import listed
from tasks.base.training_records import RuleResult, SetAside
from tasks.contracts.contract_files import known_contract
from tasks.contracts.snapshot_check import describe
from tasks.policy.triggers import start_of
from tasks.registry.open_pipeline import OpenPipeline

_QUIET = timedelta(days=7)
_MOST_RULES = 12
TOLD = (
    "alarmed", "stopped", "promoted", "refused", "rolled_back", "confirmed", "skipped",
    "cancelled",
)  # fmt: skip


def record_stop(
    pipeline: OpenPipeline,
    flow: str,
    cause: Cause,
    error: ContractError,
    prefect_run: str,
    now: datetime,
    window: Window | None = None,
) -> Decision:
    """Record that rows broke their contract and `flow` made nothing of them."""
    # The same broken rules of a flow are one decision until they change, however often they are
    # found. A training's rows are those of no window, whatever window its cause names.
    page = prefect_run_page(pipeline.state, prefect_run)
    digest = contract_digest(pipeline) if window is not None else ""
    of = f"{window} {digest}" if window is not None else f"{now:%Y-%m-%d}"
    decision = Decision(
        id=decision_id(pipeline.config.name, "stopped", flow, of, *map(_broken, error.rules)),
        pipeline=pipeline.config.name,
        kind="stopped",
        at=now,
        correlation=cause.correlation,
        sentence=f"{flow}: {error.head}{_named(error.rules)}",
        window=window,
        contract_digest=digest,
        config_digest=pipeline.digest,
        prefect_run=prefect_run,
        evidence={
            # Samples are values of rows: they stand on the contract's page only.
            "rules": [describe(rule, sample=False).strip() for rule in error.rules[:_MOST_RULES]],
            "rules_broken": len(error.rules),
            "page": error.page,
            "flow": flow,
            "remedy": error.remedy,
            "cause": cause.model_dump(mode="json"),
            **(_kept(error.aside) if isinstance(error.aside, SetAside) else {}),
        },
        links={"prefect": page} if page else {},
    )
    pipeline.ledger.record(decision)
    return decision


def record_set_aside(
    pipeline: OpenPipeline, aside: SetAside, cause: Cause, prefect_run: str, now: datetime
) -> tuple[Decision, bool]:
    """Record that rows were set aside, each file once; return also whether it is to be reported."""
    # The same broken rules of a contract are reported once in a week.
    name = pipeline.config.name
    page = prefect_run_page(pipeline.state, prefect_run)
    rest = aside.of - aside.rows
    plural = "row" if aside.rows == 1 else "rows"
    decision = Decision(
        id=decision_id(name, "quarantined", aside.digest, aside.contract_digest),
        pipeline=name,
        kind="quarantined",
        at=now,
        correlation=cause.correlation,
        sentence=f"{aside.rows:,} {plural} broke the contract ({', '.join(aside.names[:3])}) and "
        f"are set aside; the other {rest:,} were scored.",
        data_digest=aside.digest,
        contract_digest=aside.contract_digest,
        config_digest=pipeline.digest,
        prefect_run=prefect_run,
        evidence={
            "flow": "scoring",
            "rules": [describe(rule, sample=False).strip() for rule in aside.rules],
            "cause": cause.model_dump(mode="json"),
            **_kept(aside),
        },
        links={"prefect": page} if page else {},
    )
    earlier = pipeline.ledger.decisions(name, kinds=("quarantined",), since=now - _QUIET, most=200)
    broke = (decision.contract_digest, decision.evidence.get("broke"))
    known = any((d.contract_digest, d.evidence.get("broke")) == broke for d in earlier)
    pipeline.ledger.record(decision)
    return decision, not known


def record_stale_files(
    pipeline: OpenPipeline,
    files: Sequence[FileAside],
    cause: Cause,
    prefect_run: str,
    now: datetime,
) -> tuple[Decision, ...]:
    """Record, each once, files that are not whole and no longer written; return the new ones."""
    name = pipeline.config.name
    page = prefect_run_page(pipeline.state, prefect_run)
    made = [
        Decision(
            id=decision_id(name, "quarantined", "file", note.file, note.reason),
            pipeline=name,
            kind="quarantined",
            at=now,
            correlation=cause.correlation,
            sentence=f"{note.file} is {note.reason} and has not changed for an hour: its rows are "
            "not scored.",
            config_digest=pipeline.digest,
            prefect_run=prefect_run,
            evidence={
                "flow": "scoring",
                "left_aside": note.file,
                "cause": cause.model_dump(mode="json"),
            },
            links={"prefect": page} if page else {},
        )
        for note in files
        if note.stale
    ]
    return tuple(decision for decision in made if pipeline.ledger.record(decision))


def _broken(rule: RuleResult) -> str:
    """Return the broken rules, without counts: more rows of the same fault are no new one."""
    return f"{rule.column}: {rule.rule}" if rule.column else rule.rule


def _named(rules: Sequence[RuleResult]) -> str:
    return f" Broken: {listed(list(dict.fromkeys(map(_broken, rules))))}." if rules else ""


def _kept(aside: SetAside) -> dict[str, JsonValue]:
    return {
        "rows_aside": aside.rows,
        "rows_checked": aside.of,
        "file": aside.file,
        "broke": list(aside.names),
        "accept_command": aside.accept_command,
        "score_command": aside.score_command,
    }


def contract_digest(pipeline: Pipeline) -> str:
    """Return the digest of the contract that holds now; empty without one."""
    contract = known_contract(pipeline)
    return contract.digest() if contract is not None else ""


def to_tell(pipeline: OpenPipeline, correlation: str) -> tuple[Decision, ...]:
    """Return the decisions under one correlation that may be reported, oldest first."""
    # Of several windows that a pass found broken, the newest stands for all.
    found = pipeline.ledger.decisions(
        pipeline.config.name, kinds=TOLD, correlation=correlation, most=200
    )
    broken = [d for d in found if d.kind == "stopped" and d.window is not None]
    newest = max(broken, key=lambda d: start_of(d.window), default=None)
    return tuple(d for d in reversed(found) if d not in broken or d is newest)
