"""Labels and probabilities as the ledger's tables hold them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.base.runtime.libraries import pd
from tasks.data.typing.distinct_values import level_text

_TRUTH = {"true": "True", "false": "False", "1": "True", "0": "False"}


def class_text(value: object, classes: Sequence[str]) -> str | None:
    """Return a label as the text of its class, whatever type it was read as.

    One that is no class keeps its own text; blank text is no label.

    >>> class_text(1.0, ("0", "1")), class_text("true", ("False", "True"))
    ('1', 'True')
    """
    own = level_text(value).replace("\x00", "")
    for text in _spellings(value, own, classes):
        if text in classes:
            return text
    return own if own.strip() else None


def _spellings(value: object, own: str, classes: Sequence[str]) -> Iterator[str]:
    yield own
    if isinstance(value, bool | np.bool_):
        yield str(int(value))
    if isinstance(value, int | float | np.integer | np.floating):
        yield str(float(value))
    if set(classes) == {"False", "True"}:
        yield _TRUTH.get(own.strip().lower(), own)
    if isinstance(value, str):
        with suppress(ValueError):
            yield level_text(float(own))


def class_texts(column: pd.Series[Any], classes: Sequence[str]) -> NDArray[np.object_]:
    """Return labels as text, None where there is none, shape (n_rows,)."""
    codes, levels = pd.factorize(column, use_na_sentinel=True)
    texts = [class_text(level, classes) for level in levels.tolist()]
    found: NDArray[np.object_] = np.array([*texts, None], dtype=object)[codes]
    return found


def numbers(column: pd.Series[Any]) -> NDArray[np.float64]:
    """Return a column as float64; NaN where there is no number."""
    values: NDArray[np.float64] = pd.to_numeric(column, errors="coerce").to_numpy(
        dtype=np.float64, na_value=np.nan
    )
    return values


def or_none(values: NDArray[np.float64]) -> list[float | None]:
    """Return numbers with None for NaN."""
    absent = np.isnan(values)
    if not absent.any():
        return list(values.tolist())
    return [None if gone else value for value, gone in zip(values.tolist(), absent, strict=True)]


def probability_texts(probability: NDArray[np.float64]) -> list[str]:
    """Return each row of probabilities, shape (n_rows, n_classes), as a JSON list.

    >>> probability_texts(np.array([[0.25, 0.75], [np.nan, 1.0]]))
    ['[0.25, 0.75]', '[null, 1.0]']
    """
    rows = probability.tolist()
    texts = list(map(repr, rows))  # a list of finite floats looks the same in JSON
    for place in np.flatnonzero(~np.isfinite(probability).all(axis=1)):
        texts[place] = json.dumps([x if np.isfinite(x) else None for x in rows[place]])
    return texts


def probabilities(
    texts: Sequence[str | None], written: Sequence[str], wanted: Sequence[str]
) -> NDArray[np.float64]:
    """Return stored probabilities for classes `wanted`, (n_rows, n_wanted); NaN where not known."""
    found = np.full((len(texts), len(wanted)), np.nan)
    absent = f"[{', '.join(['null'] * len(written))}]"
    rows = json.loads(f"[{','.join(text or absent for text in texts)}]")
    stored = np.array(rows, dtype=np.float64).reshape(len(texts), len(written))
    for place, label in enumerate(wanted):
        if label in written:
            found[:, place] = stored[:, list(written).index(label)]
    return found


def time_texts(times: NDArray[np.datetime64]) -> list[str | None]:
    """Return times as both databases read them; None for NaT and beyond the years 1 to 9999."""
    first, last = np.datetime64("0001-01-01", "us"), np.datetime64("9999-12-31T23:59:59", "us")
    keep = (times >= first) & (times <= last)  # NaT compares as false
    inside = np.where(keep, times, np.datetime64("1970-01-01", "us"))
    texts = np.datetime_as_string(inside, unit="us").tolist()
    return [
        text.replace("T", " ") if kept else None
        for text, kept in zip(texts, keep.tolist(), strict=True)
    ]
