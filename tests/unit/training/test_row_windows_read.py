"""Who reads a source must not matter: what the first reading infers holds at every later one."""

from __future__ import annotations

import csv
import io
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from expectations.contract import Contract
from expectations.facts.column_facts import facts_of
from expectations.rules.column_rules import ColumnCheck
from tasks.base.pipeline_file import Pipeline, load_pipeline
from tasks.base.settings.sources import SqlSource
from tasks.base.training_records import Snapshot
from tasks.contracts.contract_files import ensure_contract, known_contract
from tasks.data.snapshots import open_table, read_frame
from tasks.projects.draft import Request, draft_project
from tasks.training.row_windows import scoring_snapshot, training_snapshot, with_overrides

T0 = datetime(2024, 1, 1)
ROWS = 120
_SLOW = [HealthCheck.too_slow]
_NO_SHRINKING = [Phase.explicit, Phase.reuse, Phase.generate]  # a reading takes milliseconds


def broken_rules(contract: Contract, snapshot: Snapshot, *, part: bool = False) -> list[str]:
    """Return the rules on columns that fail on a snapshot; of a part its share of nulls is left."""
    frame = read_frame(snapshot.path)
    return [
        f"{name}: {result.rule}: expected {result.expected}; found {result.observed}"
        for name, rule in contract.columns.items()
        if name in frame.columns
        for result in ColumnCheck(name, rule, facts_of(frame[name]), {}).results()
        if not result.passed and not (part and result.rule in ("nulls", "varies"))
    ]


def stored_types(snapshot: Snapshot) -> dict[str, tuple[str, str]]:
    """Return kind and type of every column that has a value."""
    table = open_table(snapshot.path)
    return {
        name: (kind, _family(table[name].type))
        for name, kind in snapshot.kinds.items()
        if table[name].null_count < table.num_rows
    }


def _family(stored: Any) -> str:
    return "number" if pa.types.is_integer(stored) or pa.types.is_floating(stored) else str(stored)


def require_one_reading(
    pipeline: Pipeline, first: Snapshot, parts: Iterable[tuple[Path, range]]
) -> None:
    """Read as a training, a scoring, a window and a part do, and compare with `first`."""
    contract = known_contract(pipeline)
    assert contract is not None
    again = training_snapshot(pipeline)
    assert again.digest == first.digest
    assert broken_rules(contract, again) == []
    readings = [(scoring_snapshot(pipeline), range(ROWS))]
    if pipeline.config.time_column is not None:
        window = scoring_snapshot(pipeline, T0 + timedelta(hours=2), T0 + timedelta(hours=9))
        readings.append((window, range(2, 9)))
    for path, rows in parts:
        over = with_overrides(pipeline, str(path), None)
        if path.suffix == ".db":
            source = SqlSource(kind="sql", url=f"sqlite:///{path}", table="t")
            scoring = pipeline.config.scoring.model_copy(update={"source": source})
            over = replace(pipeline, config=pipeline.config.model_copy(update={"scoring": scoring}))
        readings.append((scoring_snapshot(over), rows))
    whole, known = open_table(again.path), stored_types(again)
    for read, rows in readings:
        assert broken_rules(contract, read, part=True) == []
        seen = stored_types(read)
        assert seen == {name: known.get(name, kind) for name, kind in seen.items()}
        cells = open_table(read.path).to_pydict()
        same = whole.slice(rows.start, len(rows)).to_pydict()
        assert cells == {name: same[name] for name in cells}


