"""Temporary folders: made for their owner alone, removed when it ends, however it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tasks.base.runtime.temporary import file_replacing, temporary_folder

ROOT = Path(__file__).parents[4]
KILLED = (
    "import os, signal, sys, tempfile\n"
    "from tasks.base.runtime.temporary import keep_temporary_together\n"
    "keep_temporary_together()\n"
    "open(tempfile.mkdtemp() + '/left', 'w').close()\n"
    "os.kill(os.getpid(), int(sys.argv[1]))\n"
)


def ended_by(number: int, folder: Path) -> None:
    subprocess.run(
        [sys.executable, "-c", KILLED, str(number)],
        cwd=ROOT, env={**os.environ, "TMPDIR": str(folder)}, check=False,
    )  # fmt: skip


def test_what_a_process_makes_lies_together_and_goes_with_it(tmp_path: Path) -> None:
    ended_by(0, tmp_path)

    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_left_is_removed_by_the_next(tmp_path: Path) -> None:
    ended_by(signal.SIGKILL, tmp_path)
    (left,) = tmp_path.iterdir()

    with temporary_folder(tmp_path) as folder:
        assert list(tmp_path.iterdir()) == [folder]
        assert folder != left
        assert folder.stat().st_mode & 0o777 == 0o700
    assert list(tmp_path.iterdir()) == []


def test_what_a_living_process_uses_stays(tmp_path: Path) -> None:
    with temporary_folder(tmp_path) as first, temporary_folder(tmp_path) as second:
        assert {first, second} == set(tmp_path.iterdir())


def test_other_folders_and_links_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (".keepfit", ".keepfit-temporary-of-mine", "keepfit-x"):
        (tmp_path / name).mkdir()
    (tmp_path / ".keepfit-temporary-abcdefgh").symlink_to(tmp_path / ".keepfit")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    with temporary_folder():
        assert len(list(tmp_path.iterdir())) == 5
    assert len(list(tmp_path.iterdir())) == 4


def test_folders_of_other_people_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ended_by(signal.SIGKILL, tmp_path)
    (left,) = tmp_path.iterdir()
    me = os.getuid()
    monkeypatch.setattr(os, "getuid", lambda: me + 1)

    with pytest.raises(OSError, match="locked"), temporary_folder(tmp_path):
        pass

    assert left.exists()


def test_a_file_takes_its_place_at_the_end_and_goes_where_that_fails(tmp_path: Path) -> None:
    target = tmp_path / "p.parquet"
    target.write_text("old")

    def fail(beside: Path) -> None:
        beside.write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), file_replacing(target) as beside:
        fail(beside)
    assert target.read_text() == "old"
    with file_replacing(target) as beside:
        beside.write_text("new")
    assert (target.read_text(), list(tmp_path.iterdir())) == ("new", [target])


def test_files_of_killed_writers_go_with_the_next_and_those_in_use_stay(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys; from pathlib import Path\n"
        "from tasks.base.runtime.temporary import file_replacing\n"
        "with file_replacing(Path(sys.argv[1])): os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    killed = [sys.executable, "-c", code, str(tmp_path / "other.csv")]
    subprocess.run(killed, cwd=ROOT, check=False)
    (left,) = tmp_path.iterdir()
    mine = tmp_path / ".keepfit-temporary-notes.txt"
    mine.write_text("of a person")

    with file_replacing(tmp_path / "p.csv") as first, file_replacing(tmp_path / "p.csv") as second:
        assert {first, second, mine} == set(tmp_path.iterdir())
        assert left not in (first, second)
