"""Alert messages: one per decision, a title and a short body.

They state what moved and how much, since when, what keepfit did, and the next step. They never
contain values of rows, and column names cannot act as markup in any channel.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from pydantic import JsonValue

from tasks.base.monitoring_records import Decision, DriftResult, Performance, Window, is_of_prefect
from tasks.base.text.commands import command
from tasks.base.text.phrases import minute
from tasks.base.text.redaction import redact
from tasks.base.training_records import Record
from tasks.monitoring.alerts.alarm_summary import (
    Moved,
    gain_statement,
    is_upkeep,
    moved,
    number,
    statement,
    what_moved,
)
from tasks.monitoring.alerts.markup import (
    TITLE_LENGTH,
    as_markdown,
    as_text,
    cleaned,
    code,
    listed,
    title,
)
from tasks.monitoring.alerts.redaction import without_secrets
from tasks.policy.gain_sentences import gain_headline, gain_sentence

Level = Literal["info", "success", "warning", "failure"]
_MOST_RULES = 6
_MOST_OF_RULE = 240
_MOST_WINDOWS = 3
_MOST_WORDS = 600


class Message(Record):
    """A message as plain text and as Markdown."""

    title: str
    text: str
    markdown: str
    level: Level = "info"


@dataclass
class _Draft:
    """A message before it is rendered: labelled sentences."""

    rest: str
    level: Level
    parts: list[tuple[str, str]] = field(default_factory=list)

    def add(self, label: str, content: str) -> None:
        """Add a sentence; an empty one is left out."""
        if content:
            self.parts.append((label, content))


def message_of(
    decision: Decision,
    related: Sequence[Decision] = (),
    *,
    file: str = "",
    secrets: Iterable[str] = (),
) -> Message | None:
    """Return the message that reports `decision`, or None when it is not reported."""
    # `related` are other decisions of the pipeline, such as the alarm behind a training; what does
    # not concern `decision` is left aside. `file` is for proposed commands; `secrets` never leave.
    if not _is_reported(decision, related):
        return None
    hidden = tuple(secrets)
    seen = without_secrets(decision, hidden)
    draft = _WRITERS[decision.kind](seen, [without_secrets(r, hidden) for r in related], file)
    trace = f"{_command('why', file)} shows the evidence; id {cleaned(seen.correlation)}."
    draft.add("Trace", trace)
    return Message(
        title=redact(title(seen.pipeline, draft.rest), hidden)[:TITLE_LENGTH],
        text=redact(as_text(draft.parts, seen.links), hidden),
        markdown=redact(as_markdown(draft.parts, seen.links), hidden),
        level=draft.level,
    )


def _is_reported(decision: Decision, related: Sequence[Decision]) -> bool:
    if decision.kind == "alarmed":
        return not is_upkeep(decision)
    if decision.kind == "refused":
        return _after_an_alarm(decision, related)
    if decision.kind == "skipped":
        return _cause_kind(decision) == "manual" or _answers_an_alarm(decision, related)
    if decision.kind == "cancelled":
        return _answers_an_alarm(decision, related)
    return decision.kind in _WRITERS


def _after_an_alarm(decision: Decision, related: Sequence[Decision]) -> bool:
    kin = [decision, *(r for r in related if r.correlation == decision.correlation)]
    alarms = [d for d in kin if d.kind == "alarmed"]
    if alarms:
        return not all(is_upkeep(alarm) for alarm in alarms)
    return any(_cause_kind(d) == "alarm" for d in kin)


def _answers_an_alarm(decision: Decision, related: Sequence[Decision]) -> bool:
    """Return whether `decision` ends what an alarm promised to report."""
    repeated = decision.evidence.get("withheld") == "duplicate"
    goes_on = repeated or bool(decision.evidence.get("again"))
    return not goes_on and _after_an_alarm(decision, related)


def _cause_kind(decision: Decision) -> str:
    return str(decision.part("cause").get("kind", ""))


def _alarmed(decision: Decision, related: Sequence[Decision], file: str) -> _Draft:
    found = moved(decision, related)
    retrains = bool(decision.evidence.get("retrain"))
    due = _clock(decision.evidence.get("answer_by"))
    answer = (
        "retraining"
        if due
        else "a training is due"
        if retrains
        else _WAITS.get(found.withheld, "not retraining")
    )
    headline = gain_headline(found.gain, found.weighed) if found.gain is not None else ""
    if headline:
        answer = {"retraining": "training requested"}.get(answer, answer)
    idle = not retrains and found.withheld in ("", "not asked")
    over = _quiet_since(decision, related) if idle else None
    where = " in an earlier window" if over else ""
    draft = _Draft(f"{headline or f'{_alarm(found)}{where}'}, {answer}", "warning")
    draft.add("Gain", gain_statement(found))
    draft.add("What", what_moved(found) or cleaned(decision.sentence, _MOST_WORDS))
    draft.add("Performance", statement(found.performance))
    draft.add("Since", found.since)
    draft.add("Also", _named_windows(found.others))
    if due:
        draft.add("keepfit", "requested a training; its gate decides what becomes champion.")
        by = f"by {due} UTC at the latest"
        draft.add("Next", f"nothing to do now: the training's decision is reported {by}.")
    elif retrains:
        draft.add("keepfit", "recommends a training; a manual monitoring run does not start one.")
        draft.add("Next", f"train: {_command('run', file)}.")
    else:
        otherwise = f"trains nothing: {_WAITS.get(found.withheld, 'the policy does not need it')}"
        answer = cleaned(found.policy, _MOST_WORDS) or otherwise
        if over:
            answer = f"trains nothing: {over}, looked at in the same pass, needs no action"
        draft.add("keepfit", f"{answer[0].lower()}{answer[1:]}. The champion scores on.")
        draft.add("Next", f"look at the report; to train at once: {_command('run', file)}.")
    return draft


def _quiet_since(decision: Decision, related: Sequence[Decision]) -> Window | None:
    """Return the newest window, if it is later than the alarm's window and calls for nothing."""
    looked = [d for d in related if d.kind == "monitored" and d.version == decision.version]
    windows = [(d.window.start, d.at, d) for d in looked if d.window is not None]
    if decision.window is None or not windows:
        return None
    newest = max(windows, key=lambda one: one[:2])[2]
    drift = newest.read(DriftResult, "drift")
    calls = drift is not None and drift.alarm
    stated = newest.read_all(Performance, "performance")
    calls |= any(p.worse for p in stated if p.window == newest.window)
    later = newest.window is not None and newest.window.start > decision.window.start
    return newest.window if later and not calls else None