# What people keep in a column: how cell number i of a text file is written.
WRITTEN: dict[str, Callable[[int], str]] = {
    "visit": lambda i: str(10000 + i),
    "code_id": lambda i: str(i * 7 % 9),
    "gap_id": lambda i: "" if i % 4 == 0 else str(i % 5),
    "odd_id": lambda i: "?" if i % 4 == 0 else str(i % 5),
    "float_id": lambda i: f"{i % 6}.0",
    "key id": lambda i: f" {i * 37 % 1009} ",
    "grouped_id": lambda i: f"{i % 3 + 1},{i % 7:03d}",
    "zip": lambda i: f"{i % 11:05d}",
    "late_zip": lambda i: f"{i % 11:05d}" if i > 100 else str(10000 + i % 9),
    "long": lambda i: str(10**19 + i),
    "long_later": lambda i: str(10**19 + i) if i > 90 else str(i % 13),
    "experiment": lambda i: f"{i % 9 + 1}E{i % 5}",
    "amount": lambda i: f"{i * 1.25:.2f}",
    "comma": lambda i: f"{i * 1000 + 1000:,}",
    "word": lambda i: ["red", "green", "blue"][i % 3],
    "yes": lambda i: ["yes", "No"][i % 2],
    "truth": lambda i: ["TRUE", "true", "False", ""][i % 4],
    "letter": lambda i: "T" if i < 60 else "F",
    "bit": lambda i: str(i % 2),
    "constant": lambda _i: "7",
    "constant_text": lambda _i: "007",
    "constant_yes": lambda _i: "yes",
    "empty": lambda _i: "",
    "mostly": lambda i: "5" if i < 118 else "n/k",
    "day": lambda i: f"{i % 28 + 1:02d}/{i % 12 + 1:02d}/2024",
    "us_day": lambda i: f"{i % 12 + 1:02d}/{i % 28 + 1:02d}/2024",
    "us_day_later": lambda i: f"{i % 12 + 1:02d}/{i % 11 + 1 if i < 90 else 28:02d}/2024",
    "thousands": lambda i: f"{i + 1},234" + (".5" if i > 90 else ""),
    "decimals": lambda i: f"{i + 1},234" if i < 90 else f"0,{i}",
    "points": lambda i: f"{i + 1}.234" if i < 90 else f"1.000,{i}",
    "dollars": lambda i: f"${i % 50 + 1},234.50" if i > 80 else f"${i % 70}",
    "euros": lambda i: f"{i % 50 + 1}.234 €" if i < 80 else f"-{i},50 €",
    "per_cent": lambda i: f"{i % 40}.5%" if i else "0",
    "accounts": lambda i: f"({i},202.85)" if i % 3 else f"{i}.10",
    "owed": lambda i: f"{i}.5-" if i > 60 else str(i),
    "two_currencies": lambda i: f"${i}" if i < 90 else f"€{i}",
    "clock": lambda i: f"{i % 24:02d}:{i % 60:02d}",
    "epoch": lambda i: str(1_704_067_200 + 3600 * i),
    "year": lambda i: str(1990 + i % 9),
    "phrase": lambda i: f"the customer {i} wrote a rather long line",
}


def write_csv(
    path: Path, columns: Sequence[str], rows: Iterable[int], delimiter: str = ","
) -> Path:
    """Write the columns of `WRITTEN` with a time and a target."""
    out = io.StringIO()
    writer = csv.writer(out, delimiter=delimiter)
    writer.writerow(["when", *columns, "y"])
    for i in rows:
        when = (T0 + timedelta(hours=i)).isoformat(" ")
        writer.writerow([when, *(WRITTEN[c](i) for c in columns), ["lost", "won"][i * 5 % 3 % 2]])
    path.write_text(out.getvalue(), encoding="utf-8")
    return path


