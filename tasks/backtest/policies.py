"""The policies that a backtest compares."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

from tasks.base.config import PipelineConfig
from tasks.base.settings.monitoring import PolicyConfig, SchedulesConfig
from tasks.base.text.durations import format_duration
from tasks.base.training_records import Record

Sense = Literal["drift", "realised", "estimated", "performance", "gain"]
"""Source of a policy's alarms; ``performance`` is realised, else estimated."""


class Policy(Record):
    """A rule that decides at the end of each window whether to train."""

    name: str
    sentence: str
    every: int = 0  # trains at the end of every so many windows; 0: not by the calendar
    # cron, refit_cron: searches, or refits, where the file's calendar falls into the window.
    cron: str = ""
    refit_cron: str = ""
    senses: tuple[Sense, ...] = ()  # what raises an alarm
    # What makes a training of alarms: `tasks.policy.retraining.decide` reads it.
    rule: PolicyConfig = PolicyConfig()
    gated: bool = False  # whether the gate decides about what was trained
    own: bool = False  # whether it is the pipeline file's
    span: timedelta | None = None  # newest rows to train on; None: all


def policies_of(
    config: PipelineConfig, windows: int, first: timedelta, *, quick: bool = False
) -> tuple[Policy, ...]:
    """Return the policies to compare, the fixed ones first; hindsight is not among them.

    `windows`: how many are replayed; `first`: span of the first training's rows; `quick`: leave out
    those that need fits of their own: other training windows.
    """
    stated = config.training.window
    plain = [
        Policy(name="never", sentence="The first model, never trained again."),
        Policy(
            name="every_window",
            sentence="Trained at the end of every window and used without a gate.",
            every=1,
        ),
        Policy(
            name="every_window_gated",
            sentence="Refitted at the end of every window; the gate decides.",
            every=1,
            gated=True,
        ),
        _own(config),
    ]
    plain += [
        Policy(
            name=f"every_{k}",
            sentence=f"Trained at the end of every {k} windows, without a gate.",
            every=k,
        )
        for k in (2, 4, 8)
        if windows >= 2 * k
    ]
    senses: tuple[Sense, ...] = ("drift", "realised", "estimated", "gain")
    plain += [_of_sense(sense, config.policy) for sense in senses]
    found = [policy.model_copy(update={"span": stated}) for policy in plain]
    if quick:
        return tuple(found)
    return (*found, *_spans(stated, first))


def with_span(policy: Policy, span: timedelta | None) -> Policy:
    """Return the policy on a training window of another length."""
    name = "expanding" if span is None else format_duration(span)
    rows = "all rows so far" if span is None else f"the newest {name}"
    sentence = f"{policy.sentence.rstrip('.')}, on {rows}."
    return policy.model_copy(
        update={"name": f"{policy.name}_{name}", "sentence": sentence, "span": span}
    )


def _own(config: PipelineConfig) -> Policy:
    by = config.policy.retrain_on
    senses: list[Sense] = [sense for sense in ("gain", "drift", "performance") if sense in by]
    stated = config.schedules if "schedule" in by else SchedulesConfig()
    cron, refit = stated.training or "", stated.refit or ""
    calendar = f"by the calendar ({cron})" if cron else ""
    refits = f"refits by the calendar ({refit})" if refit else ""
    alarms = f"on alarms of {' and '.join(senses)}" if senses else ""
    how = ", ".join(part for part in (calendar, refits, alarms) if part) or "by hand only"
    return Policy(
        name="file",
        sentence=f"The file's own: trains {how}; the gate decides.",
        cron=cron,
        refit_cron=refit,
        senses=tuple(senses),
        rule=config.policy,
        gated=True,
        own=True,
    )


def _of_sense(sense: Sense, rule: PolicyConfig) -> Policy:
    what = {
        "drift": "drift",
        "realised": "worse performance where labels are known",
        "estimated": "worse performance as estimated without labels",
        "gain": "what a refreshed model brings where labels are known",
    }[sense]
    by: Literal["gain", "drift", "performance"]
    by = sense if sense in ("gain", "drift") else "performance"
    return Policy(
        name=sense,
        sentence=f"Refits on alarms of {what}; the gate decides.",
        senses=(sense,),
        rule=rule.model_copy(update={"retrain_on": (by,)}),
        gated=True,
    )


def _spans(stated: timedelta | None, first: timedelta) -> tuple[Policy, ...]:
    """Return every window's training on training windows of other lengths."""
    day = timedelta(days=1)
    whole = [max(1, round(share * first / day)) * day for share in (0.5, 1, 2)]
    lengths = set(whole) if first >= 2 * day else {first, first / 2}
    found = [
        Policy(
            name=f"rolling_{format_duration(span)}",
            sentence=f"Trained at the end of every window on the newest {format_duration(span)}.",
            every=1,
            span=span,
        )
        for span in sorted(lengths)
        if span != stated
    ]
    if stated is not None:
        found.append(
            Policy(
                name="expanding",
                sentence="Trained at the end of every window on all rows so far.",
                every=1,
            )
        )
    return tuple(found)
