"""A custom feature function, named in the pipeline file and applied wherever rows are read.

``hooks: {features: my_features:add_features}`` names the function `add_features` of
``my_features.py`` beside the pipeline file::

    def add_features(rows):
        speed = rows["distance"] / rows["minutes"]
        return rows.assign(speed=speed)

Its argument is a DataFrame with the columns of the source, without the target and what the file
excludes, and returns the same rows with columns added (or only the new columns). What it returns
for a row may depend on that row alone: the rows to score come in other batches than the rows to
train on. It is tried on a sample before it is used. Only its columns stand in snapshots and only
their names in a model, so no code of its own is ever stored or loaded with a version.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tasks.base.config import PipelineConfig
from tasks.base.errors import ConfigError
from tasks.base.plugin_settings import HookName, HooksConfig
from tasks.base.runtime.libraries import pa, pd
from tasks.plugins.modules import check_call, digest_of, hook_object, path_of, words

SAMPLE_ROWS = 200
Features = Callable[["pd.DataFrame"], "pd.DataFrame"]


def feature_function(name: HookName, base: Path) -> Features:
    """Return the function of one argument that ``module:object`` names, from the folder `base`."""
    found: Features = hook_object("features", name, base)
    check_call(
        "features",
        name,
        found,
        ("the rows",),
        "Write it as: def add_features(rows): return rows.assign(…)",
    )
    return found


def hooks_identity(hooks: HooksConfig, base: Path) -> str:
    """Return an identity of the feature hook's code; empty without one."""
    if hooks.features is None:
        return ""
    module_name = hooks.features.partition(":")[0]
    return f"{hooks.features} {digest_of(path_of(module_name, base))}"


def with_features(table: Any, config: PipelineConfig, base: Path) -> Any:
    """Return a ``pyarrow.Table`` with the columns that the pipeline's feature function adds."""
    name = config.hooks.features
    if name is None:
        return table
    function = feature_function(name, base)
    frame = given_table(table, config).to_pandas()
    _try_out(name, function, frame.head(SAMPLE_ROWS))
    added = added_columns(name, function, frame)
    taken = set(table.column_names) & set(added)
    if taken:
        raise _wrong(name, f"adds {sorted(taken)[0]!r}, which the source has already")
    for column, values in added.items():
        table = table.append_column(column, values)
    return table


def given_table(table: Any, config: PipelineConfig) -> Any:
    """Return the columns of `table` for the function: without target and excluded ones."""
    hidden = {config.target, *config.aside}
    return table.drop_columns([c for c in table.column_names if c in hidden])


def added_columns(name: str, function: Features, frame: pd.DataFrame) -> dict[str, Any]:
    """Return the columns that the function adds, as ``pyarrow.Array``; ConfigError if it fails."""
    found = {}
    added = _added(name, function, frame, frame)
    for column in added.columns:
        try:
            values = pa.array(added[column], from_pandas=True)
        except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError) as error:
            raise _wrong(name, f"gives {column!r} values of no one kind ({words(error)})") from None
        if pa.types.is_null(values.type):
            values = values.cast(pa.float64())
        if pa.types.is_nested(values.type):
            raise _wrong(name, f"gives {column!r} no plain values ({values.type})")
        found[str(column)] = values
    return found


def _added(
    name: str, function: Features, given: pd.DataFrame, original: pd.DataFrame
) -> pd.DataFrame:
    """Return the new columns, with as many rows as `original`, in its order."""
    try:
        made = function(given.copy())
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a person's code may fail anyhow
        raise _wrong(name, f"failed: {words(error)}") from None
    if not isinstance(made, pd.DataFrame):
        raise _wrong(name, f"must return a DataFrame; got {type(made).__name__}")
    if len(made) != len(original) or not made.index.equals(original.index):
        raise _wrong(
            name, f"must return the same rows in the same order; got {len(made):,} of "
            f"{len(original):,} rows, or another index",
        )  # fmt: skip
    names = [str(column) for column in made.columns]
    if len(set(names)) < len(names):
        raise _wrong(name, "returns two columns of one name")
    for column in original.columns:
        if column in made.columns and not made[column].equals(original[column]):
            raise _wrong(name, f"changes {column!r}; give a new column another name")
    new = made[[column for column in made.columns if column not in original.columns]]
    if not len(new.columns):
        raise _wrong(name, "adds no column")
    return new


def _try_out(name: str, function: Features, sample: pd.DataFrame) -> None:
    """Refuse a function whose columns change from call to call, or with the rows beside."""
    if not len(sample):
        return
    first = _added(name, function, sample, sample)
    if not first.equals(_added(name, function, sample, sample)):
        raise _wrong(name, "gives other values when called again: seed what is random")
    part = sample.iloc[::2]
    if len(part) == len(sample):
        return
    alone = _added(name, function, part, part)
    same = list(alone.columns) == list(first.columns) and _alike(alone, first.iloc[::2])
    if not same:
        raise _wrong(
            name,
            "gives a row other values when other rows stand beside it: rows to score come in "
            "other batches, so a column may depend on its own row alone",
        )


def _alike(one: pd.DataFrame, other: pd.DataFrame) -> bool:
    """Return whether two frames are equal; integers and floats of one value are."""
    try:
        pd.testing.assert_frame_equal(one, other, check_dtype=False, rtol=1e-9, atol=0.0)
    except AssertionError:
        return False
    return True


def _wrong(name: str, what: str) -> ConfigError:
    return ConfigError(
        f"`hooks.features: {name}` {what}.", "`tasks/plugins/features.py` lists what a hook may do."
    )
