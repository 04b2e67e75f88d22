"""Sentences about a window's drift."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from expectations.text.phrases import say_share
from tasks.base.monitoring_records import ColumnFinding, HarmFinding, HarmMeasure
from tasks.base.text.durations import format_duration
from tasks.monitoring.drift.operating_limits import Calibration
from tasks.monitoring.drift.reference_summary import Reference

_MEASURES: dict[HarmMeasure, str] = {
    "outside": "{} of the rows hold what the champion did not learn from in columns it depends on",
    "unseen": "{} of the rows, beyond what is usual, hold new levels of a column it depends on",
    "sparse": "{} of the rows are of a kind that was rare in training",
    "predictions": "the predictions moved by {} SD",
    "joint": "a classifier separates the window from the training rows with AUC {}",
    "columns": "columns that time moves change the predictions by {} SD",
}
_SHOWN = 5
_LONGEST = 60


def sentence(
    reference: Reference,
    calibration: Calibration | None,
    findings: Sequence[ColumnFinding],
    rows: int,
    min_rows: int,
) -> str:
    """Return a sentence on the drifted columns, by how much, and the source of the limits."""
    if rows < min_rows:
        return (
            f"not enough data: {rows:,} rows, {min_rows:,} needed by `monitoring.min_rows`; "
            "a longer `monitoring.window` holds more"
        )
    if not reference.columns:
        return "nothing to compare: the reference has none of the features"
    return f"{_moved(findings)} ({_basis(reference, calibration)})"


def _moved(findings: Sequence[ColumnFinding]) -> str:
    features = [finding for finding in findings if finding.role == "feature"]
    drifted = sorted(
        (finding for finding in findings if finding.drifted),
        key=lambda finding: -(finding.importance or 0.0),
    )
    if not drifted:
        return f"no drift: none of {len(features)} columns left its usual range"
    of_features = sum(finding.role == "feature" for finding in drifted)
    named = ", ".join(_one(finding) for finding in drifted[:_SHOWN])
    more = f" and {len(drifted) - _SHOWN} more" if len(drifted) > _SHOWN else ""
    if not of_features:
        return f"the predictions drifted: {named}"
    besides = " and the predictions" if of_features < len(drifted) else ""
    return f"{of_features} of {len(features)} columns{besides} drifted: {named}{more}"


def harm_sentence(harm: Sequence[HarmFinding]) -> str:
    """Return whether what moved could hurt, and by which measures.

    >>> harm_sentence([HarmFinding(measure="predictions", value=0.42, limit=0.3, found=True)])
    'could hurt: the predictions moved by 0.42 SD (limit 0.30)'
    """
    found = [finding for finding in harm if finding.found]
    if found:
        return f"could hurt: {'; '.join(_measured(finding, limit=True) for finding in found)}"
    shown = [finding for finding in harm if finding.measure in ("outside", "predictions")]
    return f"harmless as far as can be seen: {'; '.join(_measured(f) for f in shown)}"


def _measured(finding: HarmFinding, *, limit: bool = False) -> str:
    value, beyond = apart(finding.value, finding.limit)
    if finding.measure in ("outside", "unseen", "sparse"):
        value, beyond = say_share(finding.value), say_share(finding.limit)
    text = _MEASURES[finding.measure].format(value)
    notes = [f"limit {beyond}"] if limit else []
    if limit and finding.columns:
        notes.append(f"most by {', '.join(map(plain_name, finding.columns[:3]))}")
    return f"{text} ({'; '.join(notes)})" if notes else text


def arrived(names: Sequence[str]) -> str:
    """Return a sentence on columns that came after the training, to append.

    >>> arrived(["tariff"]), arrived([])
    ('; new columns: tariff', '')
    """
    if not names:
        return ""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"; new columns: {', '.join(map(plain_name, names[:_SHOWN]))}{more}"


def _one(finding: ColumnFinding) -> str:
    found, limit = apart(finding.statistic or 0.0, finding.threshold or 0.0)
    return f"{plain_name(finding.column)} ({finding.method} {found}, limit {limit})"


def apart(value: float, limit: float) -> tuple[str, str]:
    """Return two numbers with two decimals, or as many more as show that they differ.

    >>> apart(0.976, 0.97), apart(0.9996, 0.9991), apart(1.0, 1.0)
    (('0.98', '0.97'), ('1.000', '0.999'), ('1.00', '1.00'))
    """
    texts = [(f"{value:.{digits}f}", f"{limit:.{digits}f}") for digits in range(2, 7)]
    return next((pair for pair in texts if pair[0] != pair[1]), texts[0])


def plain_name(name: str) -> str:
    """Return a column's name for a sentence: one line, printable, not endless.

    >>> plain_name("a" + chr(10) + "b")
    'a b'
    """
    text = "".join(mark if mark.isprintable() else " " for mark in name)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def _basis(reference: Reference, calibration: Calibration | None) -> str:
    length = format_duration(timedelta(seconds=reference.length))
    if calibration is not None:
        return f"limits from {calibration.blocks:.0f} blocks of {length} of the training rows"
    why = f"hold fewer than 3 blocks of {length}" if len(reference.cell_rows) else "have no times"
    return f"limits of chance alone: the training rows {why}"
