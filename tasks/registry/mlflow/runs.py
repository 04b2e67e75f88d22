"""Runs: parameters, metrics, curves, files and datasets of a training and of its candidates."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any

from tasks.base.errors import InfrastructureError
from tasks.base.runtime import process_identity
from tasks.base.runtime.temporary import temporary_folder
from tasks.base.servers.mlflow_pages import VIEW, view_of_candidates
from tasks.base.text.redaction import without_credentials
from tasks.base.training_records import Record, Schema
from tasks.registry.mlflow import limits, sqlite_database, store_errors
from tasks.registry.mlflow.client import Connected, quoted
from tasks.registry.packaging import model_folder, provenance
from tasks.registry.signing.version_check import local_folder

_MARK_TAG = "keepfit.mark"
_COLUMN_TYPES = {"numeric": "double", "boolean": "boolean", "datetime": "datetime"}


class Run(Record):
    """A run that was found."""

    run_id: str
    experiment_id: str
    name: str
    status: str
    tags: dict[str, str]
    started: datetime


class Runs(Connected):
    """The tracking part of a store."""

    _experiments: dict[str, str]

    @store_errors.guarded
    def experiment(
        self, name: str, *, metric: str | None = None, greater_is_better: bool = True
    ) -> str:
        """Return the id of an experiment, made or restored if need be; sorted by `metric`."""
        if metric is None and name in self._experiments:
            return self._experiments[name]
        if metric is None:
            known = self._read(lambda reader: reader.experiment(name), lambda _: None)
            if known is not None:
                return self._experiments.setdefault(name, known)
        tags = _experiment_tags(metric, greater_is_better=greater_is_better)
        client = self._client()
        found = client.get_experiment_by_name(name)
        if found is None:
            identity = self._create_experiment(name, tags)
        else:
            identity = str(found.experiment_id)
            if found.lifecycle_stage == "deleted":
                client.restore_experiment(identity)
            for key, value in tags.items():
                if found.tags.get(key) != value:
                    client.set_experiment_tag(identity, key, value)
        self._experiments[name] = identity
        return identity

    @store_errors.guarded
    def mark_experiment(self, name: str, mark: str) -> None:
        """Write a mark into an experiment, made if need be, for `mark_of` to find."""
        self._client().set_experiment_tag(self.experiment(name), _MARK_TAG, mark)

    @store_errors.guarded
    def mark_of(self, name: str) -> str:
        """Return the mark of an experiment; empty where it has none, or is not there."""
        found = self._client().get_experiment_by_name(name)
        return "" if found is None else str(found.tags.get(_MARK_TAG, ""))

    def _create_experiment(self, name: str, tags: Mapping[str, str]) -> str:
        where = None if self.artifacts is None else (self.artifacts / name).as_uri()
        client = self._client()
        try:
            return str(client.create_experiment(name, artifact_location=where, tags=dict(tags)))
        except Exception as error:
            made = (
                client.get_experiment_by_name(name) if store_errors.exists_already(error) else None
            )
            if made is None:
                raise
            return str(made.experiment_id)

    @store_errors.guarded
    def start_run(
        self,
        experiment: str,
        name: str,
        *,
        tags: Mapping[str, str] | None = None,
        params: Mapping[str, object] | None = None,
        parent: str | None = None,
        started: datetime | None = None,
    ) -> str:
        """Start a run and return its id; tags name the process that owns it."""
        # When the store fails after the run was made, `own_run` finds it. The commit in the tag
        # `keepfit.git_commit` becomes MLflow's commit too, Markdown in `keepfit.note` the
        # description.
        given = {
            "mlflow.user": "keepfit",
            "mlflow.source.name": "keepfit",
            "mlflow.source.type": "PROJECT",
            "keepfit.version": provenance.keepfit_version(),
            provenance.PROCESS_TAG: process_identity.this_process(),
            **(tags or {}),
        }
        marks = {
            "mlflow.source.git.commit": given.get("keepfit.git_commit"),
            "mlflow.note.content": given.pop("keepfit.note", None),
            "mlflow.parentRunId": parent,
        }
        given |= {key: value for key, value in marks.items() if value}
        run = self._client().create_run(
            experiment,
            start_time=None if started is None else int(started.timestamp() * 1000),
            tags={k: limits.stored_text(v, limits.MAX_TAG) for k, v in given.items()},
            run_name=limits.stored_text(name, limits.MAX_NAME),
        )
        run_id = str(run.info.run_id)
        if params:
            self.log(run_id, params=params)
        return run_id

    @store_errors.guarded
    def log(
        self,
        run_id: str,
        *,
        params: Mapping[str, object] | None = None,
        metrics: Mapping[str, float | None] | None = None,
        curves: Mapping[str, Sequence[float]] | None = None,
        tags: Mapping[str, str] | None = None,
        step: int = 0,
        moment: datetime | None = None,
    ) -> None:
        """Write parameters, metrics at `step` and `moment` (now), curves and tags together."""
        # A metric without a finite value is not stored; the tag `keepfit.not_finite` names it. Long
        # curves are thinned; long texts are cut, visibly.
        finite, absent = limits.finite_metrics(metrics or {})
        noted = dict(tags or {})
        if absent:
            noted["keepfit.not_finite"] = ", ".join(absent)
        fields = {str(key): value for key, value in (params or {}).items()}
        keys = limits.stored_names(fields)
        points = [(name, step, value) for name, value in finite.items()]
        points += [(n, at, v) for n, c in (curves or {}).items() for at, v in limits.thinned(c)]
        seconds = time.time() if moment is None else moment.timestamp()
        param, tag = self._entities.Param, self._entities.RunTag
        self._write(
            run_id,
            self._points(points, int(seconds * 1000)),
            [param(keys[k], limits.stored_text(v, limits.MAX_PARAM)) for k, v in fields.items()],
            [tag(k, limits.stored_text(v, limits.MAX_TAG)) for k, v in noted.items()],
        )

    @store_errors.guarded
    def log_files(self, run_id: str, files: Mapping[str, str | Path]) -> None:
        """Store local files under the run; keys are their paths there, as ``figures/roc.svg``."""
        # A folder as value stores what is in it.
        if not files:
            return
        self._client()
        with temporary_folder(self._scratch()) as scratch:
            for path, local in files.items():
                _gather(Path(local), scratch / _relative(path))
            self._client().log_artifacts(run_id, str(scratch))

    @store_errors.guarded
    def artifact(self, run_id: str, path: str) -> Path | None:
        """Return a local file with what is stored under the run as `path`; None without it."""
        # From a server it is fetched once, into the state folder.
        relative = _relative(path)
        cached = self.state / "downloads" / _relative(run_id).name / relative
        if cached.is_file():
            return cached
        place = str(self._client().get_run(run_id).info.artifact_uri)
        local = local_folder(place)
        if local is not None:
            file = local / relative
            inside = file.resolve().is_relative_to(local.resolve())
            return file if inside and file.is_file() else None
        parent = "" if relative.parent == PurePosixPath() else str(relative.parent)
        there = self._client().list_artifacts(run_id, parent)
        if str(relative) not in {found.path for found in there}:
            return None
        sqlite_database.private_folder(cached.parent)
        with temporary_folder(cached.parent) as scratch:
            self._download(f"{place.rstrip('/')}/{relative}", scratch)
            (scratch / relative.name).replace(cached)
        return cached

    @store_errors.guarded
    def log_text(self, run_id: str, path: str, text: str) -> None:
        """Store `text` under the run as the file `path`."""
        self._client().log_text(run_id, text, str(_relative(path)))

    @store_errors.guarded
    def log_dataset(
        self,
        run_id: str,
        *,
        name: str,
        digest: str,
        rows: int,
        schema: Schema,
        context: str,
        source: str = "",
    ) -> None:
        """Record the rows a run used for `training` or `holdout` as an MLflow dataset."""
        # MLflow keeps the first 36 characters of `digest`; credentials in `source` are left out.
        columns = [
            {"type": _COLUMN_TYPES.get(kind, "string"), "name": column, "required": False}
            for column, kind in schema.features.items()
        ]
        described = json.dumps({"mlflow_colspec": columns})
        place = limits.stored_text(without_credentials(source), 2000)
        dataset = self._entities.Dataset(
            name=limits.stored_text(f"{name} {context}", 500),
            digest=digest[:36],
            source_type="local",
            source=json.dumps({"uri": place}),
            schema=described if len(described) < 1_000_000 else None,
            profile=json.dumps({"num_rows": rows, "num_elements": rows * len(columns)}),
        )
        tag = self._entities.InputTag(key="mlflow.data.context", value=context)
        used = self._entities.DatasetInput(dataset=dataset, tags=[tag])
        self._client().log_inputs(run_id, datasets=[used])

    @store_errors.guarded
    def finish_run(self, run_id: str, status: str = "FINISHED") -> None:
        """End a run as ``FINISHED``, ``FAILED`` or ``KILLED``."""
        self._client().set_terminated(run_id, status)

    @store_errors.guarded
    def find_run(self, tags: Mapping[str, str], *, status: str | None = "FINISHED") -> Run | None:
        """Return the newest run that carries all of `tags`, in any experiment; None without one."""
        found = self._search(tags, status, 1)
        return found[0] if found else None

    def own_run(self, tags: Mapping[str, str]) -> Run | None:
        """Return the run with `tags` that this process started and did not finish."""
        # A try after the store failed in the middle goes on with it: no run is started twice.
        mine = {provenance.PROCESS_TAG: process_identity.this_process()}
        return self.find_run({**tags, **mine}, status="RUNNING")

    @store_errors.guarded
    def children(self, run_id: str) -> tuple[Run, ...]:
        """Return the runs whose parent is `run_id`, newest first."""
        return tuple(self._search({"mlflow.parentRunId": run_id}, None, 1000))

    @store_errors.guarded
    def close_dead_runs(self, unknown_after: float = 172_800.0) -> tuple[str, ...]:
        """Mark runs RUNNING whose process has ended as KILLED; return their ids."""
        # After `unknown_after` seconds one of another host, of which nothing is known, has ended.
        closed = []
        mine = process_identity.this_process()
        for run in self._search({}, "RUNNING", 1000):
            age = time.time() - run.started.timestamp()
            process = run.tags.get(provenance.PROCESS_TAG, "")
            forgotten = bool(process) and age > unknown_after and process != mine
            if forgotten or process_identity.has_ended(process):
                client = self._client()
                client.set_tag(run.run_id, "keepfit.killed", "its process ended without finishing")
                client.set_terminated(run.run_id, "KILLED")
                closed.append(run.run_id)
        return tuple(closed)

    def _search(self, tags: Mapping[str, str], status: str | None, most: int) -> list[Run]:
        client = self._client()
        conditions = [f"tags.`{key}` = {quoted(value)}" for key, value in tags.items()]
        if status is not None:
            conditions.append(f"attributes.status = {quoted(status)}")
        runs = client.search_runs(
            [experiment.experiment_id for experiment in client.search_experiments()],
            filter_string=" and ".join(conditions),
            max_results=most,
            order_by=["attributes.start_time DESC"],
        )
        return [_run(run) for run in runs]


def _experiment_tags(metric: str | None, *, greater_is_better: bool) -> dict[str, str]:
    """Return the tags that mark an experiment of trainings in MLflow and set how it is shown."""
    tags = {"mlflow.experimentKind": "custom_model_development"}
    if metric is None:
        return tags
    name = limits.stored_name(metric)
    return {
        **tags,
        "mlflow.experiment.primaryMetric.name": name,
        "mlflow.experiment.primaryMetric.greaterIsBetter": str(greater_is_better).lower(),
        f"mlflow.sharedViewState.{VIEW}": view_of_candidates(
            name, greater_is_better=greater_is_better
        ),
    }


def _run(run: Any) -> Run:
    return Run(
        run_id=str(run.info.run_id),
        experiment_id=str(run.info.experiment_id),
        name=str(run.info.run_name),
        status=str(run.info.status),
        tags=dict(run.data.tags),
        started=datetime.fromtimestamp(run.info.start_time / 1000, UTC),
    )


def _gather(local: Path, target: Path) -> None:
    if local.is_dir():
        for path in sorted(p for p in local.rglob("*") if p.is_file()):
            model_folder.place(path, target / path.relative_to(local))
    else:
        model_folder.place(local, target)


def _relative(path: str) -> PurePosixPath:
    parts = PurePosixPath(path)
    if parts.is_absolute() or ".." in parts.parts or not parts.name:
        raise InfrastructureError(
            f"An artifact's path is relative and stays inside its run; got {path!r}."
        )
    return parts
