"""Addresses of MLflow's pages, in the forms that its user interface reads."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import quote

from tasks.base.servers.stack_file import mlflow_server
from tasks.base.training_records import Record

VIEW = "keepfit"  # key of the experiment's shared view: candidates, metrics as columns
# Without it MLflow opens the pages for chat models, whatever the experiment's kind.
_TRAINING = "workflowType=machine_learning"
_DEFAULT = "http://127.0.0.1:5000"


class MlflowPages(Record):
    """Pages of a training in MLflow."""

    run: str  # its run
    compare: str  # its candidates side by side; empty where there are none
    table: str  # the candidates of every training, the best first
    server: str = ""  # the command that starts a server of these pages, if none runs


def pages_of(
    state: Path, store: str, experiment: str, run_id: str, candidates: Iterable[str]
) -> MlflowPages:
    """Return the pages of a training on the server that shows `store`.

    `store`: address of the MLflow store, without credentials; `candidates`: runs of the candidates,
    in the order of the leaderboard.

    >>> pages = pages_of(Path("/none"), "https://mlflow.example/", "1", "ab", ["c", "d"])
    >>> pages.run
    'https://mlflow.example/#/experiments/1/runs/ab?workflowType=machine_learning'
    >>> print(pages.compare.partition("?")[2])
    runs=%5B%22c%22,%22d%22%5D&experiments=%5B%221%22%5D&workflowType=machine_learning
    """
    base = mlflow_server(state) or (store if store.startswith(("http://", "https://")) else "")
    root = f"{(base or _DEFAULT).rstrip('/')}/#"
    runs = list(candidates)
    compared = f"runs={_listed(runs)}&experiments={_listed([experiment])}&{_TRAINING}"
    return MlflowPages(
        run=f"{root}/experiments/{experiment}/runs/{run_id}?{_TRAINING}",
        compare=f"{root}/compare-runs?{compared}" if runs else "",
        table=f"{root}/experiments/{experiment}/runs?{_TRAINING}&viewStateShareKey={VIEW}",
        server="" if base else f"mlflow ui --backend-store-uri {store} --host 127.0.0.1",
    )


def _listed(values: list[str]) -> str:
    return quote(json.dumps(values, separators=(",", ":")), safe=",")


def view_of_candidates(metric: str, *, greater_is_better: bool) -> str:
    """Return the state of MLflow's table of runs in which candidates compare by `metric`."""
    # Candidates stand by themselves, not folded under their training, since they are sorted.
    columns = [metric, "cv_mean", "cv_std", "fit_seconds", "model_bytes"]
    return json.dumps(
        {
            "searchFilter": "tags.`keepfit.role` = 'candidate'",
            "orderByKey": f"metrics.`{metric}`",
            "orderByAsc": not greater_is_better,
            "startTime": "ALL",
            "lifecycleFilter": "Active",
            "modelVersionFilter": "All Runs",
            "datasetsFilter": [],
            "selectedColumns": ["attributes.`Models`", *(f"metrics.`{c}`" for c in columns)],
        }
    )
