"""Fits on a real Dask cluster: a scheduler and four workers on loopback, each started apart."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest

from tasks.base.errors import InfrastructureError
from tasks.base.settings.training import DaskEngine
from tasks.base.training_records import CandidateResult, Schema, Split
from tasks.models.execution import dask_pool, worker_pool
from tasks.models.fitting import Progress, fit_candidates
from tests.dask_cluster import DaskCluster, dask_cluster
from tests.ports import free_port
from tests.unit.models.factories import frame, snapshot, target, training

WORKER_PROCESS, DASK_WORKER = 0, 1
"""Which of a fit's ancestors is killed."""
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
    given, config, out = _given(tmp_path), training(*FAMILIES, threads=None), tmp_path / "there"
    moved: list[Progress] = []

    def keep_what_is_done() -> None:
        _await(lambda: len(list(out.glob("*/result.json"))) > 1)
        for result in out.glob("*/result.json"):
            (result.parent / ".seen").write_text(str(result.stat().st_mtime_ns))

    with _killing(cluster, DASK_WORKER, 1, first=keep_what_is_done):
        there = fit_candidates(
            *given, config, "roc_auc", out, progress=moved.append, engine=engine(cluster.address)
        )
    here = fit_candidates(*given, config, "roc_auc", tmp_path / "here")

    _assert_same(there, here)
    assert sum("its worker died" in p.stage for p in moved) == 1
    assert (moved[-1].done, moved[-1].total) == (8, 8)
    assert [r.candidate for r in there if _changed(out, r)] == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("victim", "times", "reason"),
    [
        (WORKER_PROCESS, 1, ""),
        (WORKER_PROCESS, 2, "its process was ended twice by SIGKILL"),
        (DASK_WORKER, 2, "died with it"),
    ],
)
def test_a_fit_whose_process_is_killed_starts_once_more_and_is_then_reported(
    victim: int, times: int, reason: str, cluster: DaskCluster, tmp_path: Path
) -> None:
    cluster.fill(4)
    with _killing(cluster, victim, times):
        results = fit_candidates(
            *_given(tmp_path), training("mlp", "decision_tree", threads=None), "roc_auc",
            tmp_path / "out", engine=engine(cluster.address),
        )  # fmt: skip

    status = {r.candidate: r.status for r in results}
    ends = "failed" if reason else "ok"
    assert status == {"baseline": "ok", "mlp": ends, "decision_tree": "ok"}
    assert reason in next(r.reason for r in results if r.candidate == "mlp")


