"""Every key of the file is explained."""

from __future__ import annotations

import json

import pytest

from tasks.base.config import PipelineConfig
from tasks.base.errors import UsageError
from tasks.base.key_reference import explain, schema


def test_every_top_level_key_is_explained() -> None:
    keys = {entry.key for entry in explain()}

    assert set(PipelineConfig.model_fields) <= keys


def test_a_section_is_explained_with_its_keys() -> None:
    keys = [entry.key for entry in explain("split")]

    assert keys == ["split", "split.holdout", "split.group"]


def test_a_key_is_found_by_its_last_name() -> None:
    assert [entry.key for entry in explain("budget")] == ["training.budget"]


def test_an_unknown_key_names_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"training\.budget"):
        explain("training.buget")


def test_the_schema_is_json_and_knows_every_source() -> None:
    text = json.dumps(schema())

    assert all(kind in text for kind in ("csv", "parquet", "sql", "demo"))


def test_a_key_of_a_section_of_several_kinds_names_those_that_have_it() -> None:
    (kind,), (delimiter,), (path,) = map(
        explain, ("source.kind", "source.delimiter", "source.path")
    )

    assert kind.takes == "csv | parquet | sql | demo"
    assert delimiter.about.startswith("csv: ")
    assert path.about.startswith("csv, parquet: ")


def test_every_key_says_what_it_is_for() -> None:
    plain = (".kind", ".call", ".greater_is_better")

    assert [e.key for e in explain() if not e.about and not e.key.endswith(plain)] == []
