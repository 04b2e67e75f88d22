"""The dashboard: one page of HTML that needs nothing but itself; its one script shows its age."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from markupsafe import Markup, escape

from tasks.base.monitoring_records import Decision, DecisionKind
from tasks.base.pipeline_file import Pipeline
from tasks.base.runtime.files import digest_of_bytes, write_whole
from tasks.base.servers.stack_file import running_stack
from tasks.base.text.commands import command
from tasks.base.text.phrases import KINDS, Tone
from tasks.base.text.redaction import redact
from tasks.dashboard import charts
from tasks.dashboard.page_environment import page_script, render, script_source
from tasks.history import evidence, links
from tasks.history.entries import Entry, chains, entry, linked
from tasks.history.evidence import MOVES
from tasks.history.overview import PipelineHealth, overview
from tasks.history.series import Point, marks, points
from tasks.registry.packaging.provenance import keepfit_version

# Newest decisions shown of each sort; older ones are left to `keepfit why`.
_MOST = {"decisions": 300, "monitored": 60, "scored": 40}
_MOST_WINDOWS = 150
MOST_TOGETHER = 24  # pipelines whose pictures one page holds
_WRITTEN = ".written.json"  # digests of single pipelines' pages; hidden files are not served
EVERY_SECONDS = 60.0  # period at which a running stack writes the page anew

_GRACE = timedelta(minutes=15)
_ROUTINE: tuple[DecisionKind, ...] = ("monitored", "scored")

TONES: dict[str, Tone] = {
    "healthy": "good",
    "on probation": "plain",
    "retraining": "warn",
    "drifting": "warn",
    "falling": "warn",
    "stale": "warn",
    "stopped": "bad",
    "no champion": "quiet",
}


@dataclass(frozen=True)
class Panel:
    """One pipeline on the page."""

    place: int
    health: PipelineHealth
    tone: Tone
    wide: Markup
    narrow: Markup
    rows: tuple[tuple[Point, str | None], ...]  # windows, the newest first, with their page
    metric: str
    commands: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Timeline:
    """Decisions of all pipelines, newest first, and how many of each kind."""

    entries: tuple[Entry, ...]
    kinds: tuple[tuple[str, str, Tone, int, bool], ...]
    more: bool


def write_dashboard(
    pipelines: Sequence[Pipeline],
    target: Path,
    *,
    sizes: Mapping[str, int] | None = None,
    now: datetime | None = None,
) -> Path:
    """Write the page of `pipelines` to `target`, whole or not at all, and return its path."""
    # Of many pipelines each gets a page of its own beside it, which is written when it has changed.
    # `sizes` are stores' bytes.
    moment = now or datetime.now(UTC)
    healths = overview(pipelines, sizes=sizes, now=moment)
    write_whole(target, _html(pipelines, healths, target, moment))
    if len(pipelines) > MOST_TOGETHER:
        _write_own(pipelines, healths, target.parent, moment)
    return target


def _html(
    pipelines: Sequence[Pipeline],
    healths: Sequence[PipelineHealth],
    target: Path,
    moment: datetime,
    *,
    own: bool = False,
) -> str:
    """Return a page; an `own` one of a pipeline among many leads back to the page of all."""
    folder = target.parent.absolute()
    together = len(pipelines) <= MOST_TOGETHER
    panels = [
        _panel(place, pipeline, health, folder, pictured=together)
        for place, (pipeline, health) in enumerate(zip(pipelines, healths, strict=True))
    ]
    stack = running_stack(pipelines[0].state) if pipelines else None
    html = render(
        "dashboard.html.j2",
        panels=panels,
        together=together,
        own=own,
        timeline=_timeline(pipelines, folder),
        written=moment,
        due=None if own else _due(healths, moment, running=stack is not None),
        script=Markup(page_script()),  # noqa: S704 - a file of this house
        script_source=Markup(script_source()),  # noqa: S704 - letters and digits
        stack=stack,
        stores=healths[0].stores if healths else {},
        filters=_filters(len(pipelines) if together else 0),
        version=keepfit_version(),
    )
    return _without_secrets(html, pipelines)


def _write_own(
    pipelines: Sequence[Pipeline],
    healths: Sequence[PipelineHealth],
    folder: Path,
    moment: datetime,
) -> None:
    """Write the pages of those pipelines whose content changed."""
    known = folder / _WRITTEN
    try:
        before = json.loads(known.read_bytes())
    except (OSError, ValueError):
        before = {}
    written = {}
    stack = running_stack(pipelines[0].state)
    servers = (stack.prefect, stack.mlflow) if stack else ()
    for pipeline, health in zip(pipelines, healths, strict=True):
        content = health.model_dump_json(exclude={"age_days", "stores"})
        name = pipeline.config.name
        written[name] = digest_of_bytes(f"{keepfit_version()} {servers} {content}".encode())
        target = folder / f"pipeline-{name}.html"
        if before.get(name) != written[name] or not target.exists():
            write_whole(target, _html([pipeline], [health], target, moment, own=True))
    if written != before:
        write_whole(known, json.dumps(written))


def _due(healths: Sequence[PipelineHealth], moment: datetime, *, running: bool) -> datetime | None:
    """Return when the page should have been written anew; None where nothing will do so."""
    # A running stack does it every minute; otherwise the next scheduled run does.
    if running:
        return moment + 5 * timedelta(seconds=EVERY_SECONDS)
    following = [at for health in healths for at in health.next_runs.values()]
    return min(following) + _GRACE if following else None


def _without_secrets(html: str, pipelines: Sequence[Pipeline]) -> str:
    """Redact secrets in a page; the ledger should hold none."""
    secrets = {s for pipeline in pipelines for s in pipeline.secrets}
    return redact(html, sorted({*secrets, *(str(escape(s)) for s in secrets)}, key=len)[::-1])


def _panel(
    place: int,
    pipeline: Pipeline,
    health: PipelineHealth,
    folder: Path,
    *,
    pictured: bool,
) -> Panel:
    name = pipeline.config.name
    ledger = evidence.accounts_of(pipeline) if pictured else evidence.NoAccounts()
    looked = ledger.decisions(name, kinds=("monitored", "stopped"), most=_MOST_WINDOWS)
    moves = ledger.decisions(name, kinds=MOVES, most=_MOST_WINDOWS)
    shown = points(looked)

    def address(point: Point) -> str | None:
        return links.openable(point.report, folder, pipeline.state) if point.report else None

    changed = marks(shown, moves)
    metric = next((p.performance.metric for p in reversed(shown) if p.performance), "")
    return Panel(
        place=place,
        health=health,
        tone=TONES[health.health],
        wide=charts.story(shown, changed, charts.WIDE, address) if pictured else Markup(),
        narrow=charts.story(shown, changed, charts.NARROW, address) if pictured else Markup(),
        rows=tuple((p, address(p)) for p in reversed(shown[-charts.WIDE.windows :])),
        metric=metric,
        commands=_commands(pipeline, health),
    )


def _commands(pipeline: Pipeline, health: PipelineHealth) -> tuple[tuple[str, str], ...]:
    if health.champion is None:
        return (("Train the first champion", command("run", file=pipeline.path)),)
    why = command("why", health.champion.version, file=pipeline.path)
    found = [("Why this version scores", why)]
    if "monitoring" not in health.last:
        found.append(("Look at the newest window", command("monitor", file=pipeline.path)))
    if health.health in ("stopped", "stale"):
        found.append(("See what a run finds", command("contract", "check", file=pipeline.path)))
    return tuple(found)


def _timeline(pipelines: Sequence[Pipeline], folder: Path) -> Timeline:
    places = {pipeline.config.name: place for place, pipeline in enumerate(pipelines)}
    ledgers = evidence.each_accounts(pipelines)
    notable = [kind for kind in KINDS if kind not in _ROUTINE]
    sorts: dict[str, list[DecisionKind]] = {
        "decisions": notable,
        "monitored": ["monitored"],
        "scored": ["scored"],
    }
    found: list[tuple[int, Decision]] = []
    more = False
    for sort, kinds in sorts.items():
        most = _MOST[sort]
        of_sort = [
            (places[decision.pipeline], decision)
            for ledger, of in ledgers
            for decision in ledger.decisions(
                [pipeline.config.name for pipeline in of], kinds=kinds, most=most + 1
            )
            if not evidence.repeats_stop(decision)
        ]
        # Of the same moment, the first pipeline first.
        of_sort.sort(key=lambda item: item[0])
        of_sort.sort(key=lambda item: item[1].at, reverse=True)
        more = more or (len(of_sort) > most and sort == "decisions")
        found += of_sort[:most]
    found.sort(key=lambda item: item[1].at, reverse=True)
    together = chains([decision for _, decision in found])
    entries = tuple(
        entry(
            decision,
            place,
            links.hrefs(
                links.addresses(pipelines[place], decision), folder, pipelines[place].state
            ),
            linked(decision, together.get(decision.correlation, ())),
        )
        for place, decision in found
    )
    return Timeline(entries, _kinds(entries), more)


def _kinds(entries: Sequence[Entry]) -> tuple[tuple[str, str, Tone, int, bool], ...]:
    counts = {kind: sum(e.kind == kind for e in entries) for kind in KINDS}
    return tuple(
        (kind, word, tone, counts[kind], kind not in _ROUTINE)
        for kind, (word, tone) in KINDS.items()
        if counts[kind]
    )


def _filters(pipelines: int) -> Markup:
    """Return the rules of style by which a box that is not ticked hides its decisions."""
    names = [*(f"k-{kind}" for kind in KINDS), *(f"p-{place}" for place in range(pipelines))]
    # But for the decision to which a link led.
    hidden = "li.{0}:not(:target){{display:none}}"
    rules = (f"#decisions:has(#{n}:not(:checked)) {hidden.format(n)}" for n in names)
    return Markup("\n".join(rules))  # noqa: S704 - names of our own
