"""The steps of a chain, each from the best record there is of it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from pydantic import JsonValue

from tasks.base.monitoring_records import Cause, Decision, DriftResult, Gain, Performance
from tasks.base.servers.stack_file import mlflow_run_page, prefect_run_page
from tasks.base.text.numbers import metric_words, number, seconds
from tasks.base.text.phrases import brief, differing, plural, span, valued
from tasks.base.training_records import RECIPE_OF_TAG, TRAINING_TAG, Verdict
from tasks.history import links
from tasks.history.entries import judged_against, moved_columns, performed
from tasks.history.evidence import score_of
from tasks.lineage.after_training import beside_champion, followed, in_use, link_of, tagged
from tasks.lineage.records import Known, Link
from tasks.policy.triggers import triggers_of
from tasks.registry.gate.gate import incomplete_words
from tasks.registry.mlflow.shared_stores import store_of

_DIGITS = 12
_MOST_COLUMNS = 8
_MOST_WINDOWS = 5
_BASELINE = "baseline"  # of every leaderboard, never a challenger
_Step = Callable[[Known], list[Link]]


def steps_of(known: Known, *, champion: str | None) -> tuple[tuple[Link, ...], tuple[str, ...]]:
    """Return the steps in their order, and a sentence for each that nothing records."""
    # What led to the training and the training itself stand in the order of cause and effect; what
    # followed, in the order of time.
    missing = []
    before: list[Link] = []
    for absence, step in _BEFORE:
        found = step(known)
        if not found and absence:
            missing.append(absence)
        before += found
    after = [link for d in known.decisions if (link := followed(known, d)) is not None]
    if not any(link.what in ("promoted", "refused") for link in after):
        after = [*tagged(known), *after]
        if not any(link.what in ("promoted", "refused") for link in after):
            missing.append("Whether the gate promoted or refused it is not recorded.")
    if champion == known.version:
        after.append(in_use(known))
    elif (shadow := beside_champion(known)) is not None:
        after.append(shadow)
    return (*before, *after), tuple(missing)


def _shared(known: Known, kind: str) -> list[Decision]:
    return [d for d in known.of(kind) if d.correlation == known.correlation]


def _cause(known: Known) -> list[Link]:
    trained = known.trained
    cause = trained.read(Cause, "cause") if trained is not None else None
    if cause is None:
        return []
    if cause.kind == "alarm":
        windows = _windows(known)
        alarms = [_alarm(known, d) for d in _shared(known, "alarmed")]
        alarm = Link(at=cause.at, what="alarm", sentence=" ".join(cause.reasons) or "An alarm.")
        return [*windows, *(alarms or [alarm])]
    if cause.kind == "schedule":
        return [Link(at=cause.at, what="schedule", sentence="The schedule requested a training.")]
    return [Link(at=cause.at, what="by hand", sentence="A person requested a training.")]


def _windows(known: Known) -> list[Link]:
    """Return the windows behind the alarm, each once: as last looked at, then what was restated."""
    # Where one pass looked at many, only the newest few of those that its alarm reports are named.
    found = {d.window: d for d in _shared(known, "monitored")}
    reported = {t.window for d in _shared(known, "alarmed") for t in triggers_of(d) or ()}
    behind = [d for window, d in found.items() if not reported or window in reported]
    behind.sort(key=lambda d: (d.window is not None, d.window.start if d.window else d.at))
    links = [_window(known, d) for d in behind[-_MOST_WINDOWS:]]
    if len(behind) > _MOST_WINDOWS:
        first = behind[0]
        count = plural(len(behind) - _MOST_WINDOWS, "earlier window")
        sentence = f"{count} from {span(first.window)} on called for it too."
        links.insert(0, link_of(known, first, "window", sentence, {}))
    restated = [
        (d, p)
        for d in _shared(known, "alarmed")
        for p in d.read_all(Performance, "performance")
        if p.window not in found
    ]
    return [*links, *(_restated(known, decision, p) for decision, p in restated)]


def _restated(known: Known, decision: Decision, found: Performance) -> Link:
    sentence = f"{span(found.window)} was restated with its labels: {performed(found)}."
    numbers: dict[str, Any] = {"window": _dumped(found.window), "performance": _dumped(found)}
    return link_of(known, decision, "window", sentence, numbers)


def _window(known: Known, decision: Decision) -> Link:
    drift = decision.read(DriftResult, "drift")
    stated = decision.read_all(Performance, "performance")
    own = next((p for p in stated if p.window == decision.window), None)
    sentence = f"{span(decision.window)} was looked at"
    if drift is not None:
        sentence += f": {plural(drift.rows, 'row')}"
        if drift.score is not None and drift.limit is not None:
            sentence += f", drift {brief(drift.score)}, limit {brief(drift.limit)}"
    numbers: dict[str, Any] = {
        "window": _dumped(decision.window),
        "rows": decision.evidence.get("rows"),
        "score": drift.score if drift else None,
        "limit": drift.limit if drift else None,
        "performance": _dumped(own),
    }
    return link_of(known, decision, "window", sentence + ".", numbers)


def _alarm(known: Known, decision: Decision) -> Link:
    columns = moved_columns(decision)
    if not columns:
        shared = _shared(known, "monitored")
        window = next((d for d in reversed(shared) if d.window == decision.window), None)
        columns = moved_columns(window) if window is not None else ()
    drifted = [c for c in columns if c.drifted]
    numbers: dict[str, Any] = {
        "reasons": decision.evidence.get("reasons"),
        "columns": [
            c.model_dump(mode="json", include={"column", "statistic", "threshold", "p_value"})
            for c in drifted[:_MOST_COLUMNS]
        ],
        "retrain": decision.evidence.get("retrain"),
        "gain": _dumped(decision.read(Gain, "gain")),
    }
    return link_of(known, decision, "alarm", decision.sentence, numbers)


def _run(known: Known) -> list[Link]:
    trained, outcome = known.trained, known.outcome
    run = trained.prefect_run if trained else ""
    run = run or (outcome.prefect_run_id or "" if outcome else "")
    if not run:
        return []
    took, ended = _took(known)
    begun = ended - timedelta(seconds=took) if ended is not None and took is not None else ended
    page = prefect_run_page(known.pipeline.state, run)
    page = page or (trained.links.get("prefect") if trained else None)
    return [
        Link(
            at=begun,
            what="run",
            sentence=f"{run}, {seconds(took)}" if took else run,
            numbers={"prefect_run": run, "seconds": took},
            links={"prefect": page} if page else {},
        )
    ]


def _took(known: Known) -> tuple[float | None, datetime | None]:
    if known.trained is not None:
        return known.trained.number("seconds"), known.trained.at
    if known.outcome is not None:
        return known.outcome.seconds or None, known.outcome.finished
    return None, None


def _data(known: Known) -> list[Link]:
    trained, outcome = known.trained, known.outcome
    digest = trained.data_digest if trained else ""
    digest = digest or (outcome.data_digest if outcome else "")
    digest = digest or known.tags.get("keepfit.data_digest", "")
    if not digest:
        return []
    train, holdout = _rows(known)
    rows = f"{train:,} rows to train on, {holdout:,} held out" if train and holdout else ""
    until = trained.text("trained_until") if trained else ""
    until = until or known.tags.get("keepfit.trained_until", "")
    newest = f"the newest of {until[:16].replace('T', ' ')}" if until else ""
    numbers: dict[str, JsonValue] = {
        "data_digest": digest,
        "rows_train": train,
        "rows_holdout": holdout,
        "trained_until": until or None,
        "window": _dumped(trained.window if trained else None),
    }
    size = ", ".join(part for part in (rows, newest) if part)
    sentence = f"{size}; digest {digest[:_DIGITS]}." if size else f"Digest {digest[:_DIGITS]}."
    return [Link(at=None, what="data", sentence=sentence, numbers=numbers)]


def _rows(known: Known) -> tuple[int | None, int | None]:
    if known.trained is not None:
        found = [known.trained.number(f"rows_{part}") for part in ("train", "holdout")]
        if None not in found:
            return int(found[0] or 0), int(found[1] or 0)
    if known.outcome is not None:
        return known.outcome.rows_train, known.outcome.rows_holdout
    return None, None


def _contract(known: Known) -> list[Link]:
    trained, outcome = known.trained, known.outcome
    digest = trained.contract_digest if trained else ""
    digest = digest or known.tags.get("keepfit.contract_digest", "")
    if not digest and outcome is None:
        return []
    # A training whose rows break their contract registers no version.
    text = "Held"
    if outcome is not None and outcome.contract_warnings:
        text += f" with {plural(outcome.contract_warnings, 'warning')}"
    sentence = text + (f"; digest {digest[:_DIGITS]}." if digest else ".")
    return [
        Link(
            at=None,
            what="contract",
            sentence=sentence,
            numbers={
                "contract_digest": digest or None,
                "passed": True,
                "warnings": outcome.contract_warnings if outcome else None,
            },
            links={"contract": outcome.contract_page} if outcome and outcome.contract_page else {},
        )
    ]


def _training(known: Known) -> list[Link]:
    trained, outcome = known.trained, known.outcome
    run = (trained.mlflow_run if trained else "") or (outcome.mlflow_run_id if outcome else "")
    run = run or (known.registered.run_id if known.registered else "")
    challenger = trained.text("challenger") if trained else ""
    challenger = challenger or (outcome.challenger if outcome else "")
    challenger = challenger or known.tags.get("keepfit.candidate", "")
    if not run and not challenger:
        return []
    at = trained.at if trained else outcome.finished if outcome else None
    if at is None and known.registered is not None:
        at = known.registered.created
    rows = outcome.leaderboard if outcome else ()
    fitted = [r for r in rows if r.status == "ok" and r.candidate != _BASELINE]
    of = f" of {plural(len(fitted), 'candidate')}" if fitted else ""
    metric, score = _score(known)
    reached = f", {metric_words(metric)} {score} on the holdout" if metric and score else ""
    return [
        Link(
            at=at,
            what="training",
            sentence=f"{_how(known, challenger, of)}{reached}; MLflow run {run}.",
            numbers={
                "mlflow_run": run,
                "challenger": challenger or None,
                "metric": metric or None,
                "training": known.tags.get(TRAINING_TAG),
                "recipe_of": known.tags.get(RECIPE_OF_TAG),
                "candidates": [
                    r.model_dump(mode="json", include={"candidate", "cv_mean", "holdout"})
                    for r in fitted
                ],
            },
            links=_training_links(known, run),
        )
    ]


def _how(known: Known, challenger: str, of: str) -> str:
    """Return the origin of the model: a search's best, or the recipe of an earlier version."""
    mode = known.outcome.mode if known.outcome is not None else None
    name = challenger or "A model"
    recipe_of = known.tags.get(RECIPE_OF_TAG) or (mode.recipe_of if mode else None)
    if recipe_of is not None:
        return f"A refit: {name} by the recipe of v{recipe_of}, on newer rows"
    instead = f" (a search in place of a refit: {mode.obstacle})" if mode and mode.obstacle else ""
    return f"{name} was the best{of}{instead}"


