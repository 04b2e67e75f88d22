"""The rule that turns alarms and the calendar into retraining: a pure function of records.

It reads no clock and no store, so that the backtest replays exactly what production does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from tasks.base.monitoring_records import (
    CALLING,
    CauseKind,
    Gain,
    GainAnswer,
    PolicyDecision,
    WindowFlag,
)
from tasks.base.settings.monitoring import PolicyConfig
from tasks.base.text.numbers import number
from tasks.base.utc_times import as_utc
from tasks.policy.gain_rule import saving, weigh, weighed_gain
from tasks.policy.gain_sentences import gain_sentence

_WORDS = {"drift": "harmful drift", "performance": "worse performance"}


@dataclass(frozen=True)
class _Counted:
    """Counts of the last windows: so many of `of` count, so many of them by each trigger."""

    counted: int
    of: int
    drifted: int
    worse: int

    @property
    def by(self) -> tuple[Literal["drift", "performance"], ...]:
        """Return which triggers count."""
        drift: tuple[Literal["drift", "performance"], ...] = ("drift",) if self.drifted else ()
        return (*drift, "performance") if self.worse else drift

    @property
    def text(self) -> str:
        """Return it in words."""
        if self.of == 0:
            return "no window of the champion has been looked at, so nothing"
        counts = {"drift": self.drifted, "performance": self.worse}
        if self.of == 1:
            words = " and ".join(_WORDS[word] for word in self.by)
            return f"{words or 'nothing'} in the last window"
        parts = " and ".join(f"{_WORDS[word]} in {counts[word]}" for word in self.by)
        return f"{parts or 'nothing in any'} of the last {self.of} windows"


def decide(
    config: PolicyConfig,
    *,
    cause: CauseKind,
    now: datetime,
    windows: Sequence[WindowFlag],
    last_training: datetime | None,
    new_rows: int | None,
    handled: bool,
    answered_until: datetime | None = None,
) -> PolicyDecision:
    """Return whether to train now, and why.

    ``manual`` trains. ``schedule`` trains where `retrain_on` names it,
    whatever the cooldown; a duplicate and too few new rows withhold it.
    ``alarm``, which a monitoring pass also decides before it requests a training, trains when
    enough of the last windows call for it and nothing of the above nor the cooldown withholds it.
    ``probe`` never trains.

    Direct evidence comes first: where a refreshed model was compared with the champion on labelled
    rows and pays (see `tasks.policy.gain_rule.weigh`), it trains at once, as the
    interval is the persistence. Where it was compared and brings nothing that matters, drift and
    performance of the windows that the refreshed model had learned from call for nothing by
    themselves. Newer windows still count, as the refreshed model was not trained on them, and
    so do all where the gain is open.

    A window calls for training when it drifted or did worse and `retrain_on` names that trigger;
    both triggers count together. A window without rows enough never calls for it, yet keeps its
    place among the last ones: evidence gets old whether rows arrive or not. Windows of which the
    last training saw more than half are covered by it and call for no second one.

    `now` is in UTC, as all times here; without a zone it is taken as UTC. `windows`: monitored
    windows, the newest last. `last_training`: end of the last training that was done; one in the
    future, after a clock was set back, counts as now, and is not believed at all when it lies
    further ahead than the cooldown is long, so that it holds training back for at most twice the
    cooldown. `new_rows`: rows newer than the last training's; None where it is unknown, which
    withholds nothing. `handled`: whether this cause's key has been acted on already.
    `answered_until`: time of the newest row that the last training saw, fitted or held out (the
    rows' time, not the clock's: rows may arrive late or be replayed); None where it is not known,
    and no window counts as covered.

    >>> drifted = WindowFlag(window=None, drifted=True)
    >>> decide(
    ...     PolicyConfig(), cause="alarm", now=datetime(2026, 3, 1), windows=[drifted, drifted],
    ...     last_training=None, new_rows=None, handled=False,
    ... ).sentence
    'Trains: harmful drift in 2 of the last 2 windows.'
    """
    if cause == "probe":
        return _withheld("probe", "a probe tests whether the way to the training is open.", ())
    if handled and cause != "manual":
        return _withheld("duplicate", "this was acted on already.", ())
    moment, last = as_utc(now), _believed(last_training, as_utc(now), config.cooldown)
    wanted = _wanted(config, cause, windows)
    if wanted.withheld:
        return wanted
    if cause == "alarm":
        waiting = _cooling(config, moment, last, wanted) or _covered(
            config, windows, answered_until, wanted
        )
        if waiting is not None:
            return waiting
    if cause != "manual" and new_rows is not None and new_rows < config.min_new_rows:
        text = f"{new_rows:,} new rows since the last training, {config.min_new_rows:,} required."
        return _held(wanted, "rows", text)
    return wanted.model_copy(update={"sentence": f"Trains: {wanted.reasons[0]}."})


def _wanted(
    config: PolicyConfig, cause: CauseKind, windows: Sequence[WindowFlag]
) -> PolicyDecision:
    """Return whether anything calls for a training, before what may withhold it."""
    if cause == "manual":
        return PolicyDecision(retrain=True, by=("manual",), reasons=("requested by hand",))
    if cause == "schedule":
        if "schedule" in config.retrain_on:
            return PolicyDecision(retrain=True, by=("schedule",), reasons=("the calendar",))
        return _withheld("not asked", "`policy.retrain_on` does not name the schedule.", ())
    if not {"gain", "drift", "performance"} & set(config.retrain_on):
        text = "`policy.retrain_on` names neither gain nor drift nor performance."
        return _withheld("not asked", text, ())
    gain = latest_gain(config, windows)
    answer = weigh(config, gain)
    indirect = _persistent(config, windows)
    found = {"gain": gain, "weighed": answer}
    if gain is not None and answer in CALLING:
        return PolicyDecision(
            retrain=True,
            by=("gain", *indirect.by),
            reasons=(_weighed(config, gain, answer), *indirect.reasons),
            **found,
        )
    if gain is not None and answer == "none" and indirect.by:
        uncovered = _persistent(config, [_without(flag, gain) for flag in windows])
        if not uncovered.retrain:
            shown = _count(config, _last(config, windows)).text
            text = f"{shown}, but {_weighed(config, gain, answer)}."
            return _withheld("no gain", text, (shown,)).model_copy(
                update={**found, "by": indirect.by}
            )
        indirect = uncovered
    if gain is not None and answer == "none" and config.cost is not None and not indirect.by:
        text = f"{_weighed(config, gain, answer)}."
        return _withheld("not asked", text, ()).model_copy(update=found)
    return indirect.model_copy(update=found)


def _weighed(config: PolicyConfig, gain: Gain, answer: GainAnswer) -> str:
    """Return the gain of retraining as text, with `policy.cost` its worth."""
    text = gain_sentence(gain, answer)
    if config.cost is None:
        return text
    amount = weighed_gain(gain, answer)
    worth = max(0.0, saving(config, gain, amount))
    return (
        f"{text}, which saves {'at most ' if answer == 'none' else ''}{number(worth, worth / 10)} "
        f"on {gain.rows_expected:,} rows until the next look; a training costs "
        f"{config.cost.training:,.10g}"
    )


def latest_gain(config: PolicyConfig, windows: Sequence[WindowFlag]) -> Gain | None:
    """Return the newest measured gain that the policy reads; None where it reads none."""
    if "gain" not in config.retrain_on:
        return None
    known = [w.gain for w in windows if w.gain is not None and w.gain.gain is not None]
    return known[-1] if known else None


def _without(flag: WindowFlag, gain: Gain) -> WindowFlag:
    """Return the flag with nothing that calls for a training where the refreshed model knew it.

    It knew a window of which it was fitted on more than half. Of a change that began later the
    measurement is no evidence: the refreshed model had not seen it either.
    """
    if gain.boundary is None or is_newer(flag, as_utc(gain.boundary)):
        return flag
    return flag.model_copy(update={"drifted": False, "worse": False})


def _persistent(config: PolicyConfig, windows: Sequence[WindowFlag]) -> PolicyDecision:
    needed, of = config.persistent
    last = _last(config, windows)
    found = _count(config, last)
    if not found.counted:
        return _withheld("not asked", _uncounted(config, windows, last, found), ())
    by = found.by
    if found.counted < needed:
        text = f"{found.text}; {needed} of {of} required."
        return _withheld("persistence", text, (found.text,)).model_copy(update={"by": by})
    return PolicyDecision(retrain=True, by=by, reasons=(found.text,))


def _uncounted(
    config: PolicyConfig,
    windows: Sequence[WindowFlag],
    last: Sequence[WindowFlag],
    found: _Counted,
) -> str:
    """Return why nothing of the last windows counts, naming what is shown and does not train."""
    shown = {
        "drift": any(w.enough and w.drifted for w in last),
        "performance": any(w.enough and w.worse for w in last),
    }
    named = [word for word, there in shown.items() if there and word not in config.retrain_on]
    if not named and _count(config, windows).counted:
        return f"what called for it came before the last {len(last)} windows; nothing in them does."
    if not named:
        return f"{found.text} calls for it."
    what = " and ".join(_WORDS[word] for word in named)
    return f"{what} is shown only: `policy.retrain_on` does not name {' and '.join(named)}."


def _last(config: PolicyConfig, windows: Sequence[WindowFlag]) -> Sequence[WindowFlag]:
    """Return the windows that persistence is counted over.

    They are the newest ones, or, where more of these did worse, the newest whose labels are in:
    labels that come later than a few windows would otherwise never count.
    """
    _, of = config.persistent
    newest = windows[-of:]
    labelled = [w.model_copy(update={"drifted": False}) for w in windows if w.settled][-of:]
    more = _count(config, labelled).counted > _count(config, newest).counted
    return labelled if more else newest


def _count(config: PolicyConfig, windows: Sequence[WindowFlag]) -> _Counted:
    drifted = [w.enough and w.drifted and "drift" in config.retrain_on for w in windows]
    worse = [w.enough and w.worse and "performance" in config.retrain_on for w in windows]
    either = [a or b for a, b in zip(drifted, worse, strict=True)]
    return _Counted(sum(either), len(windows), sum(drifted), sum(worse))


def _cooling(
    config: PolicyConfig, now: datetime, last: datetime | None, wanted: PolicyDecision
) -> PolicyDecision | None:
    """Return the refusal while the cooldown lasts; its end itself is free."""
    if last is None or now - last >= config.cooldown:
        return None
    until = last + config.cooldown
    return _held(wanted, "cooldown", f"cooldown until {until:%Y-%m-%d %H:%M} UTC.")


def _covered(
    config: PolicyConfig,
    windows: Sequence[WindowFlag],
    until: datetime | None,
    wanted: PolicyDecision,
) -> PolicyDecision | None:
    """Return the refusal where the windows since the last training do not call for another."""
    if until is None:
        return None
    gain = wanted.gain if "gain" in wanted.by else None
    ends = [as_utc(window.end) for window in gain.windows] if gain is not None else []
    newest = as_utc(gain.newest) if gain is not None and gain.newest else max(ends, default=None)
    if newest is not None and newest > as_utc(until):
        # It was measured against the champion that is, on rows that the training did not see.
        return None
    needed, of = config.persistent
    last = _last(config, windows)
    newer = [w for w in last if is_newer(w, as_utc(until))]
    found = _count(config, newer)
    if found.counted >= needed:
        return None
    text = (
        f"the last training saw rows up to {as_utc(until):%Y-%m-%d %H:%M} UTC and covers the "
        f"windows before; {found.counted} since then, {needed} of {of} required."
    )
    return _held(wanted, "persistence", text)


def is_newer(flag: WindowFlag, until: datetime) -> bool:
    """Return whether most of a window's time is after `until`."""
    if flag.window is None:
        return True
    start, end = as_utc(flag.window.start), as_utc(flag.window.end)
    return start + (end - start) / 2 >= until


def _believed(last: datetime | None, now: datetime, cooldown: timedelta) -> datetime | None:
    if last is None:
        return None
    moment = as_utc(last)
    if moment - now > cooldown:
        return None
    return min(moment, now)


def _held(wanted: PolicyDecision, word: str, text: str) -> PolicyDecision:
    """Return the request as a decision not to train now."""
    held = _withheld(word, text, wanted.reasons)
    return held.model_copy(update={"by": wanted.by, "gain": wanted.gain, "weighed": wanted.weighed})


def _withheld(word: str, text: str, reasons: tuple[str, ...]) -> PolicyDecision:
    """Return a decision not to train; it waits where time or rows may change that."""
    verb = "Waits" if word in ("cooldown", "persistence", "rows") else "Does not train"
    return PolicyDecision(retrain=False, reasons=reasons, withheld=word, sentence=f"{verb}: {text}")
