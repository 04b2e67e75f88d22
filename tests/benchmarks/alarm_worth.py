"""What alarms are worth as predictors of harm, beside those of Evidently's drift preset.

A window is harmed where a model trained just before it would have been better beyond noise.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from tasks.backtest.comparison import Comparison
from tasks.backtest.engine import Replay, State
from tasks.backtest.moves.promotion import measured_gain
from tasks.backtest.observation import Champion
from tasks.base.monitoring_records import Gain
from tasks.policy.gain_rule import weigh

SENSES = ("gain", "realised", "estimated", "drift", "unusual", "evidently")
_EVIDENTLY_ROWS = 5_000

Counts = dict[str, list[int]]


def alarms_of(comparison: Comparison, states: Sequence[State]) -> dict[str, Counts]:
    """Return, by whose champions, of each sense the places of its alarms, and those harmed."""
    found = {s.policy.name: s for s in states}
    return {name: _along(comparison, found[name].served) for name in ("file", "never")}


def _along(comparison: Comparison, champions: Sequence[Champion]) -> Counts:
    replay = comparison.replay
    alarms: Counts = {sense: [] for sense in SENSES}
    harmed, known = [], []
    gains = dict(_gains(replay, champions))
    for window, champion in enumerate(champions):
        harm = comparison.harmful(champion.model, window)
        known.append(window)
        if harm:
            harmed.append(window)
        for sense in _seen(replay, champion, window, gains.get(window)):
            alarms[sense].append(window)
    return {"windows": known, "harmed": harmed, **alarms}


def _gains(replay: Replay, champions: Sequence[Champion]) -> Iterator[tuple[int, Gain]]:
    """Yield what was measured at the end of windows, with the evidence of the champion's."""
    earlier: list[Gain] = []
    for window, champion in enumerate(champions):
        if window and champion != champions[window - 1]:
            earlier = []
        found = measured_gain(
            replay.history, replay.config, replay.fits, champion, window,
            replay.config.training.window, earlier,
        )  # fmt: skip
        if found is not None:
            earlier.append(found)
            yield window, found


def _seen(replay: Replay, champion: Champion, window: int, gain: Gain | None) -> Iterator[str]:
    monitor = replay.monitor
    now = replay.history.windows[window].end + replay.history.delay
    drift = monitor.drift(champion, window)
    if weigh(replay.config.policy, gain) in ("pays", "steady"):
        yield "gain"
    if monitor.performance(champion, window, now, labelled=True).worse:
        yield "realised"
    if monitor.performance(champion, window, now, labelled=False).worse:
        yield "estimated"
    if drift.enough and drift.harmful:
        yield "drift"
    if drift.enough and drift.alarm:
        yield "unusual"
    if _evidently(replay, champion, window):
        yield "evidently"


def _evidently(replay: Replay, champion: Champion, window: int) -> bool:
    """Return whether Evidently's preset, as it ships, finds dataset drift."""
    frame, kinds = replay.history.frame, replay.history.roles.features
    first, last = replay.history.bounds(window)
    sides = [
        _sample(frame.iloc[first:last]),
        _sample(frame[champion.model.first : champion.model.last]),
    ]
    # Evidently refuses a column without a value.
    kinds = {n: kind for n, kind in kinds.items() if all(side[n].notna().any() for side in sides)}
    sides = [side[list(kinds)] for side in sides]
    numbers = [n for n, kind in kinds.items() if kind in ("numeric", "datetime")]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from evidently import DataDefinition, Dataset, Report
        from evidently.presets import DataDriftPreset

        definition = DataDefinition(
            numerical_columns=numbers,
            categorical_columns=[n for n in kinds if n not in numbers],
        )
        shown = [Dataset.from_pandas(_plain(side, numbers), definition) for side in sides]
        told = Report([DataDriftPreset()]).run(*shown).dict()
    share = next(
        m["value"]["share"] for m in told["metrics"] if "DriftedColumns" in m["metric_name"]
    )
    return bool(share >= 0.5)


def _sample(frame: pd.DataFrame) -> pd.DataFrame:
    chosen = np.linspace(0, len(frame) - 1, min(len(frame), _EVIDENTLY_ROWS)).astype(np.int64)
    return frame.iloc[chosen].reset_index(drop=True)


def _plain(frame: pd.DataFrame, numbers: Sequence[str]) -> pd.DataFrame:
    columns: dict[str, Any] = {
        name: pd.to_numeric(frame[name], errors="coerce").astype("float64")
        if name in numbers
        else frame[name].astype("str")
        for name in frame
    }
    return pd.DataFrame(columns)


def alarms_printed(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Yield alarms of all replays together, by whose champions were watched."""
    for whose, title in (("file", "champions of file"), ("never", "the first model")):
        counted = [row["alarms"][whose] for row in rows]
        windows = sum(len(c["windows"]) for c in counted)
        harmed = sum(len(c["harmed"]) for c in counted)
        yield f"{title}: {harmed} of {windows} windows harmed"
        yield f"  {'alarm':<12}{'alarms':>7}{'precision':>11}{'recall':>8}{'calm alarmed':>14}"
        for sense in SENSES:
            alarms = sum(len(c[sense]) for c in counted)
            right = sum(len(set(c[sense]) & set(c["harmed"])) for c in counted)
            precision = f"{right / alarms:.0%}" if alarms else "–"
            recall = f"{right / harmed:.0%}" if harmed else "–"
            calm = f"{(alarms - right) / (windows - harmed):.0%}" if windows > harmed else "–"
            yield f"  {sense:<12}{alarms:>7}{precision:>11}{recall:>8}{calm:>14}"
