"""Pipeline files of a running stack: an edit is taken up, or the last valid version stays."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from tasks.base.errors import KeepfitError
from tasks.base.known_pipelines import accept
from tasks.base.pipeline_file import Pipeline, load_pipeline
from tasks.base.text.redaction import redact
from tasks.base.training_records import Record

_UNREADABLE = "unreadable"


class Edit(Record):
    """Result of an edit of a file."""

    place: int  # which of the watched files it is
    accepted: bool  # whether runs use it from now on
    sentence: str  # for the person who watches


class WatchedFiles:
    """The pipeline files of a stack, read when it started and looked at again and again."""

    def __init__(self, pipelines: Sequence[Pipeline]) -> None:
        self.pipelines = list(pipelines)
        self._known = [_digest(pipeline.path) for pipeline in pipelines]
        self._before = list(self._known)
        for pipeline in pipelines:
            accept(pipeline)

    def look(self) -> tuple[Edit, ...]:
        """Return the edits since the last look; `pipelines` holds what is in use."""
        # It is edited when two looks find the same new content: editors and copies write in steps.
        found = []
        for place, pipeline in enumerate(self.pipelines):
            digest = _digest(pipeline.path)
            if digest == self._before[place] and digest != self._known[place]:
                self._known[place] = digest
                found.append(self._edited(place, pipeline))
            self._before[place] = digest
        return tuple(found)

    def _edited(self, place: int, former: Pipeline) -> Edit:
        stays = "The last valid version stays in use."
        try:
            found = load_pipeline(former.path)
        except KeepfitError as error:
            sentence = redact(f"{error.message} {stays}", former.secrets)
            return Edit(place=place, accepted=False, sentence=sentence)
        if moved := _needs_a_start(former, found):
            sentence = f"{former.path}: {moved} Start `keepfit up` again to take it up. {stays}"
            return Edit(place=place, accepted=False, sentence=sentence)
        accept(found)
        self.pipelines[place] = found
        keys = ", ".join(changed_keys(former, found))
        what = f"{keys} changed in {found.path}" if keys else f"{found.path} is valid, unchanged"
        return Edit(
            place=place,
            accepted=True,
            sentence=f"{found.config.name}: {what}; in use from the next run on",
        )


def changed_keys(former: Pipeline, found: Pipeline) -> tuple[str, ...]:
    """Return the top-level keys whose values differ."""
    names = type(found.config).model_fields
    return tuple(n for n in names if getattr(former.config, n) != getattr(found.config, n))


def _needs_a_start(former: Pipeline, found: Pipeline) -> str:
    if former.config.name != found.config.name:
        return f"`name` changed from {former.config.name} to {found.config.name}."
    if former.state != found.state:
        return f"`state` changed to {found.state}."
    return ""


def _digest(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return _UNREADABLE