def _named_windows(windows: Sequence[Window]) -> str:
    """Return how many windows called for action too, and the newest of them."""
    if not windows:
        return ""
    shown = ", ".join(str(window) for window in windows[-_MOST_WINDOWS:])
    more = f"{len(windows) - _MOST_WINDOWS} more and " if len(windows) > _MOST_WINDOWS else ""
    count = "1 earlier window" if len(windows) == 1 else f"{len(windows)} earlier windows"
    return f"{count} not yet reported: {more}{shown}."


def _alarm(found: Moved) -> str:
    worse = found.performance is not None and found.performance.worse
    metric = found.performance.metric if found.performance and worse else ""
    if found.drifted:
        drift = f"drift in {found.drifted} of {found.columns} columns"
        return f"{drift}, worse {metric}" if worse else drift
    return f"worse {metric}" if worse else "drift" if found.names or found.harm else "alarm"


def _stopped(decision: Decision, related: Sequence[Decision], file: str) -> _Draft:
    flow = str(decision.evidence.get("flow", ""))
    rules = decision.texts("rules")
    nothing = {"scoring": "nothing scored", "training": "nothing trained"}.get(
        flow, "window not judged"
    )
    number_of = int(decision.number("rules_broken") or len(rules))
    count = f"{number_of} contract rule{'' if number_of == 1 else 's'}" if rules else "contract"
    draft = _Draft(f"{count} broken, {nothing}", "failure")
    shown = _shown(rules)
    if number_of > len(shown):
        shown.append(f"and {number_of - len(shown)} more")
    where = f"of {decision.window} " if decision.window else ""
    draft.add("What", f"rows {where}broke:{listed(shown)}" if rules else "")
    others = {
        d.window
        for d in related
        if d.kind == "stopped" and d.window is not None and d.correlation == decision.correlation
    }
    draft.add("Also", _named_windows(sorted(others - {decision.window}, key=lambda w: w.start)))
    draft.add("keepfit", f"{nothing}; the champion and all earlier predictions are as they were.")
    draft.add("Page", cleaned(decision.evidence.get("page") or "", 200))
    if decision.evidence.get("file"):
        _add_kept(draft, decision)
        return draft
    again = _command(_AGAIN.get(flow, "monitor"), file)
    if decision.window is not None:
        again = _command(f"monitor --window {decision.window}", file)
    draft.add(
        "Next",
        f"fix the rows at their source, then {again}. If the change is intended, see it with "
        f"{_command('contract diff', file)} and accept it with "
        f"{_command('contract accept', file)}.",
    )
    return draft


