from __future__ import annotations

import gzip
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq
import pytest

from tasks.base.errors import ConfigError, InfrastructureError, SourceError, TransientError
from tasks.base.settings.scoring import ParquetSink
from tasks.base.settings.sources import CsvSource, ParquetSource
from tasks.data.files import object_stores
from tasks.data.files.object_stores import fetch, put
from tasks.data.files.paths import files_of, storage_kind
from tasks.data.sources.source import fingerprint, read_source
from tests.object_store import S3Server, cut_line, s3_server


@pytest.fixture
def bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that stands for the store: pyarrow's own file systems have one interface."""
    root = tmp_path / "store"
    (root / "sales").mkdir(parents=True)
    store = pafs.SubTreeFileSystem(str(root), pafs.LocalFileSystem())
    monkeypatch.setattr(object_stores, "_amazon", lambda: store)
    return root / "sales"


def make(bucket: Path, name: str, content: str = "a,b\n1,2\n", age: float = 60) -> Path:
    path = bucket / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    os.utime(path, (time.time() - age, time.time() - age))
    return path


def copies(path: str, state: Path, max_bytes: int = 1000) -> list[str]:
    source = CsvSource(kind="csv", path=path, max_bytes=max_bytes).keep_copies_in(state)
    folder = state / "objects" / "s3" / "sales"
    return [file.relative_to(folder).as_posix() for file in files_of(source, state)]


def test_objects_are_named_as_files_are(bucket: Path, tmp_path: Path) -> None:
    for name in ("in/1.csv", "in/2.csv", "in/deep/3.csv", "in/_log/4.csv", "in/5.csv.tmp", "x.md"):
        make(bucket, name)
    assert copies("s3://sales/in/1.csv", tmp_path) == ["in/1.csv"]
    assert copies("s3://sales/in", tmp_path) == ["in/1.csv", "in/2.csv", "in/deep/3.csv"]
    assert copies("s3://sales/in/*", tmp_path) == ["in/1.csv", "in/2.csv"]
    assert copies("s3://sales/**/[34].csv", tmp_path) == ["in/_log/4.csv", "in/deep/3.csv"]
    assert copies("s3://sales/in/?.csv", tmp_path) == ["in/1.csv", "in/2.csv"]


