"""Numbers, times and metric names as a person reads them."""

from __future__ import annotations

from datetime import datetime
from math import floor, isfinite, log10
from typing import TYPE_CHECKING

from tasks.base.utc_times import as_utc

if TYPE_CHECKING:
    from tasks.base.training_records import TrainingMode

ABSENT = "–"
_WORDS = {
    "roc_auc": "ROC AUC",
    "average_precision": "average precision (PR AUC)",
    "log_loss": "log loss",
    "brier": "Brier score",
    "calibration_error": "calibration error",
    "balanced_accuracy": "balanced accuracy",
    "f1": "F1",
    "f1_macro": "F1, macro",
    "precision_macro": "precision, macro",
    "recall_macro": "recall, macro",
    "mse": "mean squared error",
    "rmse": "root mean squared error",
    "mae": "mean absolute error",
    "median_ae": "median absolute error",
    "mape": "mean absolute percentage error, as a fraction",
    "r2": "R²",
    "ndcg_at_10": "NDCG at 10",
    "map_at_10": "MAP at 10",
}


def number(value: float | None, half_width: float | None = None) -> str:
    """Return `value` with the digits its interval supports, or four without one.

    >>> number(0.123456, 0.01), number(55.6789), number(1234567.0), number(None)
    ('0.123', '55.68', '1,234,567', '–')
    """
    if value is None or not isfinite(value):
        return ABSENT
    scale = half_width if half_width and isfinite(half_width) else abs(value) / 200
    if scale <= 0:
        return f"{value:.4g}"
    places = 1 - floor(log10(scale))
    if places > 8:
        return f"{value:.4g}"
    text = f"{value:,.{max(0, places)}f}"
    return text.lstrip("-") if not text.strip("-0.,") else text


def seconds(value: float | None) -> str:
    """Return a duration for a person.

    >>> seconds(0.0123), seconds(12.3), seconds(75), seconds(119.7)
    ('12 ms', '12.3 s', '1 min 15 s', '2 min 0 s')
    """
    if value is None or not isfinite(value):
        return ABSENT
    if value < 0.001:
        return "< 1 ms"
    if value < 0.9995:
        return f"{value * 1000:.0f} ms"
    if value < 59.95:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    return f"{minutes} min {rest} s"


def size(value: int) -> str:
    """Return a size for a person.

    >>> size(0), size(1500), size(999_700)
    ('–', '1.5 kB', '1 MB')
    """
    amount = float(value)
    if amount <= 0:
        return ABSENT
    for unit in ("B", "kB", "MB"):
        if amount < 999.5:
            return f"{amount:.3g} {unit}"
        amount /= 1000
    return f"{amount:.3g} GB"


def moment(value: datetime | None) -> str:
    """Return a time in UTC; one without a zone is taken to be in UTC."""
    return ABSENT if value is None else f"{as_utc(value):%Y-%m-%d %H:%M} UTC"


def metric_words(metric: str) -> str:
    """Return a metric's name for a person."""
    return _WORDS.get(metric, metric.replace("_", " "))


def mode_words(mode: TrainingMode) -> str:
    """Return whether a version was searched for or refitted, in a sentence."""
    if mode.recipe_of is not None:
        return (
            f"A refit: the recipe of v{mode.recipe_of} (family, columns, settings) fitted on newer "
            "rows, without a search."
        )
    if mode.obstacle:
        return f"A search in place of a refit: {mode.obstacle}."
    return "A search among all candidates."
