"""Settings allowed for ranking, and those allowed only there."""

from __future__ import annotations

from typing import Any

from pydantic_core import PydanticCustomError

from tasks.base.settings.section import contradiction_at

_Rule = tuple[tuple[str, ...], bool, str]  # key, whether the file states it, and why it may not
_RANKING = "`{name}` is for a ranking; add `task: ranking`, or remove the line"
_CLASSES = "`{name}` is about classes, not about a ranking; remove it"
_ROWS = (
    "`{name}` is for single rows, not groups that are ranked together: the rows of one value of "
    "`group` are kept together as it is; remove it"
)
_ENSEMBLE = (
    "`{name}` needs predictions on one scale, and each candidate ranks on a scale of its own; "
    "remove it"
)
_DIAGNOSIS = (
    "`{name}: full` draws a learning curve over rows, which rankings do not have yet; remove it"
)
_BREAKDOWN = "`{name}` breaks metrics down by rows, and a ranking is judged by groups; remove it"


def contradiction(config: Any) -> PydanticCustomError | None:
    """Return an error about the first thing that does not go with its task, or None."""
    # A ranking needs `group`, and it among the `id_columns`: a row is named by what it is ranked in
    # and by what is ranked, and these ids join the ledger's rows to their group.
    ranks = config.task == "ranking"
    found = (_of_ranking if ranks else _of_others)(config)
    first = next(((at, text) for at, given, text in found if given), None)
    unsuited = first and contradiction_at(first[0], first[1].format(name=".".join(first[0])))
    return _roles(config) or unsuited if ranks else unsuited


def _of_others(config: Any) -> tuple[_Rule, ...]:
    return (
        (("group",), config.group is not None, _RANKING),
        (("item",), config.item is not None, _RANKING),
        (("relevant",), config.relevant is not None, _RANKING),
        (("scoring", "top_k"), config.scoring.top_k is not None, _RANKING),
    )


def _of_ranking(config: Any) -> tuple[_Rule, ...]:
    training, hooks, report = config.training, config.hooks, config.report
    return (
        (("objective",), config.objective is not None, _CLASSES),
        (("positive",), config.positive is not None, _CLASSES),
        (("training", "calibrate"), training.calibrate != "none", _CLASSES),
        (("training", "class_weight"), training.class_weight is not None, _CLASSES),
        (("split", "group"), config.split.group is not None, _ROWS),
        (("hooks", "metrics"), bool(hooks.metrics), _ROWS),
        (("hooks", "estimators"), bool(hooks.estimators), _ROWS),
        (("training", "ensemble"), training.ensemble, _ENSEMBLE),
        (("training", "diagnosis"), training.diagnosis == "full", _DIAGNOSIS),
        (("report", "by"), bool(report.by), _BREAKDOWN),
        (("report", "sensitive"), bool(report.sensitive), _BREAKDOWN),
    )


def _roles(config: Any) -> PydanticCustomError | None:
    group, item = config.group, config.item
    if group is None:
        return contradiction_at(
            ("task",),
            "`task: ranking` needs a `group`: name the column whose rows are ranked together, "
            "such as the user or the query",
        )
    for key, column in (("group", group), ("item", item)):
        others = {"target": (config.target,), "exclude": config.exclude}
        others["time_column"] = (config.time_column,) if config.time_column else ()
        for role, columns in others.items():
            if column is not None and column in columns:
                return contradiction_at((key,), f"the {key} {column!r} stands in `{role}` too")
    if group == item:
        return contradiction_at(("item",), f"`item` and `group` both name {group!r}")
    if group not in config.id_columns:
        example = ", ".join([group, item or "what is ranked"])
        return contradiction_at(
            ("id_columns",) if config.id_columns else ("group",),
            f"the group {group!r} has to be among the `id_columns`, as a row of a ranking is named "
            f"by its group and its item: write `id_columns: [{example}]`",
        )
    return None
