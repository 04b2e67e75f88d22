"""A person's feature function is applied wherever rows are read, and refused where it misleads."""

from __future__ import annotations

import shutil
from pathlib import Path

import pyarrow as pa
import pytest

from tasks.base.config import PipelineConfig
from tasks.base.errors import ConfigError, ModelRefusedError
from tasks.base.plugin_settings import HooksConfig
from tasks.base.settings.sources import DemoSource
from tasks.base.training_records import ModelVersion
from tasks.data.loading import load_window
from tasks.plugins.features import feature_function, hooks_identity, with_features
from tasks.plugins.versions import HOOKS_TAG, hooks_tags, require_hooks

GOOD = """
from neighbour import LIMIT

def add_features(rows):
    return rows.assign(heavy=rows["bmi"] > LIMIT, **{'per "age"': rows["bmi"] / rows["age"]})
"""


def pipeline(hook: str | None = "mine:add_features") -> PipelineConfig:
    return PipelineConfig(
        name="p",
        target="progression",
        source=DemoSource(kind="demo", name="diabetes"),
        hooks=HooksConfig(features=hook),
    )


def write(folder: Path, text: str, name: str = "mine.py") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    (folder / "neighbour.py").write_text("LIMIT = 30\n", encoding="utf-8")
    return path


def rows(count: int = 20) -> pa.Table:
    return pa.table(
        {
            "age": pa.array(range(1, count + 1), pa.int64()),
            "bmi": [float(i) for i in range(20, 20 + count)],
            "progression": [1.0] * count,
        }
    )


def version(tags: dict[str, str]) -> ModelVersion:
    return ModelVersion(name="p", version="3", run_id="r", tags=tags)


def test_columns_are_added_to_snapshots_for_training_and_for_scoring(tmp_path: Path) -> None:
    write(tmp_path, GOOD)

    for for_scoring in (False, True):
        snapshot = load_window(pipeline(), tmp_path, tmp_path / "data", for_scoring=for_scoring)
        assert snapshot.kinds["heavy"] == "boolean"
        assert snapshot.kinds['per "age"'] == "numeric"


def test_a_changed_function_is_applied_anew_and_an_unchanged_one_is_not(tmp_path: Path) -> None:
    write(tmp_path, GOOD)
    first = load_window(pipeline(), tmp_path, tmp_path / "data")
    assert load_window(pipeline(), tmp_path, tmp_path / "data").cached

    (tmp_path / "neighbour.py").write_text("LIMIT = 20.5\n", encoding="utf-8")
    later = load_window(pipeline(), tmp_path, tmp_path / "data")

    assert not later.cached
    assert later.digest != first.digest


def test_without_a_hook_the_table_is_the_same(tmp_path: Path) -> None:
    table = rows()
    assert with_features(table, pipeline(None), tmp_path) is table


def test_the_target_is_not_shown(tmp_path: Path) -> None:
    write(tmp_path, "def add_features(rows):\n    return rows.assign(leak=rows['progression'])\n")

    with pytest.raises(ConfigError, match="KeyError"):
        with_features(rows(), pipeline(), tmp_path)


def test_a_table_without_rows_keeps_its_columns(tmp_path: Path) -> None:
    write(tmp_path, GOOD)

    made = with_features(rows().slice(0, 0), pipeline(), tmp_path)

    assert made.num_rows == 0
    assert "heavy" in made.column_names


def test_nulls_and_only_new_columns_may_be_returned(tmp_path: Path) -> None:
    write(
        tmp_path,
        "import pandas as pd\n"
        "def add_features(rows):\n"
        "    return pd.DataFrame({'größe': rows['bmi'].where(rows['age'] > 3), 'none': None},\n"
        "                        index=rows.index)\n",
    )

    made = with_features(rows(), pipeline(), tmp_path)

    assert made["größe"].null_count == 3
    assert made["none"].type == pa.float64()


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("rows.assign(x=__import__('random').random())", "other values when called again"),
        ("rows.assign(x=rows['bmi'] - rows['bmi'].mean())", "other rows stand beside it"),
        ("rows.assign(x=range(len(rows)))", "other rows stand beside it"),
        ("rows.assign(x=rows['bmi'].cumsum())", "other rows stand beside it"),
        ("rows.assign(bmi=rows['bmi'] * 2, x=1)", "changes 'bmi'"),
        ("rows.assign(progression=1)", "'progression', which the source has already"),
        ("rows[rows['age'] > 3].assign(x=1)", "the same rows"),
        ("rows[::-1].assign(x=1)", "the same rows"),
        ("rows", "adds no column"),
        ("None", "must return a DataFrame; got NoneType"),
        ("1 / 0", "ZeroDivisionError"),
        ("rows.assign(x=[[1]] * len(rows))", "no plain values"),
        ("rows.assign(x=[object() for _ in range(len(rows))])", "."),
        ("rows.assign(x=1).rename(columns={'x': 'a', 'age': 'a'})", "two columns of one name"),
        ("exit(3)", "."),
    ],
)
def test_what_would_mislead_is_refused_with_its_reason(
    body: str, said: str, tmp_path: Path
) -> None:
    write(tmp_path, f"def add_features(rows):\n    return {body}\n")

    with pytest.raises(ConfigError, match=said) as caught:
        with_features(rows(), pipeline(), tmp_path)

    assert "mine:add_features" in caught.value.message