def _quarantined(decision: Decision, related: Sequence[Decision], file: str) -> _Draft:  # noqa: ARG001
    if decision.evidence.get("left_aside"):
        return _left_aside(decision, file)
    aside, of = (int(decision.number(key) or 0) for key in ("rows_aside", "rows_checked"))
    draft = _Draft(f"{aside:,} of {of:,} rows set aside, the rest scored", "warning")
    draft.add("What", f"they broke the contract:{listed(_shown(decision.texts('rules')))}")
    draft.add("keepfit", "scored the other rows. The same fault is not reported again for a week.")
    _add_kept(draft, decision)
    return draft


def _left_aside(decision: Decision, file: str) -> _Draft:
    draft = _Draft("a file is not whole, the rest scored", "warning")
    draft.add("What", cleaned(decision.sentence))
    draft.add("keepfit", "scored the rows of the other files. This file is not reported again.")
    draft.add(
        "Next",
        "write it again, or remove it if it is damaged. The next scoring includes its rows, unless "
        f"they are older than one monitoring window: then {_command('score', file)} with --input.",
    )
    return draft


def _shown(rules: Sequence[str]) -> list[str]:
    return [code(rule, _MOST_OF_RULE) for rule in rules[:_MOST_RULES]]


def _add_kept(draft: _Draft, decision: Decision) -> None:
    """Add where the rows set aside are kept, and the commands that get them scored."""
    evidence = decision.evidence
    rows = int(decision.number("rows_aside") or 0)
    draft.add("Rows", f"{rows:,}, kept in {code(evidence.get('file') or '', 300)}.")
    accept = evidence.get("accept_command")
    meant = f"; or, if the change is intended, {code(accept, 600)}" if accept else ""
    draft.add(
        "Next",
        f"fix the rows at their source{meant}. "
        f"Then {code(evidence.get('score_command') or '', 600)}.",
    )


def _promoted(decision: Decision, related: Sequence[Decision], file: str) -> _Draft:
    former = decision.evidence.get("former")
    new = f"version {cleaned(decision.version or '?', 20)}"
    instead = f", replaces {cleaned(former, 20)}" if former else ", the first"
    draft = _Draft(f"{new} is champion{instead}", "success")
    draft.add("What", f"{new} scores from now on{_by_hand(decision)}.")
    draft.add("Why", cleaned(decision.sentence) or _difference(decision))
    if _after_an_alarm(decision, related):
        draft.add("Cause", _alarm_before(related, decision))
    back = f" To go back: {_command('rollback', file)}." if former else ""
    draft.add("Compared", _not_compared(decision))
    draft.add("Next", f"{_after(decision, file) or 'nothing to do.'}{back}")
    return draft


def _alarm_before(related: Sequence[Decision], decision: Decision) -> str:
    """Return the evidence of the alarm behind a promotion."""
    alarms = [r for r in related if r.kind == "alarmed" and r.correlation == decision.correlation]
    found = moved(alarms[-1], related) if alarms else Moved()
    if found.gain is None or not gain_headline(found.gain, found.weighed):
        return "an alarm that was reported before."
    return cleaned(f"{gain_sentence(found.gain, found.weighed)}.", 400)


def _not_compared(decision: Decision) -> str:
    """Return which candidates the time budget left out; empty where all were compared."""
    names = ", ".join(cleaned(name, 40) for name in decision.texts("skipped"))
    return f"not all candidates: the time budget was used up before {names}." if names else ""


def _after(decision: Decision, file: str) -> str:
    """Return the command that completes a comparison; empty where nothing is missing."""
    if not _not_compared(decision):
        return ""
    return (
        f"{_command('run', file)} when the machine is less busy, which fits what is missing; or "
        "raise training.budget."
    )


def _refused(decision: Decision, related: Sequence[Decision], file: str) -> _Draft:  # noqa: ARG001
    kept = decision.evidence.get("former")
    stays = f"version {cleaned(kept, 20)}" if kept else "the champion"
    draft = _Draft(f"retrained after the alarm, {stays} stays champion", "info")
    draft.add("Why", cleaned(decision.sentence) or _difference(decision))
    draft.add("keepfit", "keeps scoring with it: no new model was shown to be better.")
    draft.add("Compared", _not_compared(decision))
    draft.add(
        "Next",
        _after(decision, file)
        or "not urgent: see in the report whether a source changed its meaning; a model cannot "
        "fix that.",
    )
    return draft


