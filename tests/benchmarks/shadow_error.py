"""How often a refused version that is no better is promoted by what it answers beside the champion.

    python tests/benchmarks/shadow_error.py [--trials 400] [--rows 1000] [--windows 3] [--often]

The worlds and the gate are those of gate_error.py. A challenger that the gate refuses answers the
windows that follow beside the champion, and is judged once more; a promotion of one that is no
better is wrong, by either. Beside it stands a version that is truly better, by an AUC of about
0.02, and, asked for, the same evidence looked at after every window at the gate's own level.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import beta

from tasks.base.config import PipelineConfig
from tasks.base.settings.monitoring import PolicyConfig
from tasks.base.training_records import Schema
from tasks.monitoring.probation.verdict import paired
from tasks.monitoring.shadow.challenger_trial import judge_trial

sys.path.insert(0, str(Path(__file__).parent))
from gate_error import GATE, SCHEMA, Floats, World, _probability, _verdict

CONFIG = PipelineConfig.model_validate(
    {"name": "p", "target": "y", "source": {"kind": "demo", "name": "credit"}}
)


def windows(world: World, count: int, rows: int, rng: np.random.Generator) -> list[pd.DataFrame]:
    """Return what both answered in each window, beside the labels."""
    made = []
    for number in range(count):
        y, (champion, challenger), days = world.draw(rows, 2, rng)
        day = np.zeros(rows, dtype=np.int64) if days is None else days
        spread = np.arange(rows) if days is None else np.zeros(rows, dtype=np.int64)
        start = pd.Timestamp("2026-01-05") + pd.Timedelta(days=100 * number)
        times = start + pd.to_timedelta(day, unit="D") + pd.to_timedelta(spread, unit="s")
        keys = [f"{number}-{row}" for row in range(rows)]
        frames = [_answered(keys, times, y, scores) for scores in (challenger, champion)]
        made.append(paired(*frames))
    return made


def _answered(keys: Sequence[str], times: object, y: np.ndarray, scores: Floats) -> pd.DataFrame:
    shares = _probability(scores)
    return pd.DataFrame({
        "key": keys, "time": times, "label": y.astype(str),
        "prediction": (scores > 0.6).astype(int).astype(str),
        "probability_0": shares[:, 0], "probability_1": shares[:, 1],
    })  # fmt: skip


def trial(
    world: World, rows: int, count: int, seed: int, *, often: bool
) -> tuple[bool, bool, bool]:
    """Return whether the gate, its answers, and looks after every window promote it."""
    rng = np.random.default_rng(seed)
    y, (champion, challenger), days = world.draw(rows, 2, rng)
    gate = _verdict(y, challenger, champion, days, seed)
    if gate.promoted:
        return True, False, False
    pairs = windows(world, count, rows, rng)

    def judged(needed: int, confidence: float) -> bool:
        settings = {
            "policy": PolicyConfig(probation=needed),
            "gate": GATE.model_copy(update={"confidence": confidence}),
        }
        found = judge_trial(
            pairs, config=CONFIG.model_copy(update=settings), roles=_timed(), metric="roc_auc",
            refused=gate, champion="1",
        )  # fmt: skip
        assert found.verdict is not None
        return found.verdict.promoted

    looks = range(1, count + 1) if often else ()
    # At half of twice its level: that of the gate itself.
    later = any(judged(needed, 2 * GATE.confidence - 1) for needed in looks)
    return False, judged(count, GATE.confidence), later


def _timed() -> Schema:
    return SCHEMA.model_copy(update={"time_column": "time"})


def _share(count: int, trials: int) -> str:
    low, high = (
        beta.ppf(0.025, count, trials - count + 1),
        beta.ppf(0.975, count + 1, trials - count),
    )
    return f"{100 * count / trials:5.1f} % ({100 * np.nan_to_num(low):.1f} to {100 * high:.1f})"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=400)
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--windows", type=int, default=3)
    parser.add_argument("--often", action="store_true")
    given = parser.parse_args()
    worlds = (
        World("no better, independent rows"),
        World("no better, 31 uneven days", days=31),
        World("better, independent rows", gain=0.12),
    )
    heads = ["gate", "by its answers", "together", *(["looked at often"] if given.often else [])]
    print(f"{'':30}{''.join(f'{head:>22}' for head in heads)}")
    for world in worlds:
        found = np.array(
            [
                trial(world, given.rows, given.windows, seed, often=given.often)
                for seed in range(given.trials)
            ]
        )
        gate, shadow, often = found.T
        columns = (gate, shadow, gate | shadow, gate | often)[: len(heads)]
        shares = (f"{_share(int(c.sum()), len(c)):>22}" for c in columns)
        print(f"{world.name:30}{''.join(shares)}", flush=True)


if __name__ == "__main__":
    main()
