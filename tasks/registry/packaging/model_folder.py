"""The files of an MLflow model folder beside `MLmodel`: model, requirements, input example."""

from __future__ import annotations

import json
import os
import platform
import shutil
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from tasks.base.runtime.files import write_whole
from tasks.base.runtime.libraries import pd
from tasks.registry.signing.version_check import MODEL_FILE

EXAMPLE_FILE = "input_example.json"
SERVING_FILE = "serving_input_example.json"
EXAMPLE_ROWS = 5

_ALWAYS = ("mlflow", "numpy", "pandas", "scikit-learn", "scipy", "skops")


def fill_folder(folder: Path, model: Path, sample: pd.DataFrame, types: Iterable[str]) -> None:
    """Put a skops file (linked if possible), requirements and input example into `folder`."""
    # The example is the first few rows of `sample`; `types` inside the model make the requirements.
    folder.mkdir(parents=True, exist_ok=True)
    place(model, folder / MODEL_FILE)
    needed = requirements(types)
    write_whole(folder / "requirements.txt", "\n".join(needed) + "\n")
    write_whole(folder / "python_env.yaml", _python_env())
    write_whole(folder / "conda.yaml", _conda(needed))
    example = example_json(sample)
    write_whole(folder / EXAMPLE_FILE, example)
    write_whole(folder / SERVING_FILE, f'{{"dataframe_split": {example}}}')


def place(source: Path, target: Path) -> None:
    """Make `target` the same file as `source`, by a hard link or else by a copy."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source.resolve(strict=True), target)
    except OSError:
        shutil.copyfile(source, target)


def requirements(types: Iterable[str]) -> list[str]:
    """Return the pinned packages a model of these types needs."""
    # keepfit itself is no package of an index; a model that holds its own steps notes it in a
    # comment, and `mlflow models serve --env-manager local` in keepfit's environment has it.
    roots = {name.partition(".")[0] for name in types}
    names = [*_ALWAYS, *(["lightgbm"] if "lightgbm" in roots else [])]
    return [f"{name}=={metadata.version(name)}" for name in sorted(names)]


def example_json(sample: pd.DataFrame) -> str:
    """Return the first rows as pandas' "split" JSON; nulls and infinities become null.

    >>> example_json(pd.DataFrame({"a": [1.5, None]}))
    '{"columns":["a"],"data":[[1.5],[null]]}'
    """
    rows = sample.head(EXAMPLE_ROWS)
    data = [[_plain(rows.iloc[i, j]) for j in range(rows.shape[1])] for i in range(len(rows))]
    values = {"columns": [str(c) for c in rows.columns], "data": data}
    return json.dumps(values, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def _plain(value: Any) -> Any:
    if value is None or value is pd.NaT or value is pd.NA:
        return None
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if isinstance(value, int | np.integer):
        return int(value)
    if isinstance(value, float | np.floating):
        return float(value) if np.isfinite(value) else None
    if isinstance(value, pd.Timestamp):
        return naive(value).isoformat()
    return str(value)


def naive(time: pd.Timestamp) -> pd.Timestamp:
    """Return `time` in UTC without its zone."""
    return time if time.tzinfo is None else time.tz_convert("UTC").tz_localize(None)


def _python_env() -> str:
    return (
        f"python: {platform.python_version()}\nbuild_dependencies:\n- pip\n"
        "dependencies:\n- -r requirements.txt\n"
    )


def _conda(needed: Iterable[str]) -> str:
    pip = "".join(f"  - {line}\n" for line in needed)
    return (
        f"channels:\n- conda-forge\ndependencies:\n- python={platform.python_version()}\n"
        f"- pip\n- pip:\n{pip}name: mlflow-env\n"
    )
