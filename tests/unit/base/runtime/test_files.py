"""Files are written whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.base.errors import ModelRefusedError
from tasks.base.runtime.files import (
    changed_file,
    digest_of,
    digests_of,
    read_recorded,
    read_unchanged,
    write_recorded,
    write_whole,
)


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


def test_a_recorded_file_is_read_only_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "limits.json"
    write_recorded(path, b"[1]")
    assert read_recorded(path) == b"[1]"
    path.write_bytes(b"[2]")
    with pytest.raises(ValueError, match="not the file that was written"):
        read_recorded(path)


def test_the_first_file_that_is_another_one_is_named(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / name).write_text(name)
    digests = digests_of(tmp_path, ("a", "b", "c", "absent"))
    assert set(digests) == {"a", "b", "c"}
    assert changed_file(tmp_path, digests) is None
    (tmp_path / "b").write_text("x")
    assert changed_file(tmp_path, digests) == "b"
    (tmp_path / "b").unlink()
    (tmp_path / "b").symlink_to(tmp_path / "a")
    assert changed_file(tmp_path, digests) == "b"


def test_what_was_exchanged_is_refused_with_its_owner(tmp_path: Path) -> None:
    path = tmp_path / "holdout.parquet"
    path.write_bytes(b"x")
    assert read_unchanged(path, digest_of(path), "flights version 1") == b"x"
    with pytest.raises(ModelRefusedError, match=r"flights version 1: holdout\.parquet is not"):
        read_unchanged(path, "0" * 64, "flights version 1")
    with pytest.raises(ModelRefusedError, match="cannot be read"):
        read_unchanged(tmp_path / "absent", "0" * 64, "flights version 1")
