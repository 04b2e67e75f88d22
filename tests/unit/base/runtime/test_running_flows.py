from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import pytest

from tasks.base.runtime.process_identity import has_ended, this_process
from tasks.base.runtime.running_flows import (
    left_on,
    mark_running,
    marked,
    marked_at,
    runner_of,
    unmark,
)

ROOT = Path(__file__).parents[4]


def test_a_run_names_its_process_until_it_is_unmarked(tmp_path: Path) -> None:
    run = str(uuid4())
    before = datetime.now(UTC)

    mark_running(tmp_path, run)

    assert runner_of(tmp_path, run) == this_process()
    assert marked(tmp_path) == (run,)
    assert abs((marked_at(tmp_path, run) - before).total_seconds()) < 60
    unmark(tmp_path, run)
    assert runner_of(tmp_path, run) is None
    assert marked(tmp_path) == ()


@pytest.mark.parametrize("name", ["", "../../stack", "a/b", "x" * 36])
def test_what_is_no_id_of_a_run_names_no_file(tmp_path: Path, name: str) -> None:
    assert runner_of(tmp_path, name) is None
    with pytest.raises(ValueError, match="no id"):
        mark_running(tmp_path, name)


def test_a_killed_process_is_told_from_its_mark(tmp_path: Path) -> None:
    run = str(uuid4())
    code = (
        "import sys, os, signal; from pathlib import Path; "
        "from tasks.base.runtime.running_flows import *; "
        "mark_running(Path(sys.argv[1]), sys.argv[2]); os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path), run], cwd=ROOT, check=False)

    process = runner_of(tmp_path, run)

    assert process is not None
    assert has_ended(process)


def test_runs_left_on_an_api_are_known_there_only_and_those_of_none_are_forgotten(
    tmp_path: Path,
) -> None:
    api, other, alone = (str(uuid4()) for _ in range(3))
    living = str(uuid4())
    code = (
        "import sys; from pathlib import Path; "
        "from tasks.base.runtime.running_flows import mark_running; "
        "mark_running(Path(sys.argv[1]), sys.argv[2], sys.argv[3])"
    )
    for run, url in ((api, "http://u:secret@h/api"), (other, "http://other/api"), (alone, "")):
        subprocess.run([sys.executable, "-c", code, tmp_path, run, url], cwd=ROOT, check=True)
    mark_running(tmp_path, living, "http://h/api")

    assert set(left_on(tmp_path, "http://h/api")) == {api}
    assert set(marked(tmp_path)) == {api, other, living}
    assert not any("secret" in file.read_text() for file in (tmp_path / "runs").iterdir())
