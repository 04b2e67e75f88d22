from __future__ import annotations

import sys
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from tasks.base.errors import SourceError
from tasks.base.settings.sources import ParquetSource
from tasks.data.sources.source import fingerprint, read_source

SOURCE = ParquetSource(kind="parquet", path="sales")


def write(folder: Path, days: list[str], **options: object) -> None:
    table = pa.table({"n": list(range(len(days))), "day": days})
    write_deltalake(str(folder / "sales"), table, partition_by=["day"], **options)  # type: ignore[arg-type]


def test_of_a_delta_table_the_newest_version_is_read(tmp_path: Path) -> None:
    write(tmp_path, ["mon", "tue", "a b"])
    first = read_source(SOURCE, tmp_path).table.sort_by("n")
    assert first.to_pydict() == {"n": [0, 1, 2], "day": ["mon", "tue", "a b"]}
    known = fingerprint(SOURCE, tmp_path)
    DeltaTable(str(tmp_path / "sales")).delete("day = 'tue'")
    assert read_source(SOURCE, tmp_path).table.sort_by("n")["n"].to_pylist() == [0, 2]
    assert fingerprint(SOURCE, tmp_path) != known
    write(tmp_path, ["wed"], mode="append")
    assert read_source(SOURCE, tmp_path).table["day"].to_pylist().count("wed") == 1


def test_a_delta_table_that_needs_more_than_its_files_is_refused(tmp_path: Path) -> None:
    write(tmp_path, ["mon"], configuration={"delta.enableDeletionVectors": "true"})
    with pytest.raises(SourceError, match="reader of version 3"):
        read_source(SOURCE, tmp_path)


def test_an_iceberg_table_is_not_taken_for_plain_files(tmp_path: Path) -> None:
    (tmp_path / "sales" / "metadata").mkdir(parents=True)
    (tmp_path / "sales" / "metadata" / "v1.metadata.json").write_text("{}")
    with pytest.raises(SourceError, match="Iceberg"):
        read_source(SOURCE, tmp_path)


def test_without_deltalake_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, ["mon"])
    monkeypatch.setitem(sys.modules, "deltalake", None)
    with pytest.raises(SourceError, match=r"keepfit\[delta\]"):
        read_source(SOURCE, tmp_path)
