"""Conclusion about retraining from a measured gain, given what a training costs; pure."""

from __future__ import annotations

from math import log

from tasks.base.monitoring_records import CALLING, Gain, GainAnswer
from tasks.base.settings.monitoring import PolicyConfig
from tasks.metrics.random_effects import standard_error
from tasks.policy.ageing import EXPECTED, SHARE


def weigh(config: PolicyConfig, gain: Gain | None) -> GainAnswer:
    """Return whether retraining pays, by a measured gain.

    - ``pays``: the gain's lower end lies beyond `policy.min_gain`; without one, beyond 0, and the
      gain is at least half of what matters; or, with `policy.cost`, what the expected gain saves
      until the next look is more than a training costs.
    - ``steady``: the sequence of windows crossed its limit, and its mean gain is that large.
    - ``ages``: so much is expected of a refit, by how the champions have aged so far, or it saves
      more than a training costs; not where this measurement shows a loss.
    - ``none``: the upper end lies below what would matter: the greater of `policy.min_gain` and
      the material gain; or, with `policy.cost`, not even the upper end saves what it costs.
    - ``unclear``: the rest.

    The expected gain is drawn towards zero by its own uncertainty, so that noise is no saving:
    g · max(0, 1 − (s/g)²) with the standard error s (James and Stein 1961, positive part).

    References
    ----------
    Mahadevan and Mathioudakis (2024), Cost-aware retraining for machine learning (CARA),
    Knowledge-Based Systems 293. Regol, Schwinn, Sprague, Coates and Markovich (2025), When to
    retrain a machine learning model, ICML.

    >>> found = Gain(version="1", metric="mae", gain=3.0, low=1.0, high=5.0, matters=2.0)
    >>> weigh(PolicyConfig(), found), weigh(PolicyConfig(min_gain=2.0), found)
    ('pays', 'unclear')
    >>> weigh(PolicyConfig(), None)
    ''
    """
    if gain is None or gain.gain is None or gain.low is None or gain.high is None:
        return ""
    crossed = gain.evidence >= log(2 / (1 - gain.confidence))  # one-sided, as the lower end
    mean = gain.mean or 0.0
    ages = (gain.expected or 0.0) if gain.high > 0 else 0.0
    if config.cost is not None:
        cost = config.cost.training
        if saving(config, gain, expected_gain(gain)) > cost:
            return "pays"
        if crossed and saving(config, gain, mean) > cost:
            return "steady"
        if saving(config, gain, ages) > cost:
            return "ages"
        return "none" if saving(config, gain, gain.high) <= cost else "unclear"
    stated, matters = config.min_gain, gain.matters or 0.0
    least = SHARE * matters if stated is None else stated
    if gain.low > (stated or 0.0) and gain.gain >= least:
        return "pays"
    if crossed and mean > 0 and mean >= least:
        return "steady"
    if ages > max(stated or 0.0, EXPECTED * matters):
        return "ages"
    return "none" if gain.high < max(stated or 0.0, matters) else "unclear"


def foremost(config: PolicyConfig, gain: Gain, probabilities: Gain | None = None) -> Gain:
    """Return what calls for a training with the other beside it: the metric's gain, else log loss.

    Log loss does not count where the metric shows the refreshed model to be worse.

    Examples
    --------
    >>> auc = Gain(version="1", metric="roc_auc", gain=0.0, low=-0.01, high=0.01, matters=0.01)
    >>> loss = Gain(version="1", metric="log_loss", gain=0.1, low=0.08, high=0.12, matters=0.02)
    >>> found = foremost(PolicyConfig(), auc, loss)
    >>> found.metric, found.beside == auc
    ('log_loss', True)
    """
    if probabilities is None:
        return gain
    worse = gain.high is None or gain.high < 0
    if worse or weigh(config, gain) in CALLING or weigh(config, probabilities) not in CALLING:
        return gain.model_copy(update={"beside": probabilities})
    return probabilities.model_copy(update={"beside": gain})


def expected_gain(gain: Gain) -> float:
    """Return the gain drawn towards zero by its uncertainty; 0 where it is none.

    >>> round(expected_gain(Gain(version="1", metric="mae", gain=3.0, low=1.355, high=4.645)), 2)
    2.67
    """
    if gain.gain is None or gain.low is None or gain.high is None or gain.gain <= 0:
        return 0.0
    error = standard_error(gain.low, gain.high, gain.confidence)
    return float(gain.gain * max(0.0, 1 - (error / gain.gain) ** 2))


def weighed_gain(gain: Gain, answer: GainAnswer) -> float:
    """Return the gain that a conclusion rests on; of ``none`` and ``unclear`` the upper end."""
    return {
        "pays": expected_gain(gain),
        "steady": gain.mean or 0.0,
        "ages": gain.expected or 0.0,
    }.get(answer, gain.high or 0.0)


def saving(config: PolicyConfig, gain: Gain, amount: float) -> float:
    """Return the saving of a gain of `amount` on the rows until the next look, as `policy.cost`."""
    return 0.0 if config.cost is None else amount * gain.rows_expected * config.cost.unit_loss
