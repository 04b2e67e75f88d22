"""A promoted version on trial: compared with the champion before it on the same labelled rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from tasks.base.monitoring_records import Window
from tasks.base.runtime.libraries import pd
from tasks.base.settings.evaluation import greater_is_better
from tasks.base.training_records import Record, Schema
from tasks.metrics.bootstrap import spread_of
from tasks.metrics.random_effects import RandomEffects, random_effects
from tasks.monitoring.performance.estimation.label_free import estimate
from tasks.monitoring.performance.expected_range import plan_of, scored
from tasks.monitoring.performance.gain_estimate import material
from tasks.monitoring.performance.labelled_predictions import Answers, answers_of

if TYPE_CHECKING:
    from collections.abc import Mapping

VARIATION = 2.0
"""Scale of the half-normal prior of the deviation between windows, in changes that matter.

How often it sends versions back that are no worse, and finds those that are, is measured by
``tests/benchmarks/probation_error.py``.
"""
MOST = 8  # earlier probations whose windows count, the newest: a table may change
_REPLICATES = 1_000


class ProbationVerdict(Record):
    """Evidence of the windows since a promotion."""

    state: Literal["running", "confirmed", "rolled_back"]
    # The champion's metric minus the former's, greater is better: the windows' mean; or None.
    difference: float | None = None
    interval: tuple[float, float] | None = None  # of that mean, at `confidence`
    confidence: float = 0.95  # of this one look's interval: all looks share the level
    rows: int = 0  # labelled rows that both versions predicted
    windows: int = 0  # Windows judged
    until: Window | None = None  # the newest of them
    differences: tuple[tuple[float, float], ...] = ()  # of each, and its standard error
    # estimated, former_estimated: the metric to expect on rows without labels too; information.
    estimated: float | None = None
    former_estimated: float | None = None
    sentence: str = ""


def judge_probation(
    champion_rows: Sequence[pd.DataFrame],
    former_rows: Sequence[pd.DataFrame],
    *,
    roles: Schema,
    metric: str,
    windows: Sequence[Window | None],
    confidence: float,
    needed: int,
    seed: int = 0,
    min_rows: int = 100,
    champion_reference: pd.DataFrame | None = None,
    former_reference: pd.DataFrame | None = None,
    versions: Sequence[str] = (),
    against: str = "",
    earlier: Sequence[Sequence[tuple[float, float]]] = (),
) -> ProbationVerdict:
    """Return whether a promoted version stays, goes, or is still on trial.

    Rows of both versions are joined by key; those with a label count. A window with fewer than
    `min_rows` of them, or with one class, is not judged and is not counted among the `needed`
    ones. Each window has its own difference of the metric, as scores of versions that followed
    each other cannot be ranked together, with the standard error of a paired block bootstrap. The
    next window is what a rollback is for, and models have better and worse windows: a window's
    difference is the sum of a common mean, its own deviation and noise. The deviation has a weakly
    informative half-normal prior (Gelman 2006), so that two bad windows alone do not count as if
    all were like them, and what windows of `earlier` probations varied by counts with it. The mean
    is looked at after every window, up to `needed` times; that look k of n finds a version worse
    which is not has the probability (1 − `confidence`) (k² − (k−1)²) / n², so most is left for the
    last (Kim and DeMets 1987). Its interval below zero: rolled back. After `needed` windows that is
    not so: confirmed. Where the metric is undefined or labels are absent the trial goes on;
    estimates are stated and decide nothing, because they can't see what makes one model wrong and
    the other right.

    `earlier`: the ``differences`` of earlier probations in this metric, the newest first;
    `champion_rows`, `former_rows`: one frame per window, as ``Ledger.window_rows`` returns it for
    either version, oldest first; `windows`: the windows, in the same order; `confidence`: of all
    looks together, a fraction; `needed`: windows of the probation; 0: confirmed at once;
    `champion_reference`, `former_reference`: as
    `tasks.registry.version_files.holdouts.reference_predictions` returns them; None: nothing is
    estimated; `versions`, `against`: who scored each window, and the former champion, for the
    sentence.

    References
    ----------
    Gelman (2006), Prior distributions for variance parameters in hierarchical models, Bayesian
    Analysis 1. Kim and DeMets (1987), Design and analysis of group sequential tests based on the
    type I error spending rate function, Biometrika 74.
    """
    if needed == 0:
        return ProbationVerdict(
            state="confirmed", confidence=confidence, sentence="No probation is configured."
        )
    pairs = zip(champion_rows, former_rows, strict=True)
    found = (comparable(paired(ours, theirs), roles, min_rows) for ours, theirs in pairs)
    known = {n: sides for n, sides in enumerate(found) if sides is not None}
    stated = {
        "estimated": _expected(champion_rows, champion_reference, roles, metric, seed),
        "former_estimated": _expected(former_rows, former_reference, roles, metric, seed),
    }
    if not known:
        waits = f"On probation: no window has {min_rows:,} labelled rows of both versions yet."
        return ProbationVerdict(
            state="running",
            confidence=confidence,
            sentence=waits + _estimates(metric, stated),
            **stated,
        )
    compared = ((n, _difference(*sides, roles, metric, seed)) for n, sides in known.items())
    differences = {n: one for n, one in compared if one is not None}
    judged = [*(differences or known)][:needed]
    who = _Names(tuple(dict.fromkeys(versions[n] for n in judged)) if versions else (), against)
    rows = sum(known[n][0].rows for n in judged)
    judgeable = [*differences.values()][:needed]
    verdict = _judged(judgeable, metric, confidence, needed, rows, stated, who, earlier)
    return verdict.model_copy(update={"until": windows[judged[-1]]})


@dataclass(frozen=True)
class _Names:
    """The versions that scored the windows judged, and whom they are compared with."""

    scored: tuple[str, ...] = ()
    against: str = ""

    @property
    def former(self) -> str:
        """The version whose metric the difference is from."""
        return f"version {self.against}'s" if self.against else "the former champion's"

    @property
    def several(self) -> str:
        """The versions that scored the windows where they are several, to end a sentence."""
        known = self.scored
        return f", scored by versions {known[0]} to {known[-1]}" if len(known) > 1 else ""


@dataclass(frozen=True)
class _Difference:
    """The difference in one window, greater is better, its standard error, the former's metric."""

    value: float
    spread: float
    former: float


