"""The gate's verdict on a model that a replay trains, as it would be in production."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from tasks.backtest.fits import Fits
from tasks.backtest.history import History
from tasks.backtest.observation import Champion
from tasks.backtest.policies import Policy
from tasks.base.config import PipelineConfig
from tasks.base.monitoring_records import Gain
from tasks.base.training_records import RefitGain, Verdict
from tasks.metrics.bootstrap import time_blocks
from tasks.metrics.paired_bootstrap import constant_predictions, paired_evidence
from tasks.monitoring.performance.gain_estimate import retraining_gain
from tasks.registry.gate.gate import decide
from tasks.registry.gate.refit_history import judged_before, refit_gain
from tasks.training.refit_candidacy import rows_needed

Span = tuple[int, int]
"""First row, and the row after the last."""


@dataclass(frozen=True)
class Challenge:
    """A challenger with the gate's verdict; `champion` scores from the next window on."""

    champion: Champion
    verdict: Verdict
    showed: RefitGain | None = None


def first_champion(history: History, config: PipelineConfig, fits: Fits) -> Champion:
    """Return the model of the first training, which every policy starts with."""
    first, last = history.trained(history.windows[0].start, config.training.window)
    held = history.boundary(first, last, config.split.holdout)
    return Champion(model=fits.of(first, last), judged=fits.of(first, held), held=held)


def judged_rows(
    history: History, config: PipelineConfig, champion: Champion, now: datetime, first: int
) -> int:
    """Return the first row that a challenger of rows from `first` on is judged on.

    Held out is the newest half of the labelled rows that the champion does not know, where they
    are enough; see `tasks.training.training_plan.share_held_out`.
    """
    last = history.labelled(now)
    newer = last - max(champion.model.last, first)
    share = config.split.holdout
    if newer >= 2 * config.monitoring.fewest_judged:
        share = min(share, newer / 2 / (last - first))
    return history.boundary(first, last, share)


def measured_gain(
    history: History,
    config: PipelineConfig,
    fits: Fits,
    champion: Champion,
    window: int,
    span: timedelta | None,
    earlier: Sequence[Gain],
    aged: Sequence[Gain] = (),
) -> Gain | None:
    """Return the gain of retraining at the end of `window`; None where nothing is new.

    The refreshed model is the one that the gate of a refit would judge. Windows that a former
    champion scored are judged too where they are newer than what the champion learned from.

    `aged`: measurements of earlier champions, the newest first.
    """
    now = history.windows[window].end
    first, last = history.trained(now, span)
    held = judged_rows(history, config, champion, now, first)
    mature = tuple(
        w
        for w in history.windows[: window + 1]
        if w.end + history.delay <= now and history.place(w.end) > champion.model.last
    )
    if not mature or held <= champion.model.last or held >= last:
        return None
    until = mature[-1].end
    if earlier and earlier[-1].windows and earlier[-1].windows[-1].end >= until:
        return None
    last = min(last, history.place(until))
    if last - held < config.monitoring.fewest_judged:
        return None
    rows = [history.place(w.end) - history.place(w.start) for w in mature[-4:]]
    return retraining_gain(
        config.policy,
        history.metric,
        history.y[held:last],
        fits.of(first, held).predictions(held, last),
        champion.model.predictions(held, last),
        history.roles,
        times=history.stamps(held, last),
        windows=mature,
        earlier=earlier,
        aged=(*earlier[::-1], *aged),
        learned=history.moment(champion.model.last - 1),
        length=history.length,
        stated={
            "rows_expected": round(sum(rows) / len(rows)),
            "boundary": history.moment(held),
        },
        false_alarms=config.monitoring.false_alarms,
        version=champion.version,
        min_rows=config.monitoring.fewest_judged,
        seed=config.training.seed,
        queries=history.queries(held, last),
    )


def challenge(
    history: History,
    config: PipelineConfig,
    fits: Fits,
    champion: Champion,
    window: int,
    span: timedelta | None,
    *,
    refit: bool,
    earlier: Sequence[RefitGain] = (),
) -> Challenge:
    """Return the gate's verdict on a model trained at the end of `window`.

    Promoted, the challenger is fitted once more with the rows that it was judged on. One that ends
    before the champion is compared at equal age (`tasks.registry.gate.equal_age`); as a replay has
    one recipe, the champion's twin is the challenger itself.

    `refit`: whether it is judged as a refit, that has only not to be worse, or as a search;
    `earlier`: what the policy's earlier refits showed.
    """
    now = history.windows[window].end
    first, last = history.trained(now, span)
    held = judged_rows(history, config, champion, now, first)
    judged = fits.of(first, held)
    rows = max(held, champion.model.last)
    equal_age = held < champion.model.last
    theirs = judged if equal_age else champion.model
    evidence = paired_evidence(
        history.metric,
        history.y[rows:last],
        judged.predictions(rows, last),
        theirs.predictions(rows, last),
        constant_predictions(history.y[first:held], last - rows, history.roles, history.metric),
        history.roles,
        blocks=time_blocks(history.stamps(rows, last)),
        gate=config.gate,
        seed=config.training.seed,
        name="challenger",
        queries=history.queries(rows, last),
        refit=refit,
    )
    verdict = decide(
        evidence.model_copy(update={"equal_age": equal_age}),
        config.gate,
        champion_version=str(champion.since),
        new_evidence=rows < last,
        refit=refit,
        earlier=judged_before(earlier, history.moment(rows)) if rows < last else (),
    )
    made = Champion(
        model=fits.of(first, last) if verdict.promoted else judged,
        judged=judged,
        held=held,
        since=window + 1,
    )
    showed = refit_gain(verdict, history.moment(last - 1)) if refit else None
    return Challenge(made, verdict, showed)


def calendar_spans(history: History, policies: Sequence[Policy], learned: int) -> Iterator[Span]:
    """Return the training rows of the ungated calendars, in every window.

    `learned`: number of rows that the first champion was trained on.
    """
    for policy in policies:
        known = learned
        if not policy.every or policy.gated:
            continue
        for window in history.windows[policy.every - 1 : -1 : policy.every]:
            first, last = history.trained(window.end, policy.span)
            if last > max(first, known):
                known = last
                yield first, last


def window_spans(
    history: History, config: PipelineConfig, policy: Policy, champion: Champion, window: int
) -> Iterator[Span]:
    """Return what a policy trains on at the end of `window` to judge it, and what if it is better.

    They are those of a calendar with a gate, and of what measures gain; alarms cannot be foreseen.
    """
    due = policy.gated and policy.every and (window + 1) % policy.every == 0
    if not (due or "gain" in policy.senses):
        return
    now = history.windows[window].end
    first, last = history.trained(now, policy.span)
    if last - max(first, champion.model.last) >= rows_needed(config):
        yield first, judged_rows(history, config, champion, now, first)
        yield first, last
