"""Tables that cannot be trained on, and what each of them is told at the front door."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.program import keepfit
from tests.tables import write_churn


def rows(path: Path) -> list[str]:
    return write_churn(path, rows=120).read_text(encoding="utf-8").splitlines()


def empty(path: Path) -> None:
    path.write_bytes(b"")


def header_only(path: Path) -> None:
    path.write_text(rows(path)[0] + "\n", encoding="utf-8")


def one_row(path: Path) -> None:
    path.write_text("\n".join(rows(path)[:2]) + "\n", encoding="utf-8")


def one_class(path: Path) -> None:
    path.write_text("\n".join(rows(path)).replace(",No", ",Yes") + "\n", encoding="utf-8")


def no_label(path: Path) -> None:
    lines = rows(path)
    cut = [lines[0], *(line.rsplit(",", 1)[0] + "," for line in lines[1:])]
    path.write_text("\n".join(cut) + "\n", encoding="utf-8")


def ragged(path: Path) -> None:
    lines = rows(path)
    lines[7] += ",surplus,fields"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def garbage(path: Path) -> None:
    path.write_bytes(bytes(range(256)) * 40)


def zeros(path: Path) -> None:
    path.write_bytes(b"\0" * 5000)


@pytest.mark.parametrize(
    ("spoil", "status", "words"),
    [
        (empty, {2, 3}, "rows.csv"),
        (header_only, {2, 3}, "rows"),
        (one_row, {2, 3}, "row"),
        (one_class, {3}, "Churned?"),
        (no_label, {3}, "Churned?"),
        (ragged, {2}, "line 8"),
        (garbage, {2, 3}, "rows.csv"),
        (zeros, {2, 3}, "rows.csv"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_csv_that_cannot_be_used_is_refused_with_its_reason(
    tmp_path: Path, spoil: Callable[[Path], None], status: set[int], words: str
) -> None:
    spoil(tmp_path / "rows.csv")

    ran = keepfit("init", "mine", "--data", "rows.csv", "--target", "Churned?", cwd=tmp_path)

    assert ran.status in status, ran.err
    assert words in ran.err
    assert "Traceback" not in ran.err
    assert not (tmp_path / "mine" / "keepfit.yaml").exists()


def test_a_compressed_bomb_is_refused_by_its_size(tmp_path: Path) -> None:
    line = b"1,2\n"
    with gzip.open(tmp_path / "rows.csv.gz", "wb") as file:
        file.write(b"a,y\n")
        for _ in range(200):
            file.write(line * 50_000)
    (tmp_path / "keepfit.yaml").write_text(
        "name: a\ntarget: y\nsource: {kind: csv, path: rows.csv.gz, max_bytes: 1000000}\n"
    )

    ran = keepfit("contract", "infer", cwd=tmp_path)

    assert ran.status == 2, ran.err
    assert "max_bytes" in ran.err


@pytest.mark.parametrize("share", [0.05, 0.5, 0.95])
def test_a_truncated_parquet_file_is_refused_by_name(tmp_path: Path, share: float) -> None:
    whole = tmp_path / "whole.parquet"
    pq.write_table(pa.table({"x": list(range(5000)), "y": [0, 1] * 2500}), whole)
    data = whole.read_bytes()
    (tmp_path / "rows.parquet").write_bytes(data[: int(len(data) * share)])

    ran = keepfit("init", "mine", "--data", "rows.parquet", "--target", "y", cwd=tmp_path)

    assert ran.status == 2
    assert "rows.parquet" in ran.err
    assert "Traceback" not in ran.err


def test_a_leak_is_said_loudly(tmp_path: Path) -> None:
    lines = write_churn(tmp_path / "rows.csv", rows=300).read_text(encoding="utf-8").splitlines()
    leaky = [lines[0] + ",refund", *(f"{x},{100 if x.endswith('Yes') else 0}" for x in lines[1:])]
    (tmp_path / "rows.csv").write_text("\n".join(leaky) + "\n", encoding="utf-8")

    ran = keepfit("init", "mine", "--data", "rows.csv", "--target", "Churned?", cwd=tmp_path)

    assert ran.status == 0, ran.err
    said = " ".join(ran.out.split())
    assert "refund" in said
    assert "leak" in said
    assert "exclude" in said


@pytest.mark.parametrize(
    "payload",
    [
        "../../etc",
        "a; touch pwned",
        "$(touch pwned)",
        "`touch pwned`",
        "{{7*7}}",
        "%s%n",
        "\x1b[2J",
    ],
)
def test_a_hostile_name_on_the_command_line_runs_nothing(tmp_path: Path, payload: str) -> None:
    write_churn(tmp_path / "rows.csv", rows=40)

    ran = keepfit("init", "mine", "--data", "rows.csv", "--target", payload, cwd=tmp_path)

    assert ran.status == 2
    assert "Traceback" not in ran.err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["rows.csv"]
