"""Arrow files mapped from disk: their pages can be let go, their values stay."""

from __future__ import annotations

import mmap
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from tasks.base.runtime.mapped_files import (
    let_mapped_pages_go,
    mapped_table,
    pages_let_go,
    prefetch,
)


def of_files() -> int:
    """Return the bytes of files that this process has mapped and touched."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssFile"))


def written(table: pa.Table, path: Path, batch_rows: int | None = None) -> Path:
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=batch_rows)
    return path


class _Noting(mmap.mmap):
    """A mapped file that notes what is to be read of it."""

    wanted: list[tuple[int, int]]

    def madvise(self, option: int, *where: int) -> None:
        if option == mmap.MADV_WILLNEED:
            _Noting.wanted.append((where[0], where[0] + where[1]))
        super().madvise(option, *where)


def test_of_a_column_its_own_pages_are_read_and_none_of_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = 20_000
    columns = {name: np.full(rows, float(place)) for place, name in enumerate("abcd")}
    texts = pa.array([None, "two", *["one"] * (rows - 2)])
    path = written(pa.table({**columns, "text": texts}), tmp_path / "t.arrow", rows // 4)
    monkeypatch.setattr(mmap, "mmap", _Noting)
    table = mapped_table(path)

    for name in ("c", "text"):
        _Noting.wanted = []
        prefetch(table.select([name]))
        content = path.read_bytes()
        read = b"".join(content[start:end] for start, end in _Noting.wanted)
        buffers = [b for chunk in table[name].chunks for b in chunk.buffers() if b is not None]

        assert all(start % mmap.PAGESIZE == 0 for start, _ in _Noting.wanted)
        assert all(buffer.to_pybytes() in read for buffer in buffers)
        assert len(read) < sum(buffer.size for buffer in buffers) + len(buffers) * mmap.PAGESIZE


def test_a_table_read_from_end_to_end_does_not_stay_with_the_process(tmp_path: Path) -> None:
    numbers = pa.table({"x": np.arange(4_000_000)})
    table = mapped_table(written(numbers, tmp_path / "t.arrow"))
    before = of_files()
    assert table.equals(numbers)
    read = of_files()
    let_mapped_pages_go()
    left = of_files()

    assert read - before > 0.9 * table.nbytes
    assert left - before < 0.1 * table.nbytes
    assert table.equals(numbers)


def test_what_is_no_whole_arrow_file_is_refused(tmp_path: Path) -> None:
    for content in (b"", b"ARROW1 no more"):
        (tmp_path / "t.arrow").write_bytes(content)
        with pytest.raises(pa.ArrowInvalid):
            mapped_table(tmp_path / "t.arrow")
    with pytest.raises(FileNotFoundError):
        mapped_table(tmp_path / "none.arrow")


def test_a_matrix_that_is_read_from_end_to_end_does_not_stay_with_the_process(
    tmp_path: Path,
) -> None:
    np.save(tmp_path / "X.npy", np.ones((9_000_000,)))
    X = np.load(tmp_path / "X.npy", mmap_mode="r")
    before = of_files()
    with pages_let_go(X):
        assert X.sum() == len(X)
        until = time.monotonic() + 20
        while of_files() - before > 0.1 * X.nbytes:
            assert time.monotonic() < until
    assert X.sum() == len(X)
    assert of_files() - before > 0.9 * X.nbytes
    with pages_let_go(X):
        pass
    assert of_files() - before < 0.1 * X.nbytes