# What people keep in typed columns: the type, and cell number i as a Python value.
TYPED: dict[str, tuple[Any, Callable[[int], Any]]] = {
    "code_id": (pa.int64(), lambda i: i % 9),
    "gap_id": (pa.int32(), lambda i: None if i % 4 == 0 else i % 5),
    "late_gap_id": (pa.int32(), lambda i: None if i > 100 else i % 5),
    "float_id": (pa.float64(), lambda i: float(i % 6)),
    "decimal_id": (pa.decimal128(38, 0), lambda i: Decimal(900719925474099300 + i)),
    "huge_id": (pa.decimal128(38, 0), lambda i: Decimal(10**25 if i > 90 else i)),
    "price": (pa.decimal128(12, 2), lambda i: Decimal(i) / 4 if i > 90 else Decimal(i)),
    "small": (pa.uint8(), lambda i: i % 200),
    "bit": (pa.int8(), lambda i: i % 2),
    "ratio": (pa.float32(), lambda i: i / 8),
    "half": (pa.float16(), lambda i: np.float16(i % 7)),
    "flag": (pa.bool_(), lambda i: i % 2 == 0),
    "gap_flag": (pa.bool_(), lambda i: None if i > 60 else i % 2 == 0),
    "word": (pa.string(), lambda i: ["red", "green", "blue"][i % 3]),
    "digits": (pa.string(), lambda i: str(i % 7)),
    "numbers": (pa.string(), lambda i: f"{i}.5" if i > 60 else str(i)),
    "blanks": (pa.string(), lambda i: " " if i % 9 == 0 else f"{i}.5"),
    "late_zip": (pa.string(), lambda i: f"{i % 11:05d}" if i > 100 else f"{i % 9}.5"),
    "bytes": (pa.binary(), lambda i: [b"x", b"y"][i % 2]),
    "late_bytes": (pa.binary(), lambda i: "é".encode() if i > 90 else b"e"),
    "iso": (pa.string(), lambda i: f"2024-01-{i % 28 + 1:02d}"),
    "day": (pa.date32(), lambda i: date(2024, 1, i % 28 + 1)),
    "moment": (pa.timestamp("ns", "Europe/Paris"), lambda i: T0 + timedelta(hours=3 * i)),
    "clock": (pa.time64("us"), lambda i: time(i % 24, 0, 0, 500_000 if i > 90 else 0)),
    "took": (pa.duration("ms"), lambda i: timedelta(milliseconds=i)),
    "same": (pa.int64(), lambda _i: 7),
    "same_text": (pa.string(), lambda _i: "007"),
    "nothing": (pa.null(), lambda _i: None),
}
# What SQLite itself holds: numbers, text and bytes.
IN_SQLITE = [n for n, (kind, _) in TYPED.items() if not (pa.types.is_decimal(kind)
    or pa.types.is_temporal(kind) or kind == pa.float16())]  # fmt: skip


def typed_table(columns: Sequence[str], rows: Iterable[int]) -> pa.Table:
    at = list(rows)
    cells = {
        "when": pa.array([T0 + timedelta(hours=i) for i in at], pa.timestamp("us")),
        **{c: pa.array([TYPED[c][1](i) for i in at], TYPED[c][0]) for c in columns},
        "y": pa.array([["lost", "won"][i * 5 % 3 % 2] for i in at]),
    }
    return pa.table(cells)


def write_parquet(path: Path, columns: Sequence[str], rows: Iterable[int]) -> Path:
    pq.write_table(typed_table(columns, rows), path)
    return path


def write_sqlite(path: Path, columns: Sequence[str], rows: Iterable[int]) -> Path:
    frame = typed_table(columns, rows).to_pydict()
    frame["when"] = [moment.isoformat(" ") for moment in frame["when"]]
    with sqlite3.connect(path) as connection:
        names = ", ".join(f'"{name}"' for name in frame)
        connection.execute(f"create table t ({names})")
        marks = ", ".join("?" * len(frame))
        connection.executemany(
            f"insert into t values ({marks})",
            list(zip(*frame.values(), strict=True)),
        )
    connection.close()
    return path


def drafted(folder: Path, data: Path, time_column: str | None) -> Pipeline:
    """Return what `init` writes."""
    draft_project(Request(folder / "p", data, "y", time_column))
    return load_pipeline(folder / "p", {})


def by_hand(folder: Path, source: str, time_column: str | None) -> Pipeline:
    """Return the shortest pipeline file; its contract comes with the first reading."""
    (folder / "p").mkdir()
    when = f"time_column: {time_column}\n" if time_column else ""
    text = f"name: p\ntarget: y\nsource: {source}\n{when}"
    (folder / "p" / "keepfit.yaml").write_text(text, encoding="utf-8")
    return load_pipeline(folder / "p", {})


