"""Activity of the flows of a running stack, one line each, for the output of `keepfit up`."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

from tasks.base.monitoring_records import Decision
from tasks.base.pipeline_file import Pipeline
from tasks.base.text.phrases import KINDS, minute, plural
from tasks.history import evidence
from tasks.monitoring.alerts.markup import cleaned

_LONGEST = 160
_SILENT = {"alerted", "collected"}
_END = re.compile(r"(?<=[.!?]) (?=[A-Z])")
# A decision is stamped before it is written, and a clock may be set back a little.
_OVERLAP = timedelta(minutes=2)


class Chronicle:
    """Prints every decision of some pipelines once, from now on, as a line to `say`."""

    def __init__(self, pipelines: Sequence[Pipeline], say: Callable[[str], None]) -> None:
        self._say = say
        self._since = datetime.now(UTC)
        self._seen: dict[str, datetime] = {}
        self.look(pipelines, silent=True)

    def look(self, pipelines: Sequence[Pipeline], *, silent: bool = False) -> bool:
        """Print the decisions since the last look, oldest first; return whether there were any."""
        since = self._since - _OVERLAP
        began = datetime.now(UTC)
        new = False
        for ledger, of in evidence.each_accounts(pipelines):
            names = [pipeline.config.name for pipeline in of]
            for decision in reversed(ledger.decisions(names, since=since)):
                known = decision.id in self._seen or silent
                new = new or not known
                if not known and (line := line_of(decision)):
                    self._say(line)
                self._seen[decision.id] = decision.at
        self._since = began
        kept = began - 2 * _OVERLAP
        self._seen = {one: at for one, at in self._seen.items() if at >= kept}
        return new


def line_of(decision: Decision) -> str:
    """Return a decision as one line; empty where it changes nothing for the person who watches.

    >>> line_of(Decision(
    ...     id="1", pipeline="flights", kind="promoted", at=datetime(2026, 3, 1, tzinfo=UTC),
    ...     correlation="c", version="2", sentence="Promoted: lightgbm beats v1. More follows.",
    ... ))
    'flights: promoted: lightgbm beats v1.'
    """
    if decision.kind in _SILENT or evidence.repeats_stop(decision):
        return ""
    word = KINDS[decision.kind][0]
    if decision.kind == "scored":
        sentence = _scored(decision)
        return f"{decision.pipeline}: {sentence}" if sentence else ""
    # What broke the contract stands in the last sentence of a stop.
    stopped = decision.kind == "stopped"
    first = decision.sentence if stopped else _END.split(decision.sentence, maxsplit=1)[0]
    first = re.sub(rf"^{re.escape(word)}: ", "", first, flags=re.IGNORECASE)
    where = f" {decision.window}" if decision.window is not None else ""
    line = f"{decision.pipeline}: {word}{where}: {cleaned(first, _LONGEST)}"
    return f"{line} {_asked(decision)}".rstrip()


def _scored(decision: Decision) -> str:
    """Return how many rows are new, and which files were left aside; empty where nothing is."""
    new = decision.number("new") or 0
    files = decision.texts("aside")
    parts = [f"{plural(int(new), 'row')} scored by v{decision.version}"] if new else []
    if files:
        parts.append(f"not read, as incomplete: {cleaned(', '.join(files), _LONGEST)}")
    return "; ".join(parts)


def _asked(decision: Decision) -> str:
    if decision.kind != "alarmed":
        return ""
    due = decision.text("answer_by")
    if due:
        return f"A training was requested, its outcome is due by {minute(_moment(due))} UTC."
    if decision.evidence.get("retrain"):
        return ""
    why = decision.part("policy").get("sentence")
    return cleaned(str(why), _LONGEST) if why else "No training was requested."


def _moment(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None
