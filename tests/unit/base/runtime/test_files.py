"""Files are written whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.base.runtime.files import write_whole


def test_a_failed_write_leaves_the_old_file_and_nothing_beside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.json"
    write_whole(path, "old")

    def broken(self: Path, target: Path) -> None:
        raise OSError("disk")

    monkeypatch.setattr(Path, "replace", broken)
    with pytest.raises(OSError, match="disk"):
        write_whole(path, "new")

    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_folders_are_made(tmp_path: Path) -> None:
    write_whole(tmp_path / "a" / "b.txt", b"x")

    assert (tmp_path / "a" / "b.txt").read_bytes() == b"x"