def _score(known: Known) -> tuple[str, str]:
    if known.outcome is not None:
        metric = known.outcome.metric
        return metric, valued(known.outcome.metrics.get(metric))
    if known.trained is not None and (stated := score_of(known.trained)) is not None:
        return known.trained.text("metric"), valued(stated)
    score = known.registered.score if known.registered is not None else None
    return known.tags.get("keepfit.metric", ""), "" if score is None else number(score)


def _training_links(known: Known, run: str) -> dict[str, str]:
    trained, outcome = known.trained, known.outcome
    found = dict(links.addresses(known.pipeline, trained)) if trained else {}
    found.pop("prefect", None)
    if known.of("collected"):
        found.pop("mlflow", None)
    if outcome is not None and outcome.report:
        found.setdefault("report", outcome.report)
    if "mlflow" not in found and known.registered is not None:
        page = _mlflow_page(known, run)
        found |= {"mlflow": page} if page else {}
    return found


def _mlflow_page(known: Known, run: str) -> str | None:
    if mlflow_run_page(known.pipeline.state, "0", run) is None:
        return None
    experiment = store_of(known.pipeline).experiment(known.pipeline.config.name)
    return mlflow_run_page(known.pipeline.state, experiment, run)


def _gate(known: Known) -> list[Link]:
    verdict = known.trained.read(Verdict, "verdict") if known.trained is not None else None
    if verdict is None and known.outcome is not None:
        verdict = known.outcome.verdict
    return [] if verdict is None else [gated(verdict)]


