"""A person's own feature function, named in the pipeline file and applied wherever rows are read.

``hooks: {features: my_features:add_features}`` names the function `add_features` of
``my_features.py`` beside the pipeline file::

    def add_features(rows):
        speed = rows["distance"] / rows["minutes"]
        return rows.assign(speed=speed)

It takes a DataFrame with the columns of the source, without the target and what the file
excludes, and returns the same rows with columns added (or only the new columns). What it returns
for a row may depend on that row alone: the rows to score come in other batches than the rows to
train on. It is tried on a sample before it is used. Only its columns stand in snapshots and only
their names in a model, so no code of its own is ever stored or loaded with a version.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import logging
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from tasks.base.config import HookName, HooksConfig, PipelineConfig
from tasks.base.errors import ConfigError, ModelRefusedError

if TYPE_CHECKING:
    import pandas as pd

    from tasks.base.records import ModelVersion

HOOKS_TAG = "keepfit.hooks"
SAMPLE_ROWS = 200
_PREFIX = "keepfit_hook_"
_LOGGER = logging.getLogger(__name__)
Features = Callable[["pd.DataFrame"], "pd.DataFrame"]


def feature_function(name: HookName, base: Path) -> Features:
    """Return the function that ``module:object`` names, from the folder `base`.

    The module runs as it is imported, with the rights of whoever runs keepfit, as the pipeline
    file's own folder is trusted.

    Raises
    ------
    ConfigError
        When the module is not there, cannot be imported, or the function cannot be called with
        one argument.
    """
    module_name, _, attribute = name.partition(":")
    module = _module(module_name, base)
    found = getattr(module, attribute, None)
    if not callable(found):
        near = ", ".join(n for n, v in vars(module).items() if callable(v) and n[0] != "_")
        raise ConfigError(
            f"`hooks.features: {name}`: {module_name} has no function {attribute!r}.",
            f"It has: {near[:200] or 'none'}.",
        )
    _check_signature(name, found)
    return found  # type: ignore[no-any-return]


def _path_of(module_name: str, base: Path) -> Path:
    path = base.joinpath(*module_name.split(".")).with_suffix(".py")
    if not path.is_file():
        raise ConfigError(
            f"`hooks` names the module {module_name}, and there is no {path.name} in "
            f"{path.parent}.",
            "A module lies beside the pipeline file.",
        )
    if not path.resolve().is_relative_to(base.resolve()):
        raise ConfigError(f"`hooks`: {path.name} leads out of the pipeline file's folder.")
    return path


def _module(module_name: str, base: Path) -> ModuleType:
    path = _path_of(module_name, base)
    known = f"{_PREFIX}{_digest(path)[:16]}"
    if known in sys.modules:
        return sys.modules[known]
    spec = importlib.util.spec_from_file_location(known, path)
    if spec is None or spec.loader is None:
        raise ConfigError(f"`hooks`: {path.name} is no Python module.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[known] = module
    try:
        with _importable(path.parent):
            spec.loader.exec_module(module)
    except BaseException as error:
        del sys.modules[known]
        if isinstance(error, KeyboardInterrupt):
            raise
        raise ConfigError(
            f"`hooks`: {path.name} cannot be imported: {_words(error)}.",
            f"Try: python {path.name}",
        ) from None
    return module


@contextmanager
def _importable(folder: Path) -> Iterator[None]:
    """Let a module import its neighbours at its top; last, so that they shadow nothing.

    They are forgotten afterwards: another pipeline's may have the same name, and a changed one is
    to be read again.
    """
    before = set(sys.modules)
    sys.path.append(str(folder))
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        for name in set(sys.modules) - before:
            file = getattr(sys.modules[name], "__file__", None)
            if file and Path(file).parent == folder and not name.startswith(_PREFIX):
                del sys.modules[name]


def _check_signature(name: str, function: Callable[..., Any]) -> None:
    import inspect

    try:
        inspect.signature(function).bind(object())
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"`hooks.features: {name}` is called with one argument, the rows; {error}.",
            "Write it as: def add_features(rows): return rows.assign(…)",
        ) from None


def _digest(path: Path) -> str:
    """Return a digest of a module and of the modules beside it, which it may import."""
    digest = hashlib.sha256(str(path.resolve()).encode())
    for file in sorted({path, *path.parent.glob("*.py")}):
        digest.update(f"{file.name}\0".encode() + file.read_bytes())
    return digest.hexdigest()


def hooks_identity(hooks: HooksConfig, base: Path) -> str:
    """Return what changes when the code of a hook does; empty without hooks.

    Raises
    ------
    ConfigError
        When the module is not there.
    """
    if hooks.features is None:
        return ""
    module_name = hooks.features.partition(":")[0]
    return f"{hooks.features} {_digest(_path_of(module_name, base))}"


def with_features(table: Any, config: PipelineConfig, base: Path) -> Any:
    """Return `table` with the columns that the pipeline's feature function adds.

    Parameters
    ----------
    table
        A ``pyarrow.Table`` of a source.

    Raises
    ------
    ConfigError
        When the function is not as the top of this module says, or fails.
    """
    name = config.hooks.features
    if name is None:
        return table
    import pyarrow as pa

    function = feature_function(name, base)
    # Scoring has neither of them.
    hidden = {config.target, *config.aside}
    given = table.drop_columns([c for c in table.column_names if c in hidden])
    frame = given.to_pandas()
    _try_out(name, function, frame.head(SAMPLE_ROWS))
    added = _added(name, function, frame, frame)
    taken = set(table.column_names) & set(map(str, added.columns))
    if taken:
        raise _wrong(name, f"adds {sorted(taken)[0]!r}, which the source has already")
    for column in added.columns:
        try:
            values = pa.array(added[column], from_pandas=True)
        except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError) as error:
            raise _wrong(
                name, f"gives {column!r} values of no one kind ({_words(error)})"
            ) from None
        if pa.types.is_null(values.type):
            values = values.cast(pa.float64())
        if pa.types.is_nested(values.type):
            raise _wrong(name, f"gives {column!r} no plain values ({values.type})")
        table = table.append_column(str(column), values)
    return table


def _added(
    name: str, function: Features, given: pd.DataFrame, original: pd.DataFrame
) -> pd.DataFrame:
    """Return the new columns, with as many rows as `original`, in its order."""
    import pandas as pd

    try:
        made = function(given.copy())
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a person's code may fail anyhow
        raise _wrong(name, f"failed: {_words(error)}") from None
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
    from pandas.testing import assert_frame_equal

    try:
        assert_frame_equal(one, other, check_dtype=False, rtol=1e-9, atol=0.0)
    except AssertionError:
        return False
    return True


def _wrong(name: str, what: str) -> ConfigError:
    return ConfigError(
        f"`hooks.features: {name}` {what}.", "`tasks/models/hooks.py` says what a hook may do."
    )


def _words(error: BaseException) -> str:
    text = re.sub(r"\s+", " ", str(error)).strip()[:200]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def check_hooks(hooks: HooksConfig, base: Path) -> None:
    """Refuse hooks that cannot be imported or called; no data is read."""
    if hooks.features is not None:
        feature_function(hooks.features, base)


def hooks_tags(hooks: HooksConfig, base: Path) -> dict[str, str]:
    """Return the tag by which a version tells the hooks that its features need."""
    if hooks.features is None:
        return {}
    return {
        HOOKS_TAG: json.dumps({"features": hooks.features, "digest": hooks_identity(hooks, base)})
    }


def require_hooks(config: PipelineConfig, base: Path, version: ModelVersion) -> None:
    """Refuse a version whose features come from a hook that the running file does not name.

    A hook whose code has changed since is used, and a warning says so.

    Raises
    ------
    ModelRefusedError
        With the line that the file needs.
    """
    needed = _needed(version)
    named = config.hooks.features
    wanted = needed.get("features")
    if wanted != named:
        needs = f"features of `hooks.features: {wanted}`" if wanted else "no feature hook"
        raise ModelRefusedError(
            f"{version.name} version {version.version} was trained with {needs}; the pipeline "
            f"file names {named or 'none'}.",
            f"Write `hooks: {{features: {wanted}}}` into it, or train again."
            if wanted
            else "Take `hooks` out of it, or train again.",
        )
    if wanted and needed.get("digest") != hooks_identity(config.hooks, base):
        _LOGGER.warning(
            "the code of hook %s has changed since version %s was trained",
            wanted,
            version.version,
        )


def _needed(version: ModelVersion) -> dict[str, str]:
    try:
        values = json.loads(version.tags.get(HOOKS_TAG, "{}"))
    except ValueError:
        values = None
    if not isinstance(values, dict):
        raise ModelRefusedError(
            f"{version.name} version {version.version} has a tag {HOOKS_TAG} that is not "
            "keepfit's.",
            "Train again.",
        )
    return {str(key): str(value) for key, value in values.items()}