def read_first(pipeline: Pipeline) -> Snapshot:
    """Return the reading that infers the contract, and keep that."""
    unstated = pipeline.config.model_copy(update={"contract": "none.yaml"})
    unknown = replace(pipeline, config=unstated)
    first = training_snapshot(unknown, keep_contract=False, fresh=True)
    if known_contract(pipeline) is None:
        ensure_contract(pipeline, first)
    return first


@settings(
    max_examples=8,
    deadline=None,
    phases=_NO_SHRINKING,
    suppress_health_check=_SLOW,
)
@given(
    columns=st.lists(st.sampled_from(sorted(WRITTEN)), min_size=3, max_size=9, unique=True),
    time_column=st.sampled_from(["when", None]),
    cut=st.integers(1, ROWS - 1),
    delimiter=st.sampled_from([",", ";"]),
    init=st.booleans(),
)
# A part whose per cents are noughts without a sign.
@example(columns=["per_cent", "visit"], time_column=None, cut=1, delimiter=",", init=True)
# Two columns that prove a comma before decimals, and one that proves a point.
@example(
    columns=["euros", "dollars", "decimals"], time_column=None, cut=85, delimiter=";", init=True
)
def test_a_csv_file_is_read_alike_by_init_run_score_and_monitor(
    columns: list[str], time_column: str | None, cut: int, delimiter: str, init: bool
) -> None:
    with TemporaryDirectory() as name:
        folder = Path(name)
        data = write_csv(folder / "t.csv", columns, range(ROWS), delimiter)
        source = f"{{kind: csv, path: '{data}'}}"
        pipeline = (
            drafted(folder, data, time_column) if init else by_hand(folder, source, time_column)
        )
        parts = [
            (write_csv(folder / f"{rows.start}.csv", columns, rows, delimiter), rows)
            for rows in (range(cut), range(cut, ROWS))
        ]
        require_one_reading(pipeline, read_first(pipeline), parts)


@settings(max_examples=6, deadline=None, phases=_NO_SHRINKING, suppress_health_check=_SLOW)
@given(
    columns=st.lists(st.sampled_from(sorted(TYPED)), min_size=3, max_size=9, unique=True),
    time_column=st.sampled_from(["when", None]),
    cut=st.integers(1, ROWS - 1),
)
def test_a_parquet_file_is_read_alike_by_init_run_score_and_monitor(
    columns: list[str], time_column: str | None, cut: int
) -> None:
    with TemporaryDirectory() as name:
        folder = Path(name)
        data = write_parquet(folder / "t.parquet", columns, range(ROWS))
        pipeline = drafted(folder, data, time_column)
        parts = [
            (write_parquet(folder / f"{rows.start}.parquet", columns, rows), rows)
            for rows in (range(cut), range(cut, ROWS))
        ]
        require_one_reading(pipeline, read_first(pipeline), parts)


@settings(max_examples=5, deadline=None, phases=_NO_SHRINKING, suppress_health_check=_SLOW)
@given(
    columns=st.lists(st.sampled_from(IN_SQLITE), min_size=3, max_size=9, unique=True),
    time_column=st.sampled_from(["when", None]),
    cut=st.integers(1, ROWS - 1),
)
def test_a_database_is_read_alike_by_run_score_and_monitor(
    columns: list[str], time_column: str | None, cut: int
) -> None:
    with TemporaryDirectory() as name:
        folder = Path(name)
        data = write_sqlite(folder / "t.db", columns, range(ROWS))
        source = f"{{kind: sql, url: 'sqlite:///{data}', table: t}}"
        pipeline = by_hand(folder, source, time_column)
        parts = [
            (write_sqlite(folder / f"{rows.start}.db", columns, rows), rows)
            for rows in (range(cut), range(cut, ROWS))
        ]
        require_one_reading(pipeline, read_first(pipeline), parts)
