"""Limits of MLflow on names, texts and numbers: changed as little as possible and visibly."""

from __future__ import annotations

import math
import posixpath
import re
from collections.abc import Iterable, Mapping, Sequence

MAX_NAME = 250
MAX_PARAM = 6000
MAX_TAG = 8000
MAX_VERSION_TAG = 90_000
MAX_CURVE = 500


def stored_name(name: str) -> str:
    """Return `name` with what MLflow refuses in a parameter's or metric's name replaced by `_`.

    Letters of every language stay; so do digits, space and ``_ - . : /``.

    >>> stored_name("f1[klass=Ärger & Wut]")
    'f1_klass_Ärger _ Wut_'
    >>> stored_name("../x")
    'x'
    """
    kept = re.sub(r"[^/\w.\- :]", "_", str(name))
    kept = re.sub(r"(^|/) *(\.\.?) *(?=/|$)", r"\1\2", kept)  # a step of a path in spaces
    whole = posixpath.normpath("/" + kept).strip("/ ")
    if whole.startswith(".."):
        whole = "_" + whole[1:]
    if len(whole) > MAX_NAME:
        whole = whole[: MAX_NAME - 1] + "_"
    return whole or "_"


def stored_names(names: Iterable[str]) -> dict[str, str]:
    """Return each name's stored form; two that would fall together are numbered.

    >>> stored_names(["a?", "a!"])
    {'a?': 'a_', 'a!': 'a__2'}
    """
    taken: set[str] = set()
    stored: dict[str, str] = {}
    for name in names:
        base = form = stored_name(name)
        number = 2
        while form in taken:
            form = f"{base[: MAX_NAME - 8]}_{number}"
            number += 1
        taken.add(form)
        stored[name] = form
    return stored


def stored_text(value: object, limit: int) -> str:
    """Return `value` as text of at most `limit` characters; a cut is marked.

    >>> stored_text("x" * 100, 40)
    'xxxxxxxxxxxxx… [cut; 100 characters]'
    >>> stored_text(None, 40), stored_text(True, 40)
    ('None', 'True')
    """
    text = str(value).replace("\x00", "�")
    # A lone surrogate cannot be written to any database.
    text = text.encode("utf-8", "replace").decode("utf-8")
    if len(text) <= limit:
        return text
    note = f"… [cut; {len(text)} characters]"
    return text[: max(0, limit - len(note) - 4)] + note


def in_parts(tags: Mapping[str, str], most: int = MAX_VERSION_TAG) -> dict[str, str]:
    """Return tags of a version with those that are too long cut into ``key``, ``key:2`` and so on.

    >>> in_parts({"a": "12345"}, most=2)
    {'a': '12', 'a:2': '34', 'a:3': '5'}
    """
    parts = {}
    for key, value in tags.items():
        for number, start in enumerate(range(0, max(1, len(value)), most), start=1):
            parts[key if number == 1 else f"{key}:{number}"] = value[start : start + most]
    return parts


def joined(parts: Mapping[str, str]) -> dict[str, str]:
    """Return tags that `in_parts` cut as they were.

    >>> joined({"a:2": "34", "a": "12", "a:3": "5", "b": ""})
    {'a': '12345', 'b': ''}
    """
    tags = {k: v for k, v in parts.items() if not re.search(r":\d+$", k)}
    for key in tags:
        number = 2
        while (more := parts.get(f"{key}:{number}")) is not None:
            tags[key] += more
            number += 1
    return tags


def finite_metrics(metrics: Mapping[str, float | None]) -> tuple[dict[str, float], tuple[str, ...]]:
    """Split metrics into finite ones and the names of those that have no finite value.

    MLflow stores an infinite value as 1.8e308, which reads as a number.

    >>> finite_metrics({"auc": 0.9, "mape": None, "r2": float("inf")})
    ({'auc': 0.9}, ('mape', 'r2'))
    """
    finite = {k: float(v) for k, v in metrics.items() if v is not None and math.isfinite(v)}
    return finite, tuple(k for k in metrics if k not in finite)


def thinned(values: Sequence[float], most: int = MAX_CURVE) -> list[tuple[int, float]]:
    """Return (step, value) of at most about `most` finite points; first and last are kept.

    >>> thinned([3.0, 2.0, float("nan"), 1.0])
    [(0, 3.0), (1, 2.0), (3, 1.0)]
    >>> thinned([0.5] * 10_001)[-1]
    (10000, 0.5)
    """
    stride = max(1, math.ceil(len(values) / most))
    steps = sorted({*range(0, len(values), stride), *([len(values) - 1] if values else [])})
    return [(step, float(values[step])) for step in steps if math.isfinite(values[step])]