@pytest.mark.slow
def test_trials_on_a_cluster_are_those_of_this_machine(
    cluster: DaskCluster, tmp_path: Path
) -> None:
    cluster.fill(4)
    config = training("decision_tree", "lightgbm", tuning={"trials": 6, "share": 0.9})
    given = *_given(tmp_path, 400), config, "roc_auc"
    there = fit_candidates(*given, tmp_path / "there", engine=engine(cluster.address))
    here = fit_candidates(*given, tmp_path / "here")

    _assert_same(there, here)
    told = [
        [t.model_dump(exclude={"seconds"}) for r in side for t in r.trials]
        for side in (there, here)
    ]
    assert len(told[0]) == 12
    assert told[0] == told[1]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("whole", "named"), [(False, "has no worker"), (True, "scheduler at .* is gone")]
)
def test_a_cluster_that_is_gone_ends_the_fits_and_what_is_done_is_kept(
    whole: bool, named: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(dask_pool, "_ALONE_SECONDS", 0.5)
    monkeypatch.setattr(dask_pool, "_WATCH_SECONDS", 0.5)
    given, out = _given(tmp_path, 12_000), tmp_path / "out"
    config = training("decision_tree", "mlp", threads=None)
    with dask_cluster(tmp_path, 2) as cluster:

        def end() -> None:
            _await((out / "decision_tree/result.json").exists)
            _await(lambda: cluster.fitting("fit-mlp.log"))
            for process in [cluster.scheduler] if whole else cluster.workers:
                process.kill()

        killer = Thread(target=end)
        killer.start()
        with pytest.raises(InfrastructureError, match=named):
            fit_candidates(*given, config, "roc_auc", out, engine=engine(cluster.address))
        killer.join()
        dask_pool.close_all()
    again = fit_candidates(*given, training("decision_tree"), "roc_auc", out)
    assert [(r.candidate, r.cached) for r in again[1:]] == [("decision_tree", True)]


@pytest.mark.slow
def test_a_worker_of_another_version_is_refused_also_where_it_comes_later(
    cluster: DaskCluster, tmp_path: Path
) -> None:
    faked = tmp_path / "lightgbm-0.1.dist-info"
    faked.mkdir()
    (faked / "METADATA").write_text("Metadata-Version: 2.1\nName: lightgbm\nVersion: 0.1\n")
    cluster.fill(4)
    there, differs = engine(cluster.address), r"lightgbm 0\.1 on the worker tcp://"
    with dask_pool.borrowed(there, str(tmp_path)) as workers:
        other = cluster.start_worker(PYTHONPATH=str(tmp_path))
        cluster.fill(5)

        def use_all() -> None:
            for number in range(100):
                command = {"do": "call", "about": "x", "run": {}, "log": str(tmp_path / "log")}
                workers.send({**command, "task": number})
                workers.hear(0.2)

        with pytest.raises(InfrastructureError, match=differs):
            use_all()
    with (
        pytest.raises(InfrastructureError, match=differs),
        dask_pool.borrowed(there, str(tmp_path)),
    ):
        pass
    other.kill()


@contextmanager
def _killing(
    cluster: DaskCluster, victim: int, times: int, first: Callable[[], None] = lambda: None
) -> Iterator[None]:
    """Kill an ancestor of the network's fit, as often as it is started, up to `times`."""

    def kill() -> None:
        first()
        seen = set()
        for _ in range(times):
            _await(lambda: [f for f in cluster.fitting("fit-mlp.log") if f.pid not in seen])
            (fit,) = [f for f in cluster.fitting("fit-mlp.log") if f.pid not in seen]
            seen.add(fit.pid)
            fit.parents()[victim].kill()

    killer = Thread(target=kill)
    killer.start()
    yield
    killer.join()


def _given(folder: Path, rows: int = 3_000) -> tuple[str, Split, Schema]:
    X = frame(rows)
    return snapshot(folder / "data", X, target(X, "binary"), "binary")


def _assert_same(there: Sequence[CandidateResult], here: Sequence[CandidateResult]) -> None:
    assert {r.status: r.reason for r in there} == {"ok": ""}
    assert [r.cv_scores for r in there] == [r.cv_scores for r in here]
    for one, two in zip(there, here, strict=True):
        with np.load(one.predictions_path) as a, np.load(two.predictions_path) as b:
            assert all(np.array_equal(a[name], b[name]) for name in b.files)


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
    def interrupt(progress: Progress) -> None:
        if progress.stage.startswith("fold"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit_candidates(
            *_given(tmp_path), training("mlp", threads=None), "roc_auc", tmp_path / "out",
            progress=interrupt, engine=engine(cluster.address),
        )  # fmt: skip
    _await(lambda: not cluster.fitting("fit-mlp.log"))


@pytest.mark.slow
def test_the_budget_holds_on_a_cluster_and_the_champion_s_candidate_is_fitted(
    cluster: DaskCluster, tmp_path: Path
) -> None:
    results = fit_candidates(
        *_given(tmp_path, 600), training(*FAMILIES, threads=None, budget="0.01s"), "roc_auc",
        tmp_path / "out", champion=lambda: "decision_tree", engine=engine(cluster.address),
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


class Shared:
    """A cluster of which only two workers' sight of a folder is known."""

    def run(self, function: Callable[[str], str], folder: str, **_: Any) -> dict[str, str]:
        here = {"tcp://10.0.0.7:41": function(folder)}
        return {**here, "tcp://10.0.0.8:41": function(f"{folder}/elsewhere")}


def test_a_worker_that_does_not_see_the_shared_folder_is_named_with_the_remedy(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(worker_pool, "warm_up", lambda: None)
    with pytest.raises(InfrastructureError) as caught:
        dask_pool.check_shared(Shared(), tmp_path)
    assert caught.value.message == f"the Dask worker tcp://10.0.0.8:41 does not see {tmp_path}."
    assert "`state`" in caught.value.remedy
