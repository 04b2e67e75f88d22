"""Fits on a real Dask cluster: a scheduler and four workers on loopback, each started apart."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest

from tasks.base.errors import InfrastructureError
from tasks.base.records import CandidateResult
from tasks.base.settings.training import DaskEngine
from tasks.models.execution import dask_pool, worker_pool
from tasks.models.fitting import Progress, fit_candidates
from tests.dask_cluster import DaskCluster, dask_cluster
from tests.ports import free_port
from tests.unit.models.factories import frame, snapshot, target, training

FAMILIES = ("logistic_regression", "decision_tree", "lightgbm", "mlp")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaskCluster]:
    with dask_cluster(tmp_path_factory.mktemp("cluster"), 4) as running:
        yield running
        dask_pool.close_all()
        worker_pool.close_all()


def engine(address: str) -> DaskEngine:
    return DaskEngine(kind="dask", address=address)


@pytest.mark.slow
def test_a_killed_worker_costs_its_tasks_only_and_the_numbers_are_those_of_this_machine(
    cluster: DaskCluster, tmp_path: Path
) -> None:
    X = frame(3_000)
    given = snapshot(tmp_path / "data", X, target(X, "binary"), "binary")
    config, out = training(*FAMILIES, threads=None), tmp_path / "there"
    killer = Thread(target=_kill_in_the_middle, args=(cluster, out))
    killer.start()
    moved: list[Progress] = []
    there = fit_candidates(
        *given, config, "roc_auc", out, progress=moved.append, engine=engine(cluster.address)
    )
    killer.join()
    here = fit_candidates(*given, config, "roc_auc", tmp_path / "here")

    assert {r.status: r.reason for r in there} == {"ok": ""}
    assert [r.cv_scores for r in there] == [r.cv_scores for r in here]
    for one, two in zip(there, here, strict=True):
        with np.load(one.predictions_path) as a, np.load(two.predictions_path) as b:
            assert all(np.array_equal(a[name], b[name]) for name in b.files)
    assert sum("its worker died" in p.stage for p in moved) == 1
    assert (moved[-1].done, moved[-1].total) == (8, 8)
    assert [r.candidate for r in there if _changed(out, r)] == []


def _kill_in_the_middle(cluster: DaskCluster, out: Path) -> None:
    """Kill the worker that fits the network once a candidate is done, and keep when that was."""
    _await(lambda: len(list(out.glob("*/result.json"))) > 1 and cluster.fitting("fit-mlp.log"))
    cluster.fitting("fit-mlp.log")[0].send_signal(signal.SIGKILL)
    for result in out.glob("*/result.json"):
        (result.parent / ".seen").write_text(str(result.stat().st_mtime_ns))


def _changed(out: Path, result: CandidateResult) -> bool:
    """Return whether a candidate that was done before the kill was fitted again after it."""
    seen = out / result.candidate / ".seen"
    made = (out / result.candidate / "result.json").stat().st_mtime_ns
    return seen.exists() and seen.read_text() != str(made)


def _await(condition: Callable[[], Any]) -> None:
    until = time.monotonic() + 300
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)


@pytest.mark.slow
def test_an_interrupt_ends_what_is_fitted_on_the_cluster(
    cluster: DaskCluster, tmp_path: Path
) -> None:
    X = frame(3_000)
    given = snapshot(tmp_path / "data", X, target(X, "binary"), "binary")

    def interrupt(progress: Progress) -> None:
        if progress.stage.startswith("fold"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit_candidates(
            *given, training("mlp", threads=None), "roc_auc", tmp_path / "out", progress=interrupt,
            engine=engine(cluster.address),
        )  # fmt: skip
    _await(lambda: not cluster.fitting("fit-mlp.log"))


@pytest.mark.slow
def test_the_budget_holds_on_a_cluster_and_the_champion_s_candidate_is_fitted(
    cluster: DaskCluster, tmp_path: Path
) -> None:
    X = frame(600)
    given = snapshot(tmp_path / "data", X, target(X, "binary"), "binary")
    results = fit_candidates(
        *given, training(*FAMILIES, threads=None, budget="0.01s"), "roc_auc", tmp_path / "out",
        champion=lambda: "decision_tree", engine=engine(cluster.address),
    )  # fmt: skip
    status = {r.candidate: r.status for r in results}
    assert status["decision_tree"] == "ok"
    assert {status[name] for name in FAMILIES if name != "decision_tree"} == {"skipped"}


def test_a_scheduler_that_does_not_answer_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(dask_pool, "_CONNECT_SECONDS", 0.2)
    address = f"tcp://127.0.0.1:{free_port()}"
    with (
        pytest.raises(InfrastructureError, match=f"no Dask scheduler answers at {address}"),
        dask_pool.borrowed(engine(address), str(tmp_path)),
    ):
        pass


class Told:
    """A cluster of which only its versions are known."""

    def __init__(self, **differing: str | None) -> None:
        self._differing = differing

    def get_versions(self, packages: tuple[str, ...]) -> dict[str, Any]:
        same = {"python": "3.11.7.final.0", "distributed": "2026.8.0"}
        there = {**same, **dict.fromkeys(packages, "1.0")}
        workers = {"tcp://10.0.0.7:41": {"packages": {**there, **self._differing}}}
        own = {"packages": there}
        return {"client": own, "scheduler": {"packages": same}, "workers": workers}


@pytest.mark.parametrize(
    ("differing", "named"),
    [
        ({"lightgbm": "4.5.0"}, "lightgbm 4.5.0 on the worker tcp://10.0.0.7:41, 1.0 here"),
        ({"python": "3.12.1.final.0"}, "python 3.12 on the worker tcp://10.0.0.7:41, 3.11 here"),
        ({"keepfit": None}, "keepfit is absent on the worker tcp://10.0.0.7:41, 1.0 here"),
    ],
)
def test_a_cluster_of_other_versions_is_refused_with_both(
    differing: dict[str, str | None], named: str
) -> None:
    with pytest.raises(InfrastructureError) as caught:
        dask_pool.check_versions(Told(**differing), "tcp://127.0.0.1:8786")
    assert named in caught.value.message


def test_the_same_versions_pass_and_so_does_another_python_of_the_same_minor() -> None:
    dask_pool.check_versions(Told(python="3.11.9.final.0"), "tcp://127.0.0.1:8786")
