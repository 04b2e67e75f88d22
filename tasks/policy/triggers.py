"""Triggers in monitored windows, and which of them an alarm has reported already."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal

from pydantic import ValidationError

from tasks.base.monitoring_records import CALLING, Decision, Gain, Performance, Window, WindowFlag
from tasks.base.settings.monitoring import PolicyConfig
from tasks.base.training_records import ModelVersion, Record
from tasks.base.utc_times import as_utc
from tasks.policy.gain_rule import weigh
from tasks.policy.gain_sentences import gain_sentence

_NEVER = datetime.min.replace(tzinfo=UTC)


class Trigger(Record):
    """One window whose drift could hurt, in which the champion did worse than is ordinary, or up to
    which retraining would have paid.
    """  # noqa: D205

    window: Window | None
    by: Literal["gain", "drift", "performance"]


@dataclass
class Watched:
    """The latest statements about one champion's windows."""

    # drifted, enough, sentences: window to whether what drifted could hurt, whether it had rows
    # enough, and the sentence on it.
    drifted: dict[Window | None, bool] = field(default_factory=dict)
    enough: dict[Window | None, bool] = field(default_factory=dict)
    sentences: dict[Window | None, str] = field(default_factory=dict)
    # Window to the latest statement about its performance, which a later pass may have made.
    performances: dict[Window | None, Performance] = field(default_factory=dict)
    # What retraining would bring, the newest measurement first.
    gains: list[Gain] = field(default_factory=list)

    @property
    def gain(self) -> Gain | None:
        """The newest gain that was measured; None without any."""
        return next((gain for gain in self.gains if gain.gain is not None), None)

    def triggers(self, policy: PolicyConfig) -> tuple[Trigger, ...]:
        """Return the triggers, in the order of the windows."""
        gain = self.gain
        pays = gain is not None and weigh(policy, gain) in CALLING
        newest = gain.windows[-1] if gain is not None and gain.windows else None
        found = [Trigger(window=newest, by="gain")] if pays else []
        found += [Trigger(window=w, by="drift") for w, drifted in self.drifted.items() if drifted]
        found += [
            Trigger(window=w, by="performance") for w, p in self.performances.items() if p.worse
        ]
        return tuple(sorted(found, key=lambda t: (start_of(t.window), t.by)))

    def flags(self) -> tuple[WindowFlag, ...]:
        """Return the policy's input, the newest window last."""
        flags = (
            WindowFlag(
                window=window,
                drifted=drifted,
                enough=self.enough[window],
                worse=window in self.performances and self.performances[window].worse,
                settled=window in self.performances and self.performances[window].mature,
            )
            for window, drifted in self.drifted.items()
        )
        return flags_with_gain(sorted(flags, key=lambda flag: start_of(flag.window)), self.gains)

    def reason(self, trigger: Trigger, policy: PolicyConfig) -> str:
        """Return the sentence that a trigger rests on."""
        if trigger.by == "gain":
            gain = self.gain
            return "" if gain is None else f"{gain_sentence(gain, weigh(policy, gain))}."
        if trigger.by == "drift":
            return self.sentences.get(trigger.window, "")
        return self.performances[trigger.window].sentence


def flags_with_gain(flags: Sequence[WindowFlag], gains: Sequence[Gain]) -> tuple[WindowFlag, ...]:
    """Return the flags with the newest gain that was measured, on each window that it judged.

    Where it judged none of them, as only windows of the former champion have labels yet, it stands
    on the newest.

    `flags`: the newest window last; `gains`: the newest measurement first.
    """
    gain = next((gain for gain in gains if gain.gain is not None), None)
    if gain is None or not flags:
        return tuple(flags)
    judged = [flag.window in gain.windows for flag in flags]
    judged[-1] |= not any(judged)
    return tuple(
        flag.model_copy(update={"gain": gain}) if one else flag
        for flag, one in zip(flags, judged, strict=True)
    )


def start_of(window: Window | None) -> datetime:
    """Return when a window starts; what has no window stands before all that have."""
    return _NEVER if window is None else as_utc(window.start)


def watched(decisions: Sequence[Decision], champion: ModelVersion) -> Watched:
    """Return the latest statements about the windows of `champion`.

    `decisions`: newest first; those of another kind than ``monitored`` are left aside.
    """
    found = Watched()
    # A window that is looked at again states the same measurement again.
    gains: dict[Gain, None] = {}
    for decision in decisions:
        if decision.kind != "monitored" or decision.version != champion.version:
            continue
        for performance in decision.read_all(Performance, "performance"):
            found.performances.setdefault(performance.window, performance)
        if (gain := decision.read(Gain, "gain")) is not None:
            gains.setdefault(gain)
        if decision.window in found.drifted:
            continue
        known = decision.part("drift")
        # A record from before harm was judged: its alarm called for a training.
        found.drifted[decision.window] = bool(known.get("harmful", known.get("alarm")))
        found.enough[decision.window] = bool(decision.evidence.get("enough", True))
        sentence = known.get("harm_sentence") or known.get("sentence")
        found.sentences[decision.window] = str(sentence or "")
    found.gains = [*gains]
    return found


def untold(
    triggers: Sequence[Trigger], decisions: Sequence[Decision], champion: ModelVersion
) -> tuple[Trigger, ...]:
    """Return the triggers that no alarm of `champion` has reported yet.

    An alarm that does not list its triggers, from before they were listed, reported all windows up
    to its own.
    """
    told: set[Trigger] = set()
    until = _NEVER
    for decision in decisions:
        if decision.kind != "alarmed" or decision.version != champion.version:
            continue
        listed = triggers_of(decision)
        if listed is None:
            until = max(until, _end_of(decision.window))
        else:
            told |= set(listed)
    return tuple(t for t in triggers if t not in told and _end_of(t.window) > until)


def triggers_of(alarm: Decision) -> tuple[Trigger, ...] | None:
    """Return the triggers that an alarm lists; None where it lists none."""
    listed = alarm.evidence.get("triggers")
    if not isinstance(listed, list):
        return None
    try:
        return tuple(Trigger.model_validate(value) for value in listed)
    except ValidationError:
        return None


def newest_of(triggers: Collection[Trigger]) -> Window | None:
    """Return the newest window of `triggers`."""
    return max((t.window for t in triggers), key=start_of, default=None)


def _end_of(window: Window | None) -> datetime:
    # A pass over all rows has no time of its own: it is reported once a statement.
    return datetime.max.replace(tzinfo=UTC) if window is None else as_utc(window.end)
