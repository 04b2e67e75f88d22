"""Files that a source names."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tasks.base.errors import SourceError
from tasks.data.files.paths import check_size, identity, resolve, storage_kind


def test_a_path_may_leave_its_folder_and_be_a_glob(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for name in ("b.csv", "a.csv", "c.txt"):
        (tmp_path / "data" / name).write_text("x")
    base = tmp_path / "pipelines"
    base.mkdir()
    found = resolve("../data/*.csv", base)
    assert [path.name for path in found] == ["a.csv", "b.csv"]
    assert resolve(str(tmp_path / "data" / "c.txt"), base)[0].name == "c.txt"
    assert len(resolve("../data", base, endings=(".csv",))) == 2


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("sales.cvs", "Nearest there is: sales.csv"),
        ("*.parquet", "no file matches"),
        ("empty", "folder without files"),
        ("nowhere/sales.csv", "last folder found"),
        ("sales.csv\0.txt", "NUL"),
    ],
)
def test_what_is_not_there_is_refused_with_a_hint(tmp_path: Path, path: str, said: str) -> None:
    (tmp_path / "sales.csv").write_text("x")
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceError, match=said):
        resolve(path, tmp_path, endings=(".csv",))


@pytest.mark.parametrize(("path", "hint"), [("data/*.csv", "data"), ("data", "data")])
@pytest.mark.parametrize("what", ["link", "pipe"])
def test_a_name_that_matches_and_holds_no_file_is_refused(
    tmp_path: Path, path: str, hint: str, what: str
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.csv").write_text("x")
    if what == "link":
        (tmp_path / "data" / "b.csv").symlink_to("gone.csv")
    else:
        os.mkfifo(tmp_path / "data" / "b.csv")

    with pytest.raises(SourceError, match=f"{hint}.*: b.csv is a {what}"):
        resolve(path, tmp_path, endings=(".csv",))


def test_a_folder_that_is_called_as_the_files_are_is_refused_by_a_pattern_only(
    tmp_path: Path,
) -> None:
    (tmp_path / "b.csv").mkdir()
    for name in ("a.csv", "b.csv/part.csv"):
        (tmp_path / name).write_text("x")

    with pytest.raises(SourceError, match=r"b\.csv is a folder") as caught:
        resolve("*.csv", tmp_path, endings=(".csv",))
    assert "*.csv/*" in caught.value.remedy
    assert len(resolve(".", tmp_path, endings=(".csv",))) == 2


@pytest.mark.parametrize("path", ["*/*.csv", "**/*.csv", "."])
def test_a_folder_that_cannot_be_read_is_not_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.csv").write_text("x")
    assert len(resolve(path, tmp_path, endings=(".csv",))) == 2
    monkeypatch.setattr(os, "access", lambda folder, _: Path(folder).name != "b")

    with pytest.raises(SourceError, match="b: cannot be read"):
        resolve(path, tmp_path, endings=(".csv",))
    if path != ".":
        with pytest.raises(SourceError, match="b: cannot be read"):
            storage_kind(tmp_path / path)


def test_a_pattern_is_read_from_its_own_signs_on(tmp_path: Path) -> None:
    base = tmp_path / "a[1]*"
    base.mkdir()
    (base / "x.csv").write_text("x")

    assert resolve("*.csv", base) == (base / "x.csv",)


def test_the_identity_changes_with_content(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text("x")
    first = identity((file,))
    assert identity((file,)) == first
    file.write_text("xy")
    assert identity((file,)) != first


def test_files_larger_together_than_allowed_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x" * 100)
    with pytest.raises(SourceError, match="100 bytes in 1 file"):
        check_size((tmp_path / "a.csv",), 99)


@pytest.mark.parametrize(
    ("files", "named", "kind"),
    [
        (("a.parq",), "a.parq", "parquet"),
        (("a.csv", "b.csv"), "*.csv", "csv"),
        (("a.parquet", "b.parquet"), "*.parquet", "parquet"),
        (("a.csv",), ".", "csv"),
        (("a.csv", "b.parquet"), ".", "parquet"),
        ((), ".", "parquet"),
        (("a.csv",), "*.parquet", None),
        (("a[1].csv",), "a[1].csv", "csv"),
    ],
)
def test_a_file_folder_or_pattern_says_how_its_files_are_stored(
    tmp_path: Path, files: tuple[str, ...], named: str, kind: str | None
) -> None:
    for name in files:
        (tmp_path / name).touch()
    assert storage_kind(tmp_path / named) == kind