def _judged(
    found: Sequence[_Difference],
    metric: str,
    confidence: float,
    needed: int,
    rows: int,
    estimates: Mapping[str, float | None],
    who: _Names,
    earlier: Sequence[Sequence[tuple[float, float]]] = (),
) -> ProbationVerdict:
    mean = _mean(found, metric, earlier) if found else None
    tail = (1 - confidence) * max(1, 2 * len(found) - 1) / needed**2
    ends = None
    if mean is not None:
        ends = mean.centre_quantile(tail), mean.centre_quantile(1 - tail)
    state: Literal["running", "confirmed", "rolled_back"] = "running"
    if ends and ends[1] < 0:
        state = "rolled_back"
    elif len(found) >= needed:
        state = "confirmed"
    difference = mean.centre if mean else None
    sentence = _sentence(state, difference, ends, metric, rows, len(found), needed, who)
    return ProbationVerdict(
        state=state,
        difference=difference,
        interval=ends,
        confidence=1 - 2 * tail,
        rows=rows,
        windows=len(found),
        differences=tuple((one.value, one.spread) for one in found),
        sentence=sentence + _estimates(metric, estimates),
        **estimates,
    )


def _mean(
    found: Sequence[_Difference], metric: str, earlier: Sequence[Sequence[tuple[float, float]]]
) -> RandomEffects:
    """Return the distribution of the mean difference over windows like these."""
    values, spreads, former = np.array([(d.value, d.spread, d.former) for d in found]).T
    prior = VARIATION * material(metric, float(former.mean()))
    others = [tuple(np.array(one).T) for one in earlier if len(one) > 1][:MOST]
    return random_effects(
        values, spreads**2, prior, others=[(known, errors**2) for known, errors in others]
    )


def paired(ours: pd.DataFrame, theirs: pd.DataFrame) -> pd.DataFrame:
    """Return the labelled rows that both predicted, the former's predictions as ``former:``."""
    if ours.empty or theirs.empty or "label" not in ours:
        return pd.DataFrame()
    known = _by_key(ours[ours["label"].notna()])
    made = [c for c in theirs if c == "prediction" or str(c).startswith("probability_")]
    others = _by_key(theirs)[["key", *made]].rename(columns={c: f"former:{c}" for c in made})
    return known.merge(others, on="key", how="inner", validate="one_to_one")


