"""Settings allowed for ranking, and those allowed only there."""

from __future__ import annotations

from typing import Any, NamedTuple


class Contradiction(NamedTuple):
    """The key at whose line the file contradicts itself, and the sentence."""

    at: tuple[str, ...]
    text: str


def contradiction(config: Any) -> Contradiction | None:
    """Return the first thing of a `PipelineConfig` that does not go with its task, or None."""
    # A ranking needs `group`, and it among the `id_columns`: a row is named by what it is ranked in
    # and by what is ranked, and these ids join the ledger's rows to their group.
    if config.task != "ranking":
        return _without_ranking(config)
    return _roles(config) or _of_classes(config) or _of_rows(config) or _not_told(config)


def _without_ranking(config: Any) -> Contradiction | None:
    stated = {
        ("group",): config.group,
        ("item",): config.item,
        ("relevant",): config.relevant,
        ("scoring", "top_k"): config.scoring.top_k,
    }
    for at, value in stated.items():
        if value is not None:
            return Contradiction(
                at, f"`{'.'.join(at)}` is for a ranking; add `task: ranking`, or remove the line"
            )
    return None


def _roles(config: Any) -> Contradiction | None:
    group, item = config.group, config.item
    if group is None:
        return Contradiction(
            ("task",),
            "`task: ranking` needs a `group`: name the column whose rows are ranked together, "
            "such as the user or the query",
        )
    for key, column in (("group", group), ("item", item)):
        others = {"target": (config.target,), "exclude": config.exclude}
        others["time_column"] = (config.time_column,) if config.time_column else ()
        for role, columns in others.items():
            if column is not None and column in columns:
                return Contradiction((key,), f"the {key} {column!r} stands in `{role}` too")
    if group == item:
        return Contradiction(("item",), f"`item` and `group` both name {group!r}")
    if group not in config.id_columns:
        example = ", ".join([group, item or "what is ranked"])
        return Contradiction(
            ("id_columns",) if config.id_columns else ("group",),
            f"the group {group!r} has to be among the `id_columns`, as a row of a ranking is named "
            f"by its group and its item: write `id_columns: [{example}]`",
        )
    return None


def _of_classes(config: Any) -> Contradiction | None:
    training = config.training
    stated = {
        ("objective",): config.objective is not None,
        ("positive",): config.positive is not None,
        ("training", "calibrate"): training.calibrate != "none",
        ("training", "class_weight"): training.class_weight is not None,
    }
    for at, given in stated.items():
        if given:
            name = ".".join(at)
            return Contradiction(at, f"`{name}` is about classes, not about a ranking; remove it")
    return None


def _of_rows(config: Any) -> Contradiction | None:
    stated = {
        ("split", "group"): config.split.group is not None,
        ("hooks", "metrics"): bool(config.hooks.metrics),
        ("hooks", "estimators"): bool(config.hooks.estimators),
    }
    for at, given in stated.items():
        if given:
            return Contradiction(
                at,
                f"`{'.'.join(at)}` is for single rows, not groups that are ranked together: the "
                "rows of one value of `group` are kept together as it is; remove it",
            )
    return None


def _not_told(config: Any) -> Contradiction | None:
    if config.training.ensemble:
        return Contradiction(
            ("training", "ensemble"),
            "`training.ensemble` needs predictions on one scale, and each candidate ranks on a "
            "scale of its own; remove it",
        )
    if config.training.diagnosis == "full":
        return Contradiction(
            ("training", "diagnosis"),
            "`training.diagnosis: full` draws a learning curve over rows, which rankings do not "
            "have yet; remove it",
        )
    for key, columns in (("by", config.report.by), ("sensitive", config.report.sensitive)):
        if columns:
            return Contradiction(
                ("report", key),
                f"`report.{key}` breaks metrics down by rows, and a ranking is judged by groups; "
                "remove it",
            )
    return None
