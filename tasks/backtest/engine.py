"""The replay: at the end of each window every policy looks, decides and trains as production would.

At a moment only rows before it are read, and only labels that were known by then. What a policy
did is kept in an immutable state, so that a window is a step from states to states.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from tasks.backtest.fits import Fits
from tasks.backtest.history import History
from tasks.backtest.moves.probation import promotion, trial_of
from tasks.backtest.moves.promotion import (
    calendar_spans,
    challenge,
    first_champion,
    measured_gain,
    window_spans,
)
from tasks.backtest.observation import Champion, Monitor
from tasks.backtest.policies import Policy
from tasks.backtest.results import Event
from tasks.base.config import PipelineConfig
from tasks.base.monitoring_records import (
    CALLING,
    CauseKind,
    Gain,
    GainAnswer,
    PolicyDecision,
    WindowFlag,
)
from tasks.base.training_records import RefitGain, TrainingKind
from tasks.history.schedule import next_time
from tasks.monitoring.probation.promotion_chain import Move
from tasks.policy.gain_rule import weigh
from tasks.policy.retraining import decide
from tasks.policy.training_kind import LastTraining, choose_kind
from tasks.policy.triggers import flags_with_gain
from tasks.training.refit_candidacy import rows_needed


@dataclass(frozen=True)
class Alarmed:
    """A window that called for action while a champion scored."""

    window: int
    champion: Champion
    # Whether it only requests a refit because the champion ages; that is not reported.
    upkeep: bool = False


@dataclass(frozen=True)
class State:
    """State of a policy after some windows."""

    policy: Policy
    champion: Champion
    served: tuple[Champion, ...] = ()  # champion of each window so far
    flags: tuple[WindowFlag, ...] = ()  # what monitoring found of the champion's windows
    gains: tuple[Gain, ...] = ()  # what was measured of a refreshed model against the champion
    alarmed: tuple[Alarmed, ...] = ()
    # Windows whose alarm led to a training.
    acted: frozenset[int] = field(default_factory=frozenset)
    events: tuple[Event, ...] = ()
    last_training: datetime | None = None  # when the last training ended
    last: LastTraining | None = None  # what it was and came to
    seen: datetime | None = None  # time of the newest row that it saw
    refits: tuple[RefitGain, ...] = ()  # what judged refits showed, the newest last
    aged: tuple[Gain, ...] = ()  # the newest measurement, which holds how champions age
    # Promotions behind the gate and ends of probations, the newest first.
    moves: tuple[Move, ...] = ()
    # Fits that it rests on, with their seconds.
    needed: frozenset[tuple[str, float]] = field(default_factory=frozenset)
    seconds: float = 0.0  # of looking and deciding, fits apart


@dataclass(frozen=True)
class Replay:
    """Policies over one history, with shared fits and findings."""

    history: History
    config: PipelineConfig
    fits: Fits
    monitor: Monitor
    candidate: str = ""  # whose settings are fitted

    @property
    def size(self) -> int:
        """Number of windows replayed."""
        return len(self.history.windows)

    def begin(self, policies: Sequence[Policy]) -> tuple[State, ...]:
        """Return the states before the first window: all start with the same model."""
        first = first_champion(self.history, self.config, self.fits)
        self.fits.prepare(calendar_spans(self.history, policies, first.model.last))
        start = self.history.windows[0].start
        seen = self.history.moment(first.model.last - 1)
        return tuple(
            State(policy, first, last_training=start, seen=seen, needed=_needed(first))
            for policy in policies
        )

    def step(self, states: Sequence[State], window: int) -> tuple[State, ...]:
        """Return the states after `window`."""
        given = self.history, self.config
        self.fits.prepare(
            span for s in states for span in window_spans(*given, s.policy, s.champion, window)
        )
        return tuple(self._after(state, window) for state in states)

    def _after(self, state: State, window: int) -> State:
        began = time.perf_counter()
        known = len(self.fits.made)
        state = replace(state, served=(*state.served, state.champion))
        trial = trial_of(self.history, self.config, self.monitor, state.served, state.moves)
        state = state if trial is None else replace(state, moves=(trial.move, *state.moves))
        if trial is not None and trial.move.kind == "rolled_back":
            # What was found of the version that goes is no reason to train; the window is looked
            # at again with the one that comes back.
            event = Event(window=window, reason=trial.sentence)
            state = replace(
                state, champion=trial.champion, flags=(), gains=(), events=(*state.events, event)
            )
        state = self._looked(state, window)
        if window < self.size - 1:
            # What is trained after the last window scores nothing.
            state = self._decided(state, window)
        fits = sum(fit.seconds for fit in self.fits.made[known:])
        spent = max(0.0, time.perf_counter() - began - fits)
        return replace(state, seconds=state.seconds + spent)

    def _looked(self, state: State, window: int) -> State:
        """Return the state with what monitoring finds at the end of `window`."""
        if not state.policy.senses:
            return state
        now, champion = self.history.windows[window].end, state.champion
        span = range(champion.since, window + 1)
        flags = tuple(self._flag(state, one, now, place) for place, one in enumerate(span))
        gains, answer = self._gains(state, window)
        flags = flags_with_gain(flags, gains[::-1])
        known = {alarm.window for alarm in state.alarmed}
        moved = {
            one: f.enough and (f.drifted or f.worse) for one, f in zip(span, flags, strict=True)
        }
        fresh = tuple(
            Alarmed(one, champion, upkeep=not moved[one] and answer == "ages")
            for one in span
            if one not in known and (moved[one] or (one == window and answer in CALLING))
        )
        aged = gains[-1:] or state.aged
        alarmed = (*state.alarmed, *fresh)
        return replace(state, flags=flags, gains=gains, aged=aged, alarmed=alarmed)

    def _gains(self, state: State, window: int) -> tuple[tuple[Gain, ...], GainAnswer]:
        """Return the gains measured of the champion so far, and the newest conclusion."""
        if "gain" not in state.policy.senses:
            return (), ""
        found = measured_gain(
            self.history,
            self.config,
            self.fits,
            state.champion,
            window,
            state.policy.span,
            state.gains,
            state.aged,
        )
        if found is None:
            return state.gains, ""
        return (*state.gains, found), weigh(state.policy.rule, found)

    def _flag(self, state: State, window: int, now: datetime, place: int) -> WindowFlag:
        """Return the current findings on an earlier window; final ones are not computed again."""
        if place < len(state.flags) and (known := state.flags[place]).settled:
            return known
        champion, senses = state.champion, state.policy.senses
        drifted, enough = False, True
        if "drift" in senses:
            drift = self.monitor.drift(champion, window)
            drifted, enough = drift.harmful, drift.enough
        worse = settled = False
        mature = self.monitor.mature(window, now)
        if "estimated" in senses or ("performance" in senses and not mature):
            found = self.monitor.performance(champion, window, now, labelled=False)
            worse, settled = found.worse, "estimated" in senses
        elif mature and ("performance" in senses or "realised" in senses):
            found = self.monitor.performance(champion, window, now, labelled=True)
            worse, settled = found.worse, True
        return WindowFlag(
            window=self.history.windows[window],
            drifted=drifted,
            worse=worse,
            enough=enough,
            settled=settled or senses == ("drift",),
        )

    def _decided(self, state: State, window: int) -> State:
        """Return the state after the policy's decision and its consequences."""
        alarm = any(a.window == window and not a.upkeep for a in state.alarmed)
        if self._due(state.policy, window):
            # A replay has one recipe: what its own calendars train is a refit for the gate.
            kind: TrainingKind = "refit" if state.policy.every and state.policy.gated else "search"
            return self._trained(state, window, kind, "the calendar", alarm)
        if self._falls(state.policy.refit_cron, window):
            return self._trained(state, window, "refit", "the refit calendar", alarm)
        if not state.policy.senses:
            return state
        calling = max((a.window for a in state.alarmed if a.champion == state.champion), default=-1)
        answer = self._asked(state, window, "alarm", handled=calling in state.acted)
        if not answer.retrain:
            event = Event(window=window, alarm=alarm, reason=answer.sentence)
            return replace(state, events=(*state.events, event))
        state = replace(state, acted=state.acted | {calling})
        kind = choose_kind(
            state.policy.rule,
            "alarm",
            refit=False,
            last=state.last,
            windows=state.flags,
            by=answer.by,
        ).kind
        return self._trained(state, window, kind, "; ".join(answer.reasons), alarm)

    def _asked(
        self, state: State, window: int, cause: CauseKind, *, handled: bool
    ) -> PolicyDecision:
        now = self.history.windows[window].end
        seen = state.champion.model.last
        if state.seen is not None:
            seen = self.history.place(state.seen + timedelta(microseconds=1))
        return decide(
            state.policy.rule,
            cause=cause,
            now=now,
            windows=state.flags,
            last_training=state.last_training,
            new_rows=self.history.place(now) - seen,
            handled=handled,
            answered_until=state.seen,
        )

    def _due(self, policy: Policy, window: int) -> bool:
        """Return whether the calendar trains at the end of `window`."""
        if policy.every:
            return (window + 1) % policy.every == 0
        return self._falls(policy.cron, window)

    def _falls(self, cron: str, window: int) -> bool:
        """Return whether a calendar falls into `window`."""
        if not cron:
            return False
        found, timezone = self.history.windows[window], self.config.schedules.timezone
        return next_time(cron, timezone, found.start) <= found.end

    def _trained(
        self, state: State, window: int, kind: TrainingKind, reason: str, alarm: bool
    ) -> State:
        now = self.history.windows[window].end
        first, last = self.history.trained(now, state.policy.span)
        event = Event(window=window, alarm=alarm, reason=reason)
        newer = last - max(first, state.champion.model.last)
        needed = rows_needed(self.config) if kind == "refit" else 1
        if newer < needed:
            why = f"{reason}; {max(newer, 0):,} newer rows have a label, {needed:,} are needed"
            return replace(state, events=(*state.events, event.model_copy(update={"reason": why})))
        tried, promoted, showed = self._candidate(state, window, refit=kind == "refit")
        action = "refit" if kind == "refit" else "training"
        event = event.model_copy(update={"action": action, "promoted": promoted})
        seen = self.history.moment(last - 1)
        moved = promoted and state.policy.gated
        move = (promotion(tried, state.champion, refit=kind == "refit"),) if moved else ()
        return replace(
            state,
            moves=(*move, *state.moves),
            champion=tried if promoted else state.champion,
            needed=state.needed | _needed(tried),
            flags=() if promoted else state.flags,
            gains=() if promoted else state.gains,
            events=(*state.events, event),
            last_training=now,
            last=LastTraining(kind, promoted, seen),
            seen=seen,
            refits=state.refits if showed is None else (*state.refits, showed),
        )

    def _candidate(
        self, state: State, window: int, *, refit: bool
    ) -> tuple[Champion, bool, RefitGain | None]:
        """Return what is trained at the end of `window`, whether it becomes champion, and what it
        showed as a refit.
        """  # noqa: D205
        history, policy = self.history, state.policy
        if not policy.gated:
            first, last = history.trained(history.windows[window].end, policy.span)
            return Champion(model=self.fits.of(first, last), since=window + 1), True, None
        given = (history, self.config, self.fits, state.champion, window, policy.span)
        found = challenge(*given, refit=refit, earlier=state.refits)
        return found.champion, found.verdict.promoted, found.showed


def _needed(champion: Champion) -> frozenset[tuple[str, float]]:
    models = (champion.model, *((champion.judged,) if champion.judged is not None else ()))
    return frozenset((model.key, model.seconds) for model in models)
