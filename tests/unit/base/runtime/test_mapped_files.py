"""Arrow files mapped from disk: their pages can be let go, their values stay."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from tasks.base.runtime.mapped_files import let_mapped_pages_go, mapped_table


def of_files() -> int:
    """Return the bytes of files that this process has mapped and touched."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssFile"))


def test_a_table_read_from_end_to_end_does_not_stay_with_the_process(tmp_path: Path) -> None:
    numbers = pa.table({"x": np.arange(4_000_000)})
    with (
        pa.OSFile(str(tmp_path / "t.arrow"), "wb") as sink,
        pa.ipc.new_file(sink, numbers.schema) as writer,
    ):
        writer.write_table(numbers)
    table = mapped_table(tmp_path / "t.arrow")
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
