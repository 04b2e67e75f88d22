"""The version that predicts now: exchanged between two requests when the alias moves."""

from __future__ import annotations

import logging
from pathlib import Path

from tasks.base.errors import ConfigError, KeepfitError, of_system
from tasks.base.pipeline_file import Pipeline, load_pipeline
from tasks.base.training_records import ModelVersion
from tasks.contracts.contract_files import contract_file
from tasks.registry.open_pipeline import OpenPipeline, open_pipeline
from tasks.scoring.batches import challenger_of, champion_of
from tasks.serving.delivery import announce
from tasks.serving.served_model import ServedModel

logger = logging.getLogger(__name__)
_Mark = tuple[int, int] | None


class CurrentChampion:
    """The champion of one pipeline, ready to predict."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.pipeline = pipeline
        self.model: ServedModel | None = None  # None until a champion could be loaded
        # The newest version after the champion, where the file configures a shadow.
        self.shadow: ServedModel | None = None
        self._unfit = ""
        # Why the champion of the registry does not predict; None while it does.
        self.problem: KeepfitError | None = None
        self.failures = 0  # times the registry could not be reached or the champion not loaded
        self._file = _mark(pipeline.path)
        self._beside = self._marks()

    @property
    def name(self) -> str:
        """The pipeline's name."""
        return self.pipeline.config.name

    def look(self) -> bool:
        """Load the version of the registry's alias, where that is another one than in use."""
        # The old one predicts until the new one is loaded and checked. Edits of the file, its
        # contract and feature function are followed too. Returns whether another is in use.
        try:
            return self._look()
        except KeepfitError as error:
            self._failed(error)
        except Exception as error:  # noqa: BLE001 - the version in use stays in use
            known = of_system(error) if isinstance(error, OSError) else None
            self._failed(known or KeepfitError(f"{type(error).__name__}: {str(error)[:200]}"))
        return False

    def _failed(self, error: KeepfitError) -> None:
        self.failures += 1
        if self.problem is None or self.problem.message != error.message:
            logger.warning("%s: %s", self.name, error)
        self.problem = error

    def _look(self) -> bool:
        self._follow_file()
        beside, before = self._marks(), self._beside
        pipeline = open_pipeline(self.pipeline)
        # Without an alias this raises, and the version in use stays.
        champion = champion_of(pipeline)
        known = self.model
        same = known is not None and known.version.version == champion.version
        if not same or beside != before:
            model = ServedModel.load(pipeline, champion)
            announce(pipeline, model)
            self.model, self._beside = model, beside
            logger.warning("%s: v%s predicts", self.name, champion.version)
        self.problem = None
        self._follow_challenger(pipeline, champion, again=beside != before)
        return self.model is not known

    def _follow_challenger(
        self, pipeline: OpenPipeline, champion: ModelVersion, *, again: bool
    ) -> None:
        """Load the newest version after the champion; one that cannot be loaded is left alone."""
        wanted = None
        if pipeline.config.scoring.shadow is not None:
            wanted = challenger_of(pipeline.store, champion)
        if wanted is None or (wanted.version == self._unfit and not again):
            self.shadow = None
            return
        if self.shadow is not None and self.shadow.version.version == wanted.version and not again:
            return
        try:
            shadow = ServedModel.load(pipeline, wanted)
            announce(pipeline, shadow)
        except KeepfitError as error:
            self.shadow, self._unfit = None, wanted.version
            logger.warning("%s: v%s does not predict beside the champion. %s",
                           self.name, wanted.version, error)  # fmt: skip
            return
        self.shadow = shadow
        logger.warning("%s: v%s predicts into the ledger only", self.name, wanted.version)

    def _marks(self) -> tuple[str, _Mark, _Mark]:
        """Return an identity of the file, the contract and of the feature function's code."""
        hook = self.pipeline.config.hooks.features
        module = (hook or "").partition(":")[0].split(".")
        code = self.pipeline.base.joinpath(*module).with_suffix(".py") if hook else None
        beside = _mark(contract_file(self.pipeline)), None if code is None else _mark(code)
        return self.pipeline.digest, *beside

    def _follow_file(self) -> None:
        mark = _mark(self.pipeline.path)
        if mark == self._file:
            return
        self._file = mark
        known = self.pipeline
        try:
            found = load_pipeline(known.path)
        except ConfigError as error:
            logger.warning("%s: the last valid version of the file stays in use. %s",
                           self.name, error)  # fmt: skip
            return
        # The spool, and the process that delivers it, are of the file as the server found it.
        if (found.work, found.config.ledger) != (known.work, known.config.ledger):
            logger.warning("%s: the former version of the file stays in use: its name, state or "
                           "ledger changed. Start the server again.",
                           self.name)  # fmt: skip
            return
        self.pipeline = found


def _mark(path: Path) -> _Mark:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size