def test_an_error_without_words_is_named_by_its_kind(
    bucket: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def silent() -> None:
        raise OSError

    monkeypatch.setattr(object_stores, "_amazon", silent)
    with pytest.raises(InfrastructureError, match="OSError"):
        fetch("s3://sales/a.csv", tmp_path / "a.csv")


def test_an_object_is_fetched_once_and_again_when_it_changed(bucket: Path, tmp_path: Path) -> None:
    source = CsvSource(kind="csv", path="s3://sales/*.csv").keep_copies_in(tmp_path)
    make(bucket, "1.csv")
    (copy,) = files_of(source, tmp_path)
    first, known = copy.stat().st_ino, fingerprint(source, tmp_path)
    assert files_of(source, tmp_path)[0].stat().st_ino == first
    make(bucket, "1.csv", "a,b\n3,4\n", age=30)
    assert files_of(source, tmp_path)[0].read_text() == "a,b\n3,4\n"
    assert fingerprint(source, tmp_path) != known


def test_an_object_of_this_second_is_not_believed_to_be_settled(
    bucket: Path, tmp_path: Path
) -> None:
    written = make(bucket, "1.csv", age=0)
    assert copies("s3://sales/1.csv", tmp_path) == ["1.csv"]
    stat = written.stat()
    written.write_text("a,b\n9,9\n")
    os.utime(written, ns=(stat.st_mtime_ns, stat.st_mtime_ns))  # stores count whole seconds
    assert copies("s3://sales/1.csv", tmp_path) == ["1.csv"]
    copy = tmp_path / "objects" / "s3" / "sales" / "1.csv"
    assert copy.read_text() == "a,b\n9,9\n"


def test_more_bytes_than_allowed_are_not_fetched(bucket: Path, tmp_path: Path) -> None:
    make(bucket, "1.csv")
    with pytest.raises(SourceError, match="max_bytes"):
        copies("s3://sales/1.csv", tmp_path, max_bytes=7)
    assert not (tmp_path / "objects").exists()


@pytest.mark.parametrize("path", ["s3://sales/2.csv", "s3://sales/*.parquet", "s3://sales/none"])
def test_an_absent_object_is_an_error_that_names_what_is_there(
    path: str, bucket: Path, tmp_path: Path
) -> None:
    make(bucket, "1.csv")
    with pytest.raises(SourceError, match=path.replace("*", r"\*")):
        copies(path, tmp_path)


def test_packed_objects_arrive_as_they_are(bucket: Path, tmp_path: Path) -> None:
    (bucket / "1.csv.gz").write_bytes(gzip.compress(b"a\n1\n"))
    fetch("s3://sales/1.csv.gz", tmp_path / "copy.gz")
    put(tmp_path / "copy.gz", "s3://sales/2.csv.gz")
    assert gzip.decompress((bucket / "2.csv.gz").read_bytes()) == b"a\n1\n"
    with pytest.raises(ConfigError, match="there already"):
        put(tmp_path / "copy.gz", "s3://sales/2.csv.gz", new=True)


def test_folders_of_partitions_are_columns(bucket: Path, tmp_path: Path) -> None:
    for month in (1, 2):
        path = make(bucket, f"by/month={month}/x.parquet")
        pq.write_table(pa.table({"a": [month]}), path)
    source = ParquetSource(kind="parquet", path="s3://sales/by").keep_copies_in(tmp_path)
    assert read_source(source, tmp_path).table["month"].to_pylist() == [1, 2]
    alone = ParquetSource(kind="parquet", path="s3://sales/by/month=1/x.parquet")
    assert read_source(alone.keep_copies_in(tmp_path), tmp_path).table.column_names == ["a"]
    assert storage_kind("s3://sales/by") == "parquet"


@pytest.mark.parametrize(
    "path", ["s3://me:pw@sales/x.csv", "s3://sales/x.csv?secret_key=pw", "gs://pw@sales/x"]
)
def test_credentials_in_an_address_are_refused_and_not_shown(path: str) -> None:
    with pytest.raises(ValueError, match="environment") as found:
        ParquetSink(kind="parquet", path=path)
    assert "pw" not in str(found.value)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with s3_server(tmp_path_factory.mktemp("s3")) as running:
        yield running


@pytest.fixture
def reached(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    for name, value in server.environ().items():
        monkeypatch.setenv(name, value)
    return server


def reach_by(port: int, server: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.environ(port)["AWS_ENDPOINT_URL"])


@pytest.mark.slow
def test_a_real_store_is_read_and_written(reached: S3Server, tmp_path: Path) -> None:
    (tmp_path / "1.csv").write_text("a,b\n1,2\n")
    put(tmp_path / "1.csv", "s3://sales/in/1.csv")
    reached.write("sales/in/2.csv", b"a,b\n3,4\n")
    source = CsvSource(kind="csv", path="s3://sales/in/*.csv").keep_copies_in(tmp_path)
    assert read_source(source, tmp_path).table.to_pydict() == {"a": [1, 3], "b": [2, 4]}


@pytest.mark.slow
def test_a_bucket_that_is_absent_or_refuses_is_said_with_what_mends_it(
    reached: S3Server, tmp_path: Path
) -> None:
    (tmp_path / "1.csv").write_text("a\n1\n")
    with pytest.raises(SourceError, match="no such bucket"):
        copies("s3://gone/1.csv", tmp_path)
    with pytest.raises(ConfigError, match="no such bucket"):
        put(tmp_path / "1.csv", "s3://gone/1.csv")
    reached.demand_rights()
    try:
        for action in (
            lambda: copies("s3://sales/1.csv", tmp_path),
            lambda: put(tmp_path / "1.csv", "s3://sales/1.csv"),
        ):
            with pytest.raises(InfrastructureError, match="refuses access") as found:
                action()
            assert not isinstance(found.value, TransientError)
            assert "AWS_SECRET_ACCESS_KEY" in found.value.remedy
    finally:
        reached.demand_rights(wanted=False)


@pytest.mark.slow
def test_a_store_that_dies_while_it_is_read_leaves_no_half_copy(
    reached: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = b"a,b\n" + b"1,2\n" * 3_000_000
    reached.write("sales/big/1.csv", content)
    with cut_line(reached.port, after=4_000_000) as port:
        reach_by(port, reached, monkeypatch)
        with pytest.raises(TransientError, match="big"):
            copies("s3://sales/big/1.csv", tmp_path, max_bytes=10**9)
    assert [p for p in (tmp_path / "objects").rglob("*") if p.is_file()] == []
    reach_by(reached.port, reached, monkeypatch)
    copies("s3://sales/big/1.csv", tmp_path, max_bytes=10**9)
    assert (tmp_path / "objects/s3/sales/big/1.csv").read_bytes() == content


@pytest.mark.slow
@pytest.mark.parametrize("megabytes", [3, 12])
def test_a_store_that_dies_while_it_is_written_keeps_the_former_object(
    megabytes: int, reached: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"sales/out/{megabytes}.bin"
    reached.write(name, b"former")
    (tmp_path / "new").write_bytes(os.urandom(megabytes << 20))
    with cut_line(reached.port, after=megabytes << 19) as port:
        reach_by(port, reached, monkeypatch)
        with pytest.raises(TransientError, match="does not answer"):
            put(tmp_path / "new", f"s3://{name}")
    assert reached.read(name) == b"former"
    reach_by(reached.port, reached, monkeypatch)
    put(tmp_path / "new", f"s3://{name}")
    assert reached.read(name) == (tmp_path / "new").read_bytes()