def _by_key(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.assign(key=rows["key"].astype(str)).drop_duplicates("key", keep="last")


def both(pair: pd.DataFrame, roles: Schema) -> tuple[Answers, Answers]:
    """Return both versions' predictions on the rows where both are usable."""
    shared = [c for c in ("key", "time", "label") if c in pair]
    renamed = {c: c.removeprefix("former:") for c in map(str, pair) if c.startswith("former:")}
    former = pair[[*shared, *renamed]].rename(columns=renamed)
    usable = _usable(pair[[c for c in pair if c not in renamed]], roles) & _usable(former, roles)
    ours, theirs = (answers_of(frame[usable], roles) for frame in (pair, former))
    return ours.of_labelled, theirs.of_labelled


def _usable(frame: pd.DataFrame, roles: Schema) -> Any:
    """Return which rows have a usable prediction, as a mask."""
    numbers = [c for c in frame if str(c).startswith("probability_")]
    values = frame[numbers] if roles.classes else frame[["prediction"]]
    finite = np.isfinite(values.apply(pd.to_numeric, errors="coerce").to_numpy(dtype=np.float64))
    return np.asarray(frame["prediction"].notna().to_numpy(dtype=bool) & finite.all(axis=1))


def comparable(pair: pd.DataFrame, roles: Schema, min_rows: int) -> tuple[Answers, Answers] | None:
    """Return what `both` does; None for fewer than `min_rows` labelled rows, or one class."""
    if len(pair) < min_rows:
        return None
    ours, theirs = both(pair, roles)
    many = ours.rows >= min_rows and (not roles.classes or len(np.unique(ours.truth)) > 1)
    return (ours, theirs) if many else None


def _difference(
    ours: Answers, theirs: Answers, roles: Schema, metric: str, seed: int
) -> _Difference | None:
    """Return the difference in a window; None where it, or its standard error, is undefined."""
    plan = plan_of(ours, roles, _REPLICATES, seed)
    sign = 1 if greater_is_better(metric) else -1
    value, drawn = scored(ours, roles, metric, plan)
    former, drawn_former = scored(theirs, roles, metric, plan)
    apart = drawn - drawn_former
    spread = spread_of(apart, plan.n_units)
    if not np.isfinite([value - former, spread]).all() or np.isfinite(apart).mean() < 0.95:
        return None
    return _Difference(sign * (value - former), spread, former)


def _expected(
    rows: Sequence[pd.DataFrame],
    reference: pd.DataFrame | None,
    roles: Schema,
    metric: str,
    seed: int,
) -> float | None:
    filled = [frame for frame in rows if len(frame)]
    if reference is None or not filled:
        return None
    answers = answers_of(pd.concat(filled, ignore_index=True), roles)
    return estimate(answers, answers_of(reference, roles), roles, metric, seed=seed).value.value


def _sentence(
    state: str,
    difference: float | None,
    ends: tuple[float, float] | None,
    metric: str,
    rows: int,
    done: int,
    needed: int,
    who: _Names,
) -> str:
    seen = f"{rows:,} labelled rows of {done} of {needed} windows{who.several}"
    if difference is None or ends is None:
        compared = f"{metric} can't be compared on {seen}"
    else:
        side = "better" if difference >= 0 else "worse"
        compared = (
            f"{metric} {side} by {abs(difference):.4g} than {who.former} "
            f"({ends[0]:+.4g} to {ends[1]:+.4g}) on {seen}"
        )
    word = {"running": "On probation", "confirmed": "Confirmed", "rolled_back": "Rolled back"}[
        state
    ]
    if state == "confirmed" and ends is not None and ends[0] <= 0:
        word = "Confirmed as no worse, not shown to be better"
    return f"{word}: {compared}."


def _estimates(metric: str, estimates: Mapping[str, float | None]) -> str:
    ours, theirs = estimates["estimated"], estimates["former_estimated"]
    if ours is None or theirs is None:
        return ""
    return f" Estimated {metric}: {ours:.4g}, the former's {theirs:.4g}; this decides nothing."
