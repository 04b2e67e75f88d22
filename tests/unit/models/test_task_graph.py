from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tasks.base.settings.training import TrainingConfig
from tasks.models.task_graph import plan, ready, seconds_left

CANDIDATES = TrainingConfig().candidates
names = st.lists(st.sampled_from(CANDIDATES), unique=True, max_size=6).map(tuple)


@given(names, st.integers(1, 16))
def test_everything_is_done_once_after_what_it_needs_within_the_threads(
    chosen: tuple[str, ...], threads: int
) -> None:
    tasks = plan(chosen, threads)
    done: set[int] = set()
    while len(done) < len(tasks):
        started = ready(tasks, done, set(), set(done), threads)
        assert started
        assert sum(task.threads for task in started) <= threads
        assert all(done.issuperset(task.needs) for task in started)
        done |= {task.number for task in started}
    assert sorted(task.about for task in tasks if task.do == "fit") == sorted(chosen)


def test_each_encoding_is_computed_once_for_all_that_use_it() -> None:
    encoded = [task.about for task in plan(CANDIDATES, 2) if task.do == "encode"]
    assert sorted(encoded) == ["linear", "native", "tree"]


def test_side_by_side_means_one_thread_each_and_alone_means_all() -> None:
    assert {task.threads for task in plan(CANDIDATES, 4)} == {1}
    assert plan(("lightgbm",), 4)[-1].threads == 4


def test_tasks_that_failed_leave_their_core() -> None:
    tasks = plan(CANDIDATES, 1)
    assert ready(tasks, {0}, {1}, {0, 1}, 1) != ()


@given(st.sets(st.integers(0, 9)), st.floats(0.1, 100))
def test_the_estimate_never_goes_beyond_the_budget(done: set[int], elapsed: float) -> None:
    left = seconds_left(plan(CANDIDATES, 2), done, elapsed, 2, 120.0)
    assert left is None or 0 <= left <= 120.0 - elapsed + 0.1
