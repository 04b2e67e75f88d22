"""Recommended policy: a sentence with its uncertainty, and the settings that give it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from tasks.backtest.policies import Policy
from tasks.backtest.results import PolicyResult, Recommendation
from tasks.base.config import PipelineConfig
from tasks.base.text.durations import format_duration
from tasks.base.text.phrases import plural

_MOST_OF_IT = 0.9
"""Share of the best policy's gain that a policy with fewer trainings has to have."""


def recommend(
    results: Sequence[PolicyResult],
    policies: Mapping[str, Policy],
    config: PipelineConfig,
    *,
    length: timedelta,
    loss_name: str,
) -> Recommendation:
    """Return the policy with the fewest trainings that has nearly all of the best one's gain.

    Only policies that production can follow are recommended: those whose models pass the gate.
    Where none of them gains over never training beyond noise, it is the one that trains only on a
    measured gain, as it costs next to nothing.

    `length`: of a replayed window.
    """
    never = next(r for r in results if r.policy == "never")
    able = [r for r in results if r.policy in policies and policies[r.policy].gated]
    gaining = [r for r in able if _sure(r)]
    if not gaining:
        chosen = next(r for r in able if r.policy == "gain")
        return Recommendation(
            policy="gain",
            sentence=_nothing(max(able, key=_gain), chosen, never, loss_name),
            settings=_settings(policies["gain"], config, length),
        )
    best = max(gaining, key=_gain)
    enough = [r for r in gaining if _gain(r) >= _MOST_OF_IT * _gain(best)]
    chosen = min(enough, key=lambda r: (r.fitted, -_gain(r)))
    return Recommendation(
        policy=chosen.policy,
        sentence=_sentence(chosen, best, never, loss_name),
        settings=_settings(policies[chosen.policy], config, length),
        sure=True,
    )


def _gain(result: PolicyResult) -> float:
    return result.gain_over_never.value or 0.0


def _sure(result: PolicyResult) -> bool:
    low = result.gain_over_never.low
    return low is not None and low > 0


def _measured(result: PolicyResult, never: PolicyResult, loss_name: str) -> str:
    """Return a loss and its gain over never training, in words."""
    gain, name = result.gain_over_never, loss_name.replace("_", " ")
    text = f"mean {name} {result.loss:.4g} against {never.loss:.4g} when never trained again"
    if gain.value is None or gain.low is None or gain.high is None:
        return text
    return f"{text}, {gain.value:.4g} less (95 % interval {gain.low:.4g} to {gain.high:.4g})"


def _nothing(best: PolicyResult, chosen: PolicyResult, never: PolicyResult, loss_name: str) -> str:
    windows = len(never.windows)
    tried = plural(chosen.fitted, "time") if chosen.fitted else "never"
    return (
        f"Use gain, which trains only where it is measured to pay: in these {windows} windows it "
        f"trained {tried}, and no policy was better than never training beyond noise (the best, "
        f"{best.policy}: {_measured(best, never, loss_name)})."
    )


def _sentence(chosen: PolicyResult, best: PolicyResult, never: PolicyResult, loss_name: str) -> str:
    trained = f"trained {plural(chosen.fitted, 'time')} in {len(never.windows)} windows"
    text = f"Use {chosen.policy}: {trained}, {_measured(chosen, never, loss_name)}."
    if chosen.policy == best.policy:
        return text
    more = _gain(best) / _gain(chosen) - 1
    if more < 0.005:
        return f"{text} {best.policy} gains no more with {plural(best.fitted, 'training')}."
    many = plural(best.fitted, "training")
    return f"{text} The best, {best.policy}, gains {more:.0%} more with {many}."


def _settings(policy: Policy, config: PipelineConfig, length: timedelta) -> dict[str, Any]:
    """Return the keys of the pipeline file that the policy needs and that differ from the file."""
    wanted: dict[str, Any] = {"monitoring.window": format_duration(length)}
    stated: dict[str, Any] = {"monitoring.window": format_duration(config.monitoring.window)}
    window = config.training.window
    wanted["training.window"] = None if policy.span is None else format_duration(policy.span)
    stated["training.window"] = None if window is None else format_duration(window)
    stated["policy.retrain_on"] = list(config.policy.retrain_on)
    stated["schedules.refit"] = config.schedules.refit
    if policy.every:
        # What the gate lets pass in a replay is the first training's recipe on newer rows.
        wanted["policy.retrain_on"] = ["schedule"]
        wanted["schedules.refit"] = calendar(policy.every * length)
    elif not policy.own:
        wanted["policy.retrain_on"] = list(policy.rule.retrain_on)
    return {key: value for key, value in wanted.items() if value != stated[key]}


def calendar(length: timedelta) -> str:
    """Return a cron expression that comes about once in `length`.

    >>> calendar(timedelta(days=7)), calendar(timedelta(days=30)), calendar(timedelta(hours=6))
    ('0 3 * * 1', '0 3 1 * *', '0 */6 * * *')
    """
    days, hours = length / timedelta(days=1), length / timedelta(hours=1)
    if days < 1:
        return f"0 */{max(1, round(hours))} * * *"
    if days < 1.5:
        return "0 3 * * *"
    if 6 <= days <= 8:
        return "0 3 * * 1"
    if days <= 16:
        return f"0 3 */{round(days)} * *"
    months = max(1, round(days / 30.44))
    return "0 3 1 * *" if months == 1 else f"0 3 1 */{min(months, 12)} *"