def _rolled_back(decision: Decision, related: Sequence[Decision], file: str) -> _Draft:  # noqa: ARG001
    left = decision.evidence.get("former")
    now = f"version {cleaned(decision.version or '?', 20)}"
    draft = _Draft(f"rolled back to {now}", "warning")
    came = f" instead of {cleaned(left, 20)}" if left else ""
    draft.add("What", f"{now} scores again{came}{_by_hand(decision)}.")
    draft.add("Why", cleaned(decision.sentence) or _difference(decision))
    draft.add("Next", f"nothing at once; before the next training, see {_command('status', file)}.")
    return draft


def _failed(decision: Decision, related: Sequence[Decision], file: str) -> _Draft:  # noqa: ARG001
    flow = cleaned(decision.evidence.get("flow") or "a flow", 30)
    state = str(decision.evidence.get("state", "")).lower()
    draft = _Draft(f"{flow} {_STATES.get(state, 'failed')}", "failure")
    draft.add("What", cleaned(decision.evidence.get("message") or decision.sentence))
    draft.add("keepfit", "left champion and predictions as they were; the schedule goes on.")
    logged = is_of_prefect(decision.prefect_run)
    run = f"open its log (Prefect run {code(decision.prefect_run)}), " * logged
    draft.add("Next", f"{run}fix the cause, then {_command(_AGAIN.get(flow, 'status'), file)}.")
    return draft


def _reaped(decision: Decision, related: Sequence[Decision], file: str) -> _Draft:  # noqa: ARG001
    flow = cleaned(decision.evidence.get("flow") or "a flow", 30)
    again = bool(decision.evidence.get("again"))
    draft = _Draft(f"{flow} had died, {'started again' if again else 'ended'}", "warning")
    since = _clock(decision.evidence.get("since"))
    began = f" It had run since {since} UTC." if since else ""
    draft.add("What", f"the process of this run was gone; the run is marked as crashed.{began}")
    draft.add(
        "Next",
        "nothing to do, unless it comes again: then look at memory and disk."
        if again
        else f"start it with {_command(_AGAIN.get(flow, 'status'), file)}.",
    )
    return draft


def _cancelled(decision: Decision, related: Sequence[Decision], file: str) -> _Draft:  # noqa: ARG001
    flow = cleaned(decision.evidence.get("flow") or "a flow", 30)
    draft = _Draft(f"{flow} was cancelled", "warning")
    draft.add("What", cleaned(decision.sentence))
    draft.add("keepfit", "left champion and predictions as they were; the schedule goes on.")
    draft.add("Next", f"to run it: {_command(_AGAIN.get(flow, 'status'), file)}.")
    return draft


def _skipped(decision: Decision, related: Sequence[Decision], file: str) -> _Draft:  # noqa: ARG001
    withheld = str(decision.evidence.get("withheld", ""))
    over = withheld == "not asked"
    why = "no longer called for" if over else _WAITS.get(withheld, "withheld")
    draft = _Draft(f"not trained, {why}", "info")
    draft.add("Why", cleaned(decision.sentence))
    again = "nothing to do." if over else "request it again when the condition has passed."
    draft.add("Next", f"see {_command('status', file)}; {again}")
    return draft


_WRITERS: Mapping[str, Callable[[Decision, Sequence[Decision], str], _Draft]] = {
    "alarmed": _alarmed,
    "stopped": _stopped,
    "quarantined": _quarantined,
    "promoted": _promoted,
    "refused": _refused,
    "rolled_back": _rolled_back,
    "failed": _failed,
    "reaped": _reaped,
    "cancelled": _cancelled,
    "skipped": _skipped,
}
_WAITS = {
    "cooldown": "waits: cooldown",
    "persistence": "waits: another window",
    "rows": "waits: new rows",
    "duplicate": "already requested",
    "running": "a training is already running",
    "no gain": "retraining would not help",
}
_STATES = {
    "crashed": "crashed",
    "timedout": "ran too long and was ended",
    "running": "seems stuck",
    "pending": "seems stuck",
    "stuck": "seems stuck",
    "late": "did not start in time",
    "overdue": "is overdue",
}
_AGAIN = {"training": "run", "scoring": "score", "monitoring": "monitor"}


def _command(name: str, file: str) -> str:
    return code(command(name, file=file or None), 200)


def _clock(stated: JsonValue) -> str:
    """Return a stored time in minutes; empty where it is not a time."""
    try:
        return minute(datetime.fromisoformat(str(stated)))
    except ValueError:
        return ""


def _by_hand(decision: Decision) -> str:
    return ", by hand" if decision.evidence.get("by") == "hand" else ""


def _difference(decision: Decision) -> str:
    difference, ends = number(decision.evidence.get("difference")), decision.interval()
    if not difference:
        return ""
    return f"difference {difference}" + (
        f" ({number(ends[0])} to {number(ends[1])})" if ends is not None else ""
    )
