"""Great Expectations without what is rarely used of it, and with it when it is used."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from expectations.engine.lazy_imports import only_when_used, without

ROOT = Path(__file__).parents[4]


def test_a_module_is_run_when_something_of_it_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "rarely_used.py").write_text("print('run')\nvalue = 7\n")
    with only_when_used("rarely_used"):
        import rarely_used  # type: ignore[import-not-found]

        deferred = rarely_used
    assert "rarely_used" not in sys.modules
    assert deferred.value == 7
    assert sys.modules["rarely_used"].value == 7
    with pytest.raises(AttributeError):
        deferred.absent  # noqa: B018 - raises


def test_a_submodule_that_its_package_does_not_import_is_imported_when_used() -> None:
    code = """
import sys
from expectations.engine.lazy_imports import Deferred
xml, _ = Deferred("xml"), Deferred("never_seen")
assert "xml" not in sys.modules
print(xml.etree.__name__, hasattr(xml, "nothing"))
"""
    done = subprocess.run(
        [sys.executable, "-S", "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )

    assert done.stdout.split() == ["xml.etree", "False"]


def test_a_package_counts_as_absent_only_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "never_seen.py").touch()
    with without("never_seen", "json"):
        with pytest.raises(ImportError):
            import never_seen  # type: ignore[import-not-found]
        import json  # it was imported before
    import never_seen

    assert json
    assert never_seen.__name__ == "never_seen"


_CHECK = """
import sys
from expectations.suite import warm_up
warm_up()
left_out = ("altair", "scipy.stats", "google.cloud", "google.auth", "boto3", "sqlalchemy")
assert not [name for name in left_out if name in sys.modules]
import pandas as pd
import great_expectations as gx
import great_expectations.expectations as gxe
frame = pd.DataFrame({"letter": ["a", "b"] * 50})
batch = (
    gx.get_context(mode="ephemeral").data_sources.add_pandas("p").add_dataframe_asset("a")
    .add_batch_definition_whole_dataframe("b").get_batch(batch_parameters={"dataframe": frame})
)
share = {"values": ["a", "b"], "weights": [0.5, 0.5]}
rule = gxe.ExpectColumnKLDivergenceToBeLessThan(
    column="letter", partition_object=share, threshold=0.1
)
print(batch.validate(rule).success, "scipy.stats" in sys.modules)
"""


def test_a_rule_that_needs_what_was_left_out_gets_it() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _CHECK], cwd=ROOT, capture_output=True, text=True, timeout=120,
        check=False,
    )  # fmt: skip

    assert done.stdout.split() == ["True", "True"], done.stderr