def test_the_rows_that_were_given_are_not_changed(tmp_path: Path) -> None:
    write(
        tmp_path,
        "def add_features(rows):\n    rows['x'] = rows['bmi'] + 1\n    return rows\n",
    )
    table = rows()

    made = with_features(table, pipeline(), tmp_path)

    assert made["bmi"].equals(table["bmi"])
    assert made["x"].to_pylist()[0] == 21.0


@pytest.mark.parametrize(
    ("text", "hook", "said"),
    [
        (GOOD, "absent:add_features", "no absent.py"),
        (GOOD, "mine:add_feature", "has no function 'add_feature'"),
        ("add_features = 3", "mine:add_features", "no function"),
        ("def add_features(rows, other): ...", "mine:add_features", "one argument"),
        ("import a_package_nobody_has", "mine:add_features", "ModuleNotFoundError"),
        ("raise SystemExit('no')", "mine:add_features", "SystemExit"),
        ("def add_features(:", "mine:add_features", "SyntaxError"),
    ],
)
def test_a_module_that_cannot_serve_is_refused(
    text: str, hook: str, said: str, tmp_path: Path
) -> None:
    write(tmp_path, text)

    with pytest.raises(ConfigError, match=said):
        feature_function(hook, tmp_path)


def test_a_module_outside_of_the_folder_is_refused(tmp_path: Path) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    write(tmp_path, GOOD, "outside.py")
    (inside / "mine.py").symlink_to(tmp_path / "outside.py")

    with pytest.raises(ConfigError, match="leads out"):
        feature_function("mine:add_features", inside)
    for name in ("../outside:add_features", "..outside:f", "/etc/passwd:f", "os", "a:b;c"):
        with pytest.raises(ValueError, match="pattern"):
            HooksConfig(features=name)


def test_a_module_beside_the_file_shadows_nothing(tmp_path: Path) -> None:
    write(tmp_path, "raise RuntimeError('shadowed')", "json.py")
    write(tmp_path, "import json\n\ndef add_features(rows):\n    return rows.assign(x=1)\n")

    made = with_features(rows(), pipeline(), tmp_path)

    assert "x" in made.column_names


def test_a_version_is_used_only_with_the_hook_it_was_trained_with(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path, GOOD)
    tags = hooks_tags(pipeline().hooks, tmp_path)

    require_hooks(pipeline(), tmp_path, version(tags))
    require_hooks(pipeline(None), tmp_path, version({}))
    assert not caplog.records
    with pytest.raises(ModelRefusedError, match="mine:add_features"):
        require_hooks(pipeline(None), tmp_path, version(tags))
    with pytest.raises(ModelRefusedError, match="names other:f"):
        require_hooks(pipeline("other:f"), tmp_path, version(tags))
    with pytest.raises(ModelRefusedError, match="Take `hooks` out"):
        require_hooks(pipeline(), tmp_path, version({}))
    for hostile in ("[]", "{", "3"):
        with pytest.raises(ModelRefusedError, match="other content"):
            require_hooks(pipeline(), tmp_path, version({HOOKS_TAG: hostile}))

    moved = shutil.copytree(tmp_path, tmp_path / "elsewhere")
    require_hooks(pipeline(), moved, version(tags))
    assert not caplog.records
    write(tmp_path, GOOD + "\n# another\n")
    require_hooks(pipeline(), tmp_path, version(tags))
    assert "has changed since version 3" in caplog.text
    assert hooks_identity(HooksConfig(), tmp_path) == ""
