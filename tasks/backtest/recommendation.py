"""Which policy to use, in a sentence with its uncertainty."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tasks.backtest.policies import Policy
from tasks.backtest.results import PolicyResult, Recommendation
from tasks.base.durations import format_duration

_MOST_OF_IT = 0.9
"""Share of the best policy's gain that a policy with fewer trainings has to have."""


def recommend(
    results: Sequence[PolicyResult],
    policies: Mapping[str, Policy],
    *,
    every: str,
    loss_name: str,
) -> Recommendation:
    """Return the policy with the fewest trainings that has nearly all of the best one's gain.

    Where no policy gains over never training beyond noise, training seldom is recommended.

    Parameters
    ----------
    every
        Length of a replayed window.
    """
    never = next(r for r in results if r.policy == "never")
    able = [r for r in results if r.policy not in ("never", "hindsight")]
    gaining = [r for r in able if _sure(r)]
    if not gaining:
        best = max(able, key=_gain)
        sentence = (
            f"Keep the model and train it by hand: no policy was better than never training "
            f"beyond noise in these {len(never.windows)} windows (the best, {best.policy}: "
            f"{_measured(best, loss_name, never)})."
        )
        return Recommendation(
            policy="never", sentence=sentence, settings={"monitoring.window": every}
        )
    best = max(gaining, key=_gain)
    enough = [r for r in gaining if _gain(r) >= _MOST_OF_IT * _gain(best)]
    chosen = min(enough, key=lambda r: (r.fitted, -_gain(r)))
    policy = policies[chosen.policy]
    return Recommendation(
        policy=chosen.policy,
        sentence=_sentence(chosen, best, never, loss_name),
        settings=_settings(policy, every),
        sure=True,
    )


def _gain(result: PolicyResult) -> float:
    return result.gain_over_never.value or 0.0


def _sure(result: PolicyResult) -> bool:
    low = result.gain_over_never.low
    return low is not None and low > 0


def _measured(result: PolicyResult, loss_name: str, never: PolicyResult) -> str:
    """Return a gain with its interval, in words."""
    gain = result.gain_over_never
    share = (gain.value or 0.0) / never.loss if never.loss else 0.0
    name = loss_name.replace("_", " ")
    if gain.value is None or gain.low is None or gain.high is None:
        return f"mean {name} {result.loss:.4g} against {never.loss:.4g}"
    return (
        f"mean {name} {result.loss:.4g} against {never.loss:.4g}, {share:.0%} less; gain "
        f"{gain.value:.3g}, 95 % interval {gain.low:.3g} to {gain.high:.3g}"
    )


def _sentence(chosen: PolicyResult, best: PolicyResult, never: PolicyResult, name: str) -> str:
    trained = f"trained {chosen.fitted} times in {len(never.windows)} windows"
    text = f"Use {chosen.policy}: {trained}, {_measured(chosen, name, never)} (never trained)."
    if chosen.policy != best.policy:
        share = _gain(chosen) / _gain(best)
        text += (
            f" The best, {best.policy}, trained {best.fitted} times for a gain that is "
            f"{1 / share - 1:.0%} larger."
        )
    return text


def _settings(policy: Policy, every: str) -> dict[str, object]:
    """Return what to write into the pipeline file for it."""
    settings: dict[str, object] = {"monitoring.window": every}
    settings["training.window"] = None if policy.span is None else format_duration(policy.span)
    return settings
