from __future__ import annotations

import posixpath
import re

from hypothesis import example, given
from hypothesis import strategies as st

from tasks.registry.mlflow.limits import (
    MAX_NAME,
    finite_metrics,
    in_parts,
    joined,
    stored_names,
    stored_text,
    thinned,
)


@given(st.lists(st.text(), unique=True))
@example([". ", " .. ", "...", "a/ ..", "b/.. ", " /0"])
def test_stored_names_are_distinct_and_what_mlflow_takes(names: list[str]) -> None:
    stored = list(stored_names(names).values())
    assert len(set(stored)) == len(names)
    for name in stored:
        # MLflow's own rules, mlflow/utils/validation.py.
        assert re.match(r"^[/\w.\- :]*$", name)
        assert 0 < len(name) <= MAX_NAME
        assert posixpath.normpath(name) == name
        assert not name.startswith(("/", ".."))
        assert name != "."


@given(st.text(min_size=1), st.integers(min_value=40, max_value=100))
def test_stored_texts_fit_and_can_be_written(text: str, limit: int) -> None:
    stored = stored_text(text, limit)
    assert len(stored) <= limit
    assert "\x00" not in stored
    stored.encode("utf-8")


@given(st.dictionaries(st.text(alphabet="ab.", min_size=1), st.text()), st.integers(1, 5))
def test_tags_in_parts_are_joined_as_they_were(tags: dict[str, str], most: int) -> None:
    parts = in_parts(tags, most)
    assert all(len(value) <= most for value in parts.values())
    assert joined(parts) == tags


def test_names_that_mlflow_takes_stay() -> None:
    names = ["roc_auc", "f1 ü", "a/b", "split.holdout", "10:30"]
    assert stored_names(names) == dict(zip(names, names, strict=True))


@given(st.dictionaries(st.text(), st.none() | st.floats()))
def test_every_metric_is_stored_or_named(metrics: dict[str, float | None]) -> None:
    finite, absent = finite_metrics(metrics)
    assert finite.keys() | set(absent) == metrics.keys()
    assert all(abs(value) < float("inf") for value in finite.values())


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=3000))
def test_thinned_curves_keep_their_ends_in_order(values: list[float]) -> None:
    points = thinned(values, most=100)
    steps = [step for step, _ in points]
    assert len(points) <= 101
    assert (steps[0], steps[-1]) == (0, len(values) - 1)
    assert steps == sorted(set(steps))


def test_an_empty_curve_has_no_points() -> None:
    assert thinned([]) == []
