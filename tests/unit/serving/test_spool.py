from __future__ import annotations

import errno
import os
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest

from tasks.serving import spool as spooling
from tasks.serving.spool import SegmentHeldError, Spool, backlog_bytes, segments, taken

ROOT = Path(__file__).parents[3]


def held(folder: Path) -> list[bytes]:
    found = []
    for segment in segments(folder):
        with taken(segment) as records:
            found += records
    return found


def test_what_was_written_is_there_in_order(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool")
    for number in range(50):
        spool.write([b"r%d" % number])
    spool.close()

    assert held(tmp_path / "spool") == [b"r%d" % number for number in range(50)]
    assert backlog_bytes(tmp_path / "spool") > 0


def test_a_segment_that_is_written_is_nobody_elses(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.write([b"one"])

    with pytest.raises(SegmentHeldError), taken(segments(tmp_path)[0]):
        pass

    spool.close()
    with taken(segments(tmp_path)[0]) as records:
        assert records == [b"one"]


def test_a_killed_server_leaves_what_it_answered(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from tasks.serving.spool import Spool\n"
        "Spool(Path(sys.argv[1])).write([b'kept']); os.kill(os.getpid(), 9)"
    )
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], env=environ, check=False)

    assert held(tmp_path) == [b"kept"]


@pytest.mark.parametrize("cut", range(1, 12))
def test_a_record_that_was_cut_off_ends_its_segment(tmp_path: Path, cut: int) -> None:
    spool = Spool(tmp_path)
    spool.write([b"whole"])
    spool.write([b"cut"])
    spool.close()
    segment = segments(tmp_path)[0]
    segment.write_bytes(segment.read_bytes()[:-cut])

    assert held(tmp_path) == [b"whole"]


def test_a_full_disk_refuses_one_answer_and_leaves_no_half_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = Spool(tmp_path)
    spool.write([b"before"])

    write = os.write

    def full(descriptor: int, data: bytes) -> int:
        write(descriptor, data[:3])
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(spooling.os, "write", full)
        with pytest.raises(OSError, match="No space"):
            spool.write([b"lost"])
    spool.write([b"after"])
    spool.close()

    assert held(tmp_path) == [b"before", b"after"]


def test_a_disk_that_takes_part_of_what_is_tried_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Spool(tmp_path / "spool").check()
    assert not list((tmp_path / "spool").iterdir())
    monkeypatch.setattr(spooling.tempfile, "TemporaryFile", lambda **_: nullcontext(_Full()))

    with pytest.raises(OSError, match="No space"):
        Spool(tmp_path / "spool").check()


class _Full:
    """A file on a disk with room for 4,096 bytes."""

    room = 4_096

    def write(self, data: bytes) -> int:
        if not self.room:
            raise OSError(errno.ENOSPC, "No space left on device")
        taken, self.room = min(len(data), self.room), 0
        return taken


def test_a_segment_that_is_given_up_is_followed_by_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = Spool(tmp_path)
    spool.write([b"one"])
    assert spool.finished() is None

    monkeypatch.setattr(spooling, "_REST_SECONDS", 0.0)
    give_up = spool.finished()
    assert give_up is not None
    spool.write([b"two"])
    give_up()

    with taken(segments(tmp_path)[0]) as records:
        assert records == [b"one"]
    spool.close()
    assert held(tmp_path) == [b"one", b"two"]


def test_a_segment_is_given_up_with_its_name_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synchronised: list[int] = []
    fsync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda d: synchronised.append(os.fstat(d).st_ino) or fsync(d))
    spool = Spool(tmp_path)
    spool.write([b"one"])
    spool.close()
    assert synchronised == [tmp_path.stat().st_ino]
