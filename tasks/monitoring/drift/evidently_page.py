"""Evidently's drift page for people who want to look; the only module that imports Evidently.

The verdicts on it are keepfit's: statistic and limit of each column are handed to Evidently, whose
defaults change method with the size of the sample. It writes names into its page raw, so no name
or level reaches it that could be markup, and its page sits in a sandboxed frame of ours that may
reach neither the network nor anything else.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tasks.base.monitoring_records import ColumnFinding
from tasks.base.runtime.environment import turn_telemetry_off
from tasks.base.runtime.files import write_whole
from tasks.base.runtime.libraries import pd
from tasks.base.training_records import Kind
from tasks.monitoring.drift.column_values import column_of, is_numeric, levels_of, numbers_of
from tasks.reporting.report.page_environment import filled, page_environment

_LEVELS = 40
_LONGEST = 60
_OTHER = "all others"
_HARMLESS = str.maketrans({
    "<": "‹", ">": "›", "&": "＆", '"': "”", "'": "’", "`": "‘", "\\": "⧵",
    "[": "(", "]": ")", "{": "(", "}": ")", "$": "＄", "*": "∗", "|": "¦",
})  # fmt: skip
_MICROSECONDS_A_DAY = 86_400e6
_TEMPLATES = Path(__file__).parent / "templates"


def write_page(
    reference: pd.DataFrame,
    current: pd.DataFrame,
    features: Mapping[str, Kind],
    path: Path,
    *,
    findings: Sequence[ColumnFinding],
    rows: int,
    title: str,
) -> None:
    """Write Evidently's page of a window beside its reference; it works without a network."""
    # Pictures show `rows` of either side at most; `findings` are keepfit's, from all rows. A column
    # that either side lacks, or that is all null, is left out.
    sides = [_sampled(frame, rows) for frame in (reference, current)]
    found = {finding.column: finding for finding in findings if finding.role == "feature"}
    columns = _columns(sides, features, found)
    left_out = len(features) - len(columns)
    note = (
        f"Statistics, limits and verdicts are keepfit's, from all rows; the pictures show "
        f"{len(sides[0]):,} training rows (reference) and {len(sides[1]):,} of the window "
        f"(current). “Dataset drift” on it means that at least one column drifted."
    )
    if left_out:
        note += f" {left_out} columns without values to draw are left out."
    page = filled(
        page_environment(_TEMPLATES),
        "evidently.html.j2",
        title=title,
        note=note,
        inner=_evidently(columns) if columns else "",
    )
    write_whole(path, page)


def _sampled(frame: pd.DataFrame, rows: int) -> pd.DataFrame:
    if len(frame) <= rows:
        return frame
    return frame.iloc[np.sort(np.random.default_rng(0).choice(len(frame), rows, replace=False))]


class _Column:
    """A column as Evidently gets it: under a harmless name, numbers or harmless levels."""

    def __init__(self, name: str, sides: Sequence[pd.Series[Any]], finding: ColumnFinding) -> None:
        self.name = name
        self.sides = sides
        self.finding = finding

    @property
    def numeric(self) -> bool:
        return self.sides[0].dtype.kind == "f"


def _columns(
    sides: Sequence[pd.DataFrame], features: Mapping[str, Kind], found: Mapping[str, ColumnFinding]
) -> list[_Column]:
    columns: list[_Column] = []
    taken: set[str] = set()
    for name, kind in features.items():
        finding = found.get(name)
        if finding is None or finding.statistic is None:
            continue
        if not all(name in side.columns for side in sides):
            continue
        drawn = [_drawn(column_of(side, name), kind) for side in sides]
        if any(side.notna().sum() == 0 for side in drawn):
            continue
        if not is_numeric(kind):
            drawn = _common_levels(drawn)
        unit = {"datetime": " (days since 1970)", "text": " (length)"}.get(kind, "")
        columns.append(_Column(_distinct(_harmless(name) + unit, taken), drawn, finding))
    return columns


def _drawn(column: pd.Series[Any], kind: Kind) -> pd.Series[Any]:
    if is_numeric(kind):
        values = numbers_of(column, kind).values.copy()
        values[~np.isfinite(values)] = np.nan
        return pd.Series(values / _MICROSECONDS_A_DAY if kind == "datetime" else values)
    codes, levels = levels_of(column, kind)
    texts = np.array([*(_harmless(level) for level in levels), None], dtype=object)
    return pd.Series(texts[codes], dtype=object)


def _common_levels(sides: Sequence[pd.Series[Any]]) -> list[pd.Series[Any]]:
    """Keep the most frequent levels of both sides; the others are drawn as one."""
    both = pd.concat([side.value_counts(normalize=True) for side in sides]).groupby(level=0).sum()
    kept = set(both.sort_values(ascending=False, kind="stable").index[:_LEVELS])
    return [side.where(side.isna() | side.isin(kept), _OTHER) for side in sides]


def _harmless(text: str) -> str:
    """Return a name in which nothing is markup, code or a control character."""
    plain = text.encode("utf-8", "replace").decode("utf-8").translate(_HARMLESS)
    plain = "".join(mark if mark.isprintable() else " " for mark in plain).strip()
    return (plain if len(plain) <= _LONGEST else f"{plain[: _LONGEST - 1]}…") or "(no name)"


def _distinct(name: str, taken: set[str]) -> str:
    form, number = name, 2
    while form in taken:
        form, number = f"{name} ({number})", number + 1
    taken.add(form)
    return form


def _evidently(columns: Sequence[_Column]) -> str:
    turn_telemetry_off()
    with warnings.catch_warnings():
        # Constant columns and small samples; the pictures are drawn all the same.
        warnings.simplefilter("ignore")
        from evidently import DataDefinition, Dataset, Report  # defers evidently
        from evidently.presets import DataDriftPreset  # defers evidently

        definition = DataDefinition(
            numerical_columns=[column.name for column in columns if column.numeric],
            categorical_columns=[column.name for column in columns if not column.numeric],
        )
        reference, current = (
            Dataset.from_pandas(
                pd.DataFrame({column.name: column.sides[side] for column in columns}), definition
            )
            for side in (0, 1)
        )
        preset = DataDriftPreset(
            columns=[column.name for column in columns],
            per_column_method={
                column.name: _verdict(place, column.finding) for place, column in enumerate(columns)
            },
            per_column_threshold={
                column.name: column.finding.threshold or 0.0 for column in columns
            },
            # Evidently reports "dataset drift" from half of the columns on; here, from the first.
            drift_share=0.5 / len(columns),
            include_tests=False,
        )
        return str(Report([preset]).run(current, reference).get_html_str(as_iframe=False))


def _verdict(place: int, finding: ColumnFinding) -> Any:
    """Return a test of Evidently's that returns keepfit's finding."""
    from evidently.legacy.calculations.stattests.registry import (
        StatTest,
        register_stattest,
    )  # defers evidently
    from evidently.legacy.core import ColumnType  # defers evidently

    def answer(*_: object) -> tuple[float, bool]:
        return finding.statistic or 0.0, finding.drifted

    test = StatTest(
        name=f"keepfit_{place}",
        display_name=f"keepfit, {finding.method}",
        allowed_feature_types=[ColumnType.Numerical, ColumnType.Categorical],
        default_threshold=finding.threshold or 0.0,
    )
    register_stattest(test, answer)
    return test
