"""Whether the champion can be refitted on the rows of today, and on which of its columns."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from tasks.base.config import PipelineConfig
from tasks.base.errors import NoNewerRowsError, UsageError
from tasks.base.monitoring_records import PolicyDecision
from tasks.base.pipeline_file import Pipeline
from tasks.base.text.commands import command
from tasks.base.text.phrases import listed
from tasks.base.training_records import ModelVersion, Recipe, Schema, Snapshot, TrainingMode
from tasks.base.utc_times import as_utc
from tasks.data.snapshots import read_frame
from tasks.registry.mlflow.store import Store
from tasks.registry.version_files.version_recipes import recipe_of_version

_METRIC_TAG, _DATA_TAG = "keepfit.metric", "keepfit.data_digest"
_MOST_NAMED = 5


@dataclass(frozen=True)
class Candidacy:
    """Basis of a refit: the champion and its recipe."""

    champion: ModelVersion | None
    recipe: Recipe | None
    reason: str
    strict: bool  # a person's refit gets an error where there can be none


def candidacy(
    store: Store, champion: ModelVersion | None, answer: PolicyDecision, *, strict: bool
) -> Candidacy | None:
    """Return the registry's basis of a refit; None where a search is due."""
    if answer.training != "refit":
        return None
    recipe = None if champion is None else recipe_of_version(store, champion)
    return Candidacy(champion, recipe, answer.training_reason, strict)


def mode_of(
    candidacy: Candidacy, pipeline: Pipeline, snapshot: Snapshot, schema: Schema, metric: str
) -> TrainingMode:
    """Return whether the champion is refitted, or why it cannot be; a person's refit then fails."""
    found = obstacle(candidacy, pipeline.config, snapshot, schema, metric)
    if found and candidacy.strict:
        remedy = f"A full training: `{command('run', file=pipeline.path)}`."
        raise UsageError(f"{pipeline.config.name} cannot be refitted: {found}.", remedy)
    if found or candidacy.champion is None:
        return TrainingMode(reason=candidacy.reason, obstacle=found)
    return TrainingMode(
        kind="refit",
        reason=candidacy.reason,
        recipe_of=candidacy.champion.version,
        recipe=candidacy.recipe,
        newer_rows=_newer_rows(candidacy.champion, snapshot, schema),
        newer_needed=rows_needed(pipeline.config),
    )


def obstacle(
    candidacy: Candidacy, config: PipelineConfig, snapshot: Snapshot, schema: Schema, metric: str
) -> str:
    """Return why the champion cannot be refitted, as part of a sentence; empty where it can."""
    champion, recipe = candidacy.champion, candidacy.recipe
    if champion is None:
        return "it has no champion yet"
    named = f"champion v{champion.version}"
    if recipe is None:
        return f"{named} was registered by a keepfit that kept no recipe"
    theirs = champion.roles
    if (theirs.target, theirs.task, theirs.classes) != (schema.target, schema.task, schema.classes):
        return f"the target is another than that of {named}, or has other classes"
    if champion.tags.get(_METRIC_TAG) != metric:
        return f"{named} was chosen by {champion.tags.get(_METRIC_TAG)}, the file states {metric}"
    families = {recipe.family, *(member.family for member in recipe.members)} - {"ensemble"}
    absent = families - set(config.competing.candidates)
    if absent and recipe.family != "baseline":
        return f"training.candidates does not name {', '.join(sorted(absent))}, which {named} is"
    gone = [name for name in theirs.features if name not in snapshot.kinds]
    if gone:
        return f"columns of {named} are gone: {listed(gone, _MOST_NAMED)}"
    changed = [
        name
        for name, kind in theirs.features.items()
        if (kind == "numeric") != (schema.features.get(name, kind) == "numeric")
    ]
    kinds = listed(changed, _MOST_NAMED)
    return f"columns of {named} are of another kind now: {kinds}" if changed else ""


def on_champions_columns(schema: Schema, champion: ModelVersion) -> Schema:
    """Return today's schema with the features that the champion was fitted on."""
    return schema.model_copy(update={"features": champion.roles.features})


def rows_needed(config: PipelineConfig) -> int:
    """Return how many newer labelled rows a judgement needs: half of them are learnt from."""
    return 2 * config.monitoring.fewest_judged


def newer_than(snapshot: Snapshot, schema: Schema, until: datetime) -> tuple[int, int]:
    """Return how many labelled rows lie after `until`, and how many there are; with a time."""
    assert schema.time_column is not None  # noqa: S101 - the caller has looked
    rows = read_frame(snapshot.path, columns=[schema.time_column, schema.target])
    times = rows.loc[rows[schema.target].notna(), schema.time_column].dropna()
    zone = getattr(times.dt, "tz", None)
    moment = until.astimezone(UTC)
    newer = times > (moment if zone is not None else moment.replace(tzinfo=None))
    return int(newer.sum()), len(times)


def _newer_rows(champion: ModelVersion, snapshot: Snapshot, schema: Schema) -> int | None:
    """Return how many rows are newer than the champion's; None where rows have no time."""
    # Without a time it is 0 where the rows are those that the champion was trained on.
    until = champion.trained_until
    if schema.time_column is None or until is None:
        known = champion.tags.get(_DATA_TAG, "")
        return 0 if known and snapshot.digest.startswith(known) else None
    return newer_than(snapshot, schema, until)[0]


def require_newer_rows(
    mode: TrainingMode, newest: datetime | None = None, seen: datetime | None = None
) -> None:
    """Raise where a refit has too few newer rows to learn from and to be judged on."""
    # `newest` and `seen` are times of the newest labelled rows of now, and of the last training,
    # whose result would be the same again; None: not checked.
    if mode.kind != "refit":
        return
    if newest is not None and seen is not None and as_utc(newest) <= as_utc(seen):
        raise NoNewerRowsError(
            f"no labelled row is newer than those of the last training, up to "
            f"{as_utc(seen):%Y-%m-%d %H:%M} UTC.",
            "Wait for rows and their labels.",
        )
    if mode.newer_rows is None or mode.newer_rows >= mode.newer_needed:
        return
    raise NoNewerRowsError(
        f"{mode.newer_rows:,} labelled rows are newer than those of champion v{mode.recipe_of}, "
        f"{mode.newer_needed:,} are needed for a refit.",
        "Wait for rows and their labels, or lower monitoring.min_rows.",
    )
