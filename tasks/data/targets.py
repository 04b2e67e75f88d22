"""The target: which task it gives, its classes, and which rows have a usable label."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tasks.base.arrays import Array, Mask
from tasks.base.config import PipelineConfig
from tasks.base.errors import ConfigError, DataError
from tasks.base.runtime.libraries import pa, pc
from tasks.base.source_notes import LabelTwins
from tasks.base.text.phrases import listed
from tasks.base.training_records import NUMBERS, Schema, Task
from tasks.data.label_spellings import twins_among
from tasks.data.source_table import nearest
from tasks.data.typing.storage import integers_of

MAX_CLASSES = 100
MAX_GRADES = 31
# Whole numbers with so few distinct values, each in several rows, are taken as labels.
MAX_INTEGER_CLASSES = 20
ROWS_PER_INTEGER_CLASS = 5
_POSITIVE = frozenset({
    "yes", "true", "y", "t", "positive", "pos", "bad", "malignant", "churn", "churned", "default",
    "fraud", "fraudulent", "late", "failed", "failure", "spam", "sick", "ill", "disease", "died",
    "dead", "event", "pd", "up",
})  # fmt: skip


@dataclass(frozen=True)
class Judged:
    """The task that a target gives."""

    task: Task
    classes: tuple[str, ...] = ()  # texts, sorted as the native labels; empty for numbers
    positive: str | None = None
    assumptions: tuple[str, ...] = ()
    grades: tuple[float, ...] = ()  # of a ranking, as in `Schema`
    relevant: float | None = None
    twins: tuple[LabelTwins, ...] = ()  # labels that may be one


def task_of(column: Any, config: PipelineConfig) -> Judged:
    """Return task, classes and positive class of a target column, or refuse it."""
    usable = column.filter(_usable(column))
    if not len(usable):
        raise DataError(
            f"the target {config.target!r} has no value in {len(column):,} rows.",
            "Name another target, or load rows that are labelled.",
        )
    if pa.types.is_timestamp(column.type):
        raise DataError(
            f"the target {config.target!r} is a time; times can't be predicted.",
            "Name a target that is a number or a label.",
        )
    notes = _unlabelled(column, usable, config.target)
    distinct = pc.count_distinct(usable).as_py()
    if distinct == 1:
        raise DataError(
            f"the target {config.target!r} has one value only, {str(usable[0].as_py())!r}.",
            "Load rows with at least two, for example a longer training.window.",
        )
    task, assumed = _task(usable, distinct, config)
    notes += assumed
    if task == "ranking":
        return _graded(usable, config, notes)
    if task == "regression":
        return Judged(task, assumptions=tuple(notes))
    classes, counts = _classes(usable, config, notes)
    if task == "binary" and len(classes) != 2:
        raise ConfigError(
            f"`task: binary` needs two labels; {config.target!r} has {len(classes)}: "
            f"{listed(list(classes))}.",
            "Leave `task` out, or write multiclass.",
        )
    twins = twins_among(counts, config.target)
    if len(classes) > 2:
        return Judged("multiclass", classes, assumptions=tuple(notes), twins=twins)
    positive = _positive(classes, counts, config, notes, pa.types.is_boolean(usable.type))
    return Judged("binary", classes, positive, tuple(notes), twins=twins)


def _usable(column: Any) -> Any:
    if pa.types.is_floating(column.type):
        return pc.fill_null(pc.is_finite(column), False)
    if pa.types.is_string(column.type):
        return pc.fill_null(pc.not_equal(pc.utf8_trim_whitespace(column), ""), False)
    return pc.is_valid(column)


def _unlabelled(column: Any, usable: Any, target: str) -> list[str]:
    absent = len(column) - len(usable)
    if not absent:
        return []
    return [f"{absent:,} of {len(column):,} rows have no usable {target!r}: not trained on"]


def _task(usable: Any, distinct: int, config: PipelineConfig) -> tuple[Task, list[str]]:
    numbers = pa.types.is_integer(usable.type) or pa.types.is_floating(usable.type)
    if config.task is not None:
        if config.task in NUMBERS and not numbers:
            example = usable[0].as_py()
            raise ConfigError(
                f"`task: {config.task}` needs numbers; {config.target!r} holds {example!r}.",
                "Fix the target: numbers, the greater the more relevant."
                if config.task == "ranking"
                else "Leave `task` out, or fix the target.",
            )
        return config.task, []
    if distinct == 2:
        return "binary", []
    if not numbers:
        return "multiclass", []
    few = distinct <= min(MAX_INTEGER_CLASSES, len(usable) // ROWS_PER_INTEGER_CLASS)
    if few and (pa.types.is_integer(usable.type) or integers_of(usable) is not None):
        return "multiclass", [
            f"{config.target!r} holds {distinct} distinct whole numbers, taken as labels "
            "(`task: regression` treats them as amounts)"
        ]
    if distinct <= MAX_INTEGER_CLASSES:
        return "regression", [
            f"{config.target!r} holds {distinct} distinct numbers, taken as amounts "
            "(`task: multiclass` treats them as labels)"
        ]
    return "regression", []


def _graded(usable: Any, config: PipelineConfig, notes: list[str]) -> Judged:
    """Return the ranking that a target gives: its values in order are the grades."""
    grades = tuple(sorted(float(v) for v in pc.unique(usable).to_pylist()))
    if len(grades) > MAX_GRADES:
        raise DataError(
            f"`task: ranking` allows at most {MAX_GRADES} grades of relevance; {config.target!r} "
            f"holds {len(grades):,} distinct values.",
            "Round the target, or write `task: regression` to predict amounts.",
        )
    relevant = grades[1] if config.relevant is None else config.relevant
    if not grades[0] < relevant <= grades[-1]:
        raise ConfigError(
            f"`relevant` has to lie above {grades[0]:g}, the least {config.target!r}, and not "
            f"above {grades[-1]:g}, the greatest; got {relevant:g}.",
            "Leave it out: everything above the least then counts as relevant.",
        )
    notes.append(
        f"{config.target!r} holds {len(grades)} values from {grades[0]:g} to {grades[-1]:g}, taken "
        f"as grades 0 to {len(grades) - 1} by their order; from {relevant:g} on a row is relevant "
        "(`relevant` changes it)"
    )
    return Judged("ranking", assumptions=tuple(notes), grades=grades, relevant=relevant)


def _classes(
    usable: Any, config: PipelineConfig, notes: list[str]
) -> tuple[tuple[str, ...], dict[str, int]]:
    counted = pc.value_counts(native_labels(usable))
    labels = counted.field("values").to_pylist()
    counts = dict(zip(map(str, labels), counted.field("counts").to_pylist(), strict=True))
    kept = [label for label in sorted(labels) if counts[str(label)] >= 2]
    rare = [str(label) for label in labels if counts[str(label)] < 2]
    if len(kept) > MAX_CLASSES:
        raise DataError(
            f"the target {config.target!r} has {len(kept):,} classes; at most {MAX_CLASSES} are "
            "learned.",
            "Name another target, or group its values; for numbers write `task: regression`.",
        )
    if len(kept) < 2:
        raise DataError(
            f"the target {config.target!r} has {len(kept)} class(es) with two rows or more.",
            "Load more rows, or name another target.",
        )
    if rare:
        notes.append(
            f"classes with a single row are set aside: {listed(sorted(rare))} ({len(rare):,} rows)"
        )
    return tuple(str(label) for label in kept), counts


def native_labels(usable: Any) -> Any:
    """Return labels as booleans, int64 or text; numbers with a fraction become text."""
    kind = usable.type
    if pa.types.is_integer(kind):
        return usable.cast(pa.int64())
    if pa.types.is_floating(kind):
        whole = integers_of(usable)
        if whole is not None:
            return whole
        return pa.chunked_array([pa.array([str(v) for v in usable.to_pylist()], pa.string())])
    return usable.cast(pa.string()) if not pa.types.is_boolean(kind) else usable


def _positive(
    classes: tuple[str, ...],
    counts: dict[str, int],
    config: PipelineConfig,
    notes: list[str],
    boolean: bool,
) -> str:
    if config.positive is not None:
        return _stated(classes, config)
    if boolean:
        return "True"
    if set(classes) in ({"0", "1"}, {"-1", "1"}):
        return "1"
    known = [label for label in classes if label.strip().lower() in _POSITIVE]
    if len(known) == 1:
        positive, why = known[0], "by its name"
    else:
        positive = min(reversed(classes), key=lambda label: counts[label])
        why = "the rarer class"
    notes.append(f"the positive class is {positive!r}, {why} (`positive` changes it)")
    return positive


def _stated(classes: tuple[str, ...], config: PipelineConfig) -> str:
    wanted = config.positive
    number = isinstance(wanted, float) and wanted.is_integer()
    texts = [str(int(wanted))] if number and wanted is not None else [str(wanted)]
    if isinstance(wanted, bool):
        # YAML 1.2 has true and false only; 0 and 1 are what they mean among numbers.
        texts += [str(int(wanted)), str(wanted).lower()]
    elif str(wanted).lower() in ("yes", "true", "no", "false"):
        texts.append("True" if str(wanted).lower() in ("yes", "true") else "False")
    for text in texts:
        if text in classes:
            return text
    near = nearest(str(wanted), classes)
    raise ConfigError(
        f"`positive: {wanted}` is not a label of {config.target!r}"
        f"{f'; nearest: {near}' if near else ''}.",
        f"The labels: {listed(list(classes))}.",
    )


def labels_of(column: Any, schema: Schema) -> tuple[Array, Mask]:
    """Return the usable labels of a target column and their rows' mask; see `target_values`."""
    keep = _usable(column)
    usable = column.filter(keep)
    mask: Mask = keep.to_numpy().astype(bool).copy()
    if schema.task in NUMBERS:
        return usable.cast(pa.float64(), safe=False).to_numpy(), mask
    labels = native_labels(usable)
    if pa.types.is_boolean(labels.type):
        return labels.to_numpy().astype(bool), mask
    text = labels.cast(pa.string())
    known = pc.is_in(text, value_set=pa.array(schema.classes, pa.string()))
    inside = known.to_numpy().astype(bool)
    mask[np.flatnonzero(mask)] = inside
    if pa.types.is_integer(labels.type) and all(
        label.lstrip("-").isdigit() for label in schema.classes
    ):
        return labels.to_numpy()[inside], mask
    return text.filter(known).to_numpy(zero_copy_only=False).astype(str), mask
