"""Files are written whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tasks.base.errors import ConfigError, ModelRefusedError
from tasks.base.runtime.files import (
    changed_file,
    digest_of,
    digests_of,
    read_recorded,
    read_unchanged,
    require_trusted,
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


@pytest.mark.parametrize(
    ("mode", "others", "trusted"),
    [(0o700, 0o002, True), (0o2775, 0o002, True), (0o2775, 0o022, False),
     (0o777, 0o002, False), (0o1777, 0o002, False)],
)  # fmt: skip
def test_a_folder_that_others_can_write_is_refused_with_its_mode(
    mode: int, others: int, trusted: bool, tmp_path: Path
) -> None:
    folder = tmp_path / "state"
    folder.mkdir()
    folder.chmod(mode)
    linked = tmp_path / "link"
    linked.symlink_to(folder)

    for path in (folder, linked):
        if trusted:
            require_trusted(path, "", others=others)
            continue
        with pytest.raises(ConfigError) as caught:
            require_trusted(path, "", others=others)
        assert f"{mode:04o}" in caught.value.message
        # Of a folder that is meant for all accounts, the mode is to stay.
        assert (f"chmod go-w {path}" in caught.value.remedy) is (mode != 0o1777)


def test_a_folder_of_another_account_is_refused_unless_that_account_is_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if os.geteuid() == 0:
        os.chown(tmp_path, 4_243, -1)
    monkeypatch.setattr(os, "geteuid", lambda: 4_242)

    with pytest.raises(ConfigError, match=f"chown -R 4242 {tmp_path}"):
        require_trusted(tmp_path, "")
    require_trusted(tmp_path, "", [tmp_path.stat().st_uid])


def test_what_is_absent_or_a_volume_of_root_is_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    require_trusted(tmp_path / "absent", "")
    tmp_path.chmod(0o777)
    monkeypatch.setattr(Path, "is_mount", lambda _: True)
    if os.geteuid() == 0:
        require_trusted(tmp_path, "")
    else:
        with pytest.raises(ConfigError):  # mounted by its user
            require_trusted(tmp_path, "")
    tmp_path.chmod(0o1777)  # as /tmp and /dev/shm are where they are mounts
    with pytest.raises(ConfigError, match="1777"):
        require_trusted(tmp_path, "")
