"""`keepfit run` beside a plain script that does the same work by hand, in one go.

Flights of January to June, July held out, no tuning; once with six candidates, once with LightGBM
alone; cold (no stores yet) and warm; without Prefect and with a server
that is running. Run it on an idle machine:

    python -m tests.benchmarks.training_speed [--repeats 3] [--only lightgbm|six]
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from tests.benchmarks.measured import Measured, measure

_PLAIN = Path(__file__).with_name("plain_script.py")
_QUIET = {
    "DO_NOT_TRACK": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "GX_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PYTHONDONTWRITEBYTECODE": "",
    "PYTHONPATH": str(Path(__file__).parents[2]),
}
_PIPELINE = """\
name: flights
target: arr_late
source: {{kind: demo, name: flights, months: [1, 7]}}
time_column: time_hour
id_columns: [flight_id]
exclude: [dep_time, dep_delay, arr_time, arr_delay, air_time, tailnum, flight]
split: {{holdout: {holdout}}}
training: {{budget: 600s, cv: 0, candidates: [{candidates}]}}
metric: roc_auc
"""
# Of wall time, warm, beside a server that runs.
_GOALS = {"lightgbm": 0.6, "six": 0.4}
_SIX = "logistic_regression, decision_tree, random_forest, svm, mlp, lightgbm"


def july_share() -> float:
    """Return the share of the rows that July is."""
    from tasks.data.sources.demos import demo_table

    rows = demo_table("flights", (1, 7), ["time_hour"]).num_rows
    return round(demo_table("flights", (7, 7), ["time_hour"]).num_rows / rows, 6)


def keepfit_side(folder: Path, api: str | None) -> Measured:
    """Train once, recomputing everything."""
    environ = {**_QUIET, **({"PREFECT_API_URL": api} if api else {})}
    command = [sys.executable, "-m", "flows.cli", "run", "--fresh", "--json"]
    return measure(command, folder, environ)


def forget_champion(folder: Path) -> None:
    """Let the next training promote, refit and register again, as the script always does."""
    from tasks.registry.mlflow.store import Store

    Store.open(folder / ".keepfit").point_alias("flights", None)


def plain_side(folder: Path, only: str) -> Measured:
    """Run the script."""
    arguments = [] if only == "six" else [only]
    return measure([sys.executable, str(_PLAIN), *arguments], folder, _QUIET)


def run_case(only: str, holdout: float, repeats: int, api: str | None) -> list[dict[str, object]]:
    """Measure both sides, cold once and warm `repeats` times, one after the other."""
    root = Path(tempfile.mkdtemp(prefix="keepfit-benchmark-"))
    ours, theirs = root / "keepfit", root / "plain"
    ours.mkdir()
    theirs.mkdir()
    names = _SIX if only == "six" else only
    (ours / "keepfit.yaml").write_text(_PIPELINE.format(holdout=holdout, candidates=names))
    try:
        rows = [_row(only, api, "cold", [keepfit_side(ours, api)], [plain_side(theirs, only)])]
        mine, other = [], []
        for _ in range(repeats):
            forget_champion(ours)
            mine.append(keepfit_side(ours, api))
            other.append(plain_side(theirs, only))
        answer = json.loads(mine[-1].out)
        print(f"keepfit: {answer['challenger']} roc_auc {answer['metrics']['roc_auc']:.4f}")
        print(f"plain:   {other[-1].out.strip().splitlines()[-1]}")
        print("keepfit's stages, from the start of the process:")
        print("\n".join(f"  {line}" for line in mine[-1].err.splitlines()))
        return [*rows, _row(only, api, "warm", mine, other)]
    finally:
        shutil.rmtree(root, ignore_errors=True)


def _row(
    only: str, api: str | None, state: str, ours: list[Measured], theirs: list[Measured]
) -> dict[str, object]:
    def middle(side: list[Measured], what: str) -> float:
        return statistics.median(getattr(m, what) for m in side)

    def ratio(what: str) -> float:
        pairs = zip(ours, theirs, strict=True)
        return float(
            statistics.median(getattr(one, what) / getattr(other, what) for one, other in pairs)
        )

    row: dict[str, object] = {
        "candidates": only,
        "prefect": "server" if api else "none",
        "stores": state,
        **{
            f"{name}_{what}": middle(side, what)
            for what in ("wall", "cpu", "peak")
            for name, side in (("keepfit", ours), ("plain", theirs))
        },
        **{f"ratio_{what}": ratio(what) for what in ("wall", "cpu", "peak")},
    }
    show([row])
    return row


def show(rows: list[dict[str, object]]) -> None:
    """Print the table of cases; ratios are medians over pairs of runs, one after the other."""
    head = f"{'candidates':<11}{'prefect':<9}{'stores':<7}"
    for what in ("wall s", "cpu s", "peak MB"):
        head += f"{what:>22}{'ratio':>7}"
    print(head)
    for row in rows:
        line = f"{row['candidates']:<11}{row['prefect']:<9}{row['stores']:<7}"
        for what, unit in (("wall", 1.0), ("cpu", 1.0), ("peak", 1e6)):
            mine = float(str(row[f"keepfit_{what}"])) / unit
            other = float(str(row[f"plain_{what}"])) / unit
            line += f"{mine:>12.1f} /{other:>8.1f}{row[f'ratio_{what}']:>7.2f}"
        goal = _GOALS[str(row["candidates"])] if row["prefect"] == "server" else None
        print(line + (f"   goal {goal}" if goal else ""), flush=True)


def running_server(folder: Path) -> tuple[subprocess.Popen[bytes], str]:
    """Start a Prefect server and return it with its address once it answers."""
    port = 42_317
    environ = {**os.environ, **_QUIET, "PREFECT_HOME": str(folder)}
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1"]
    server = subprocess.Popen(
        [*command, "--port", str(port)],
        env=environ,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    url = f"http://127.0.0.1:{port}/api"
    for _ in range(600):
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=1):  # noqa: S310 - loopback
                return server, url
        except OSError:
            time.sleep(0.1)
    server.terminate()
    raise SystemExit("the Prefect server did not start")


def main() -> None:
    """Measure every case and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", choices=["six", "lightgbm"])
    parser.add_argument("--without-prefect", action="store_true")
    given = parser.parse_args()
    holdout = july_share()
    cases = [given.only] if given.only else ["lightgbm", "six"]
    rows = [row for case in cases for row in run_case(case, holdout, given.repeats, None)]
    if not given.without_prefect:
        with tempfile.TemporaryDirectory() as home:
            server, url = running_server(Path(home))
            try:
                rows += [
                    row for case in cases for row in run_case(case, holdout, given.repeats, url)
                ]
            finally:
                server.terminate()
                server.wait()
    show(rows)


if __name__ == "__main__":
    main()