def gated(verdict: Verdict) -> Link:
    """Return the gate's decision, with its numbers."""
    rests = verdict.evidence
    words = [verdict.sentence]
    if verdict.difference is not None and rests is not None:
        gain = differing(verdict.difference, verdict.interval)
        words = [
            f"{'Promote' if verdict.promoted else 'Keep'}: gain over {judged_against(verdict)} "
            f"{gain}, {100 * verdict.confidence:g} %, {plural(rests.rows, 'row')}"
            + (
                f"; smallest that could be seen {number(rests.detectable, rests.detectable)}."
                if rests.detectable is not None
                else "."
            )
        ]
        if verdict.skipped:
            words.append(incomplete_words(verdict.skipped))
    numbers: dict[str, Any] = {
        "promoted": verdict.promoted,
        "reason": verdict.reason,
        "difference": verdict.difference,
        "interval": list(verdict.interval) if verdict.interval else None,
        "confidence": verdict.confidence,
        "rows": rests.rows if rests else None,
        "detectable": rests.detectable if rests else None,
        "baseline_difference": rests.baseline_difference if rests else None,
        "champion": verdict.champion_version,
        "skipped": list(verdict.skipped),
        "sentence": verdict.sentence,
    }
    return Link(at=None, what="gate", sentence=" ".join(words), numbers=numbers)


_BEFORE: tuple[tuple[str, _Step], ...] = (
    ("The cause of its training is not recorded.", _cause),
    ("Its Prefect flow run is not recorded.", _run),
    ("The rows it learned from are not recorded.", _data),
    ("Its contract is not recorded.", _contract),
    ("Its training is not recorded.", _training),
    ("The gate's numbers are not recorded.", _gate),
)


def _dumped(record: Any) -> JsonValue:
    value: JsonValue = None if record is None else record.model_dump(mode="json")
    return value
