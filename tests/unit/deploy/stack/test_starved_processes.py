"""A process that gets no processor is told from one that stands still."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from deploy.child_processes import Activity, activity


@pytest.mark.parametrize(
    ("cpu", "queued", "moved"), [(0.0, 0.0, False), (0.0, 2.5, True), (0.1, 0.0, True)]
)
def test_what_waits_for_a_processor_does_not_stand_still(
    cpu: float, queued: float, moved: bool
) -> None:
    before = Activity(at=10.0, cpu=1.0, waits_for_disk=False, written=5, queued=7.0)
    after = Activity(at=13.0, cpu=1.0 + cpu, waits_for_disk=False, written=5, queued=7.0 + queued)

    assert after.moved_since(before) is moved


def test_the_wait_of_all_threads_is_read_where_the_kernel_counts_it(tmp_path: Path) -> None:
    found = activity(os.getpid(), tmp_path / "absent.log")

    assert found is not None
    counted = Path("/proc/self/schedstat").exists()
    assert found.queued > 0 if counted else found.queued == 0
