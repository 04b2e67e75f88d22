"""One version of a model made ready to serve requests."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from expectations.contract import Contract
from tasks.base.errors import DataError
from tasks.base.plugin_settings import OwnCode
from tasks.base.runtime.files import digest_of_bytes
from tasks.base.training_records import ModelVersion, Schema
from tasks.contracts.contract_files import forms_of, known_contract
from tasks.data.typing.storage import ColumnForm, declared_forms
from tasks.models.features.columns import CategoryCodes
from tasks.models.persistence.prediction import in_order, predict
from tasks.plugins.versions import require_hooks
from tasks.registry.open_pipeline import OpenPipeline
from tasks.scoring.predictions import ranks
from tasks.serving.feature_hook import FeatureHook
from tasks.serving.request_columns import (
    Cells,
    Column,
    Fault,
    RequestColumns,
    columns_of_lists,
    columns_of_records,
    frame_of,
)
from tasks.serving.row_encoder import RowEncoder
from tasks.serving.row_rules import Broken, RowRules, fault_of
from tasks.serving.small_batches import outputs_of_few
from tasks.serving.spool import SpooledVersion

logger = logging.getLogger(__name__)

_PADDED = re.compile("0[0-9]+")
_PROBES = 24


@dataclass(frozen=True)
class Answer:
    """A version's response to a request."""

    columns: RequestColumns  # the rows that are predicted
    places: list[int]  # where they stand in the request
    predicted: NDArray[Any]  # labels or values, shape (n_answered,)
    probability: NDArray[np.float64] | None  # (n_answered, n_classes); None for numbers
    rank: NDArray[np.int64] | None  # of a ranking: the place in the group, from 1 on
    faults: Mapping[int, list[Fault]]  # row of the request to why it has no prediction
    warnings: tuple[Broken, ...]  # rules of severity `warning` that rows broke
    ignored: tuple[str, ...]


@dataclass(frozen=True)
class ServedModel:
    """A loaded version with all that is needed to read, check and predict requests."""

    version: ModelVersion
    roles: Schema
    columns: Mapping[str, Column]  # features, then other names of a row, then what a hook reads
    rules: RowRules
    contract_digest: str  # of the contract whose rules are applied; empty without one
    pipeline: Any
    encoder: RowEncoder | None  # None where rows go through a frame, as in a scoring
    hook: FeatureHook | None = None  # the person's function that makes features, if any

    @cached_property
    def facts(self) -> str:
        """What the ledger needs about its predictions, as JSON."""
        forms = {name: column.form for name, column in self.columns.items()}
        run_id, roles = self.version.run_id, self.roles.running(None)
        return SpooledVersion(run_id=run_id, roles=roles, forms=forms).model_dump_json()

    @cached_property
    def facts_digest(self) -> str:
        """SHA-256 of `facts`: every spooled record names it."""
        return digest_of_bytes(self.facts.encode())

    @classmethod
    def load(cls, pipeline: OpenPipeline, version: ModelVersion) -> ServedModel:
        """Load a version through the registry's checks."""
        require_hooks(pipeline.config, pipeline.base, version)
        fitted = pipeline.store.load(version, OwnCode.of(pipeline.config.hooks, pipeline.base))
        contract = known_contract(pipeline)
        hook = FeatureHook.of(pipeline, version)
        return cls.of(version, fitted, contract, pipeline.config.kinds, hook)

    @classmethod
    def of(
        cls,
        version: ModelVersion,
        fitted: Any,
        contract: Contract | None,
        kinds: Mapping[str, Any] | None = None,
        hook: FeatureHook | None = None,
    ) -> ServedModel:
        """Return a fitted pipeline as a model that serves requests."""
        roles = version.roles
        forms = declared_forms(kinds or {}, forms_of(contract))
        levels = _levels(fitted[0])
        given = {
            name: Column(
                name,
                forms.get(name, ColumnForm(kind)),
                name != roles.time_column,
                next((level for level in levels.get(name) or () if _PADDED.fullmatch(level)), None),
            )
            for name, kind in roles.features.items()
        }
        for name in [*roles.id_columns, *([roles.group] if roles.group else [])]:
            given.setdefault(
                name, Column(name, forms.get(name, ColumnForm("identifier")), name == roles.group)
            )
        if roles.time_column is not None:
            time = Column(roles.time_column, ColumnForm("datetime", "time"), False)
            given.setdefault(roles.time_column, time)
        for name in [] if hook is None else hook.given.names:
            form = forms.get(name) or hook.form_of(name)  # type: ignore[union-attr]
            given.setdefault(name, Column(name, form))
        rules = RowRules.of(contract, given, roles)
        types = {name: column.type for name, column in given.items()}
        model = cls(
            version=version,
            roles=roles,
            columns=given,
            rules=rules,
            contract_digest="" if contract is None else contract.digest(),
            pipeline=fitted,
            encoder=RowEncoder.of(fitted[0], types, rules.numbers),
            hook=hook,
        )
        return model._checked()

    @cached_property
    def sent(self) -> tuple[Column, ...]:
        """The columns of a request: all but those that the feature function makes."""
        features, hook = self.roles.features, self.hook
        return tuple(
            column
            for name, column in self.columns.items()
            if hook is None or name not in features or name in hook.given.names
        )

    def read_records(self, records: Sequence[Mapping[str, Any]]) -> RequestColumns:
        """Return rows that come as objects, one a row."""
        return columns_of_records(records, self.sent)

    def read_lists(self, lists: Mapping[str, Cells], rows: int) -> RequestColumns:
        """Return rows that come as a list for each column."""
        return columns_of_lists(lists, rows, self.sent)

    def answer(self, given: RequestColumns, now: datetime | None = None) -> Answer:
        """Predict the rows that are not at fault; DataError when the model cannot take one."""
        roles, now = self.roles, now or datetime.now(UTC)
        if roles.time_column is not None:
            _stamp(given, roles, now)
        if self.hook is not None:
            self.hook.add(given, self.columns)
        places = given.good()
        sound = given.taken(places)
        numbers = self.rules.numbers_of(sound)
        frame = partial(frame_of, sound, self.columns.values())
        broken = self.rules.broken(sound, numbers, frame, now) if places else []
        for one in broken:
            if one.severity == "error":
                for row in one.rows:
                    given.add(places[row], fault_of(one, sound, row))
        warnings = tuple(
            replace(one, rows=tuple(places[row] for row in one.rows))
            for one in broken
            if one.severity == "warning"
        )
        if given.faults:
            places = given.good()
            sound = given.taken(places)
            numbers = self.rules.numbers_of(sound)
        predicted, probability = self.predictions(sound, numbers)
        rank = None
        if roles.group is not None and places:
            rank = ranks(frame_of(sound, [self.columns[roles.group]])[roles.group], predicted)
        return Answer(
            sound, places, predicted, probability, rank, given.faults, warnings, given.ignored
        )

    def predictions(
        self, given: RequestColumns, numbers: NDArray[np.float64] | None = None
    ) -> tuple[NDArray[Any], NDArray[np.float64] | None]:
        """Return labels or values, and probabilities in the order of the schema's classes."""
        # `numbers`, once known, are those of `RowRules.numbers_of`. Raises DataError as `answer`.
        classes = self.roles.classes
        if not given.rows:
            return np.empty(0), np.empty((0, len(classes))) if classes else None
        try:
            if self.encoder is None:
                columns = [self.columns[name] for name in self.roles.features]
                labels, shares = predict(self.pipeline, frame_of(given, columns))
            else:
                known = self.rules.numbers_of(given) if numbers is None else numbers
                X = self.encoder.encode(given, known)
                labels, shares = outputs_of_few(self.pipeline[-1], X)
        except (ValueError, TypeError) as error:
            raise DataError(f"The model cannot take these rows: {str(error)[:300]}") from None
        if shares is None:
            return labels, None
        return labels, in_order(shares, self.pipeline[-1].classes_, classes)

    def _checked(self) -> ServedModel:
        """Return it without its own encoder where the pipeline's differs on made-up rows."""
        if self.encoder is None:
            return self
        probe = RequestColumns(_PROBES, _probe_cells(self))
        with_frame = replace(self, encoder=None)
        try:
            own, theirs = self.predictions(probe), with_frame.predictions(probe)
        except DataError:
            return with_frame
        same = np.array_equal(own[0], theirs[0]) and (
            own[1] is None or (theirs[1] is not None and np.array_equal(own[1], theirs[1]))
        )
        if not same:
            logger.warning(
                "%s v%s: rows go through a frame; without one the predictions differ.",
                self.version.name, self.version.version,
            )  # fmt: skip
        return self if same else with_frame


def _stamp(given: RequestColumns, roles: Schema, now: datetime) -> None:
    """Give rows without a time that of their arrival; a null of a feature stays what it is."""
    name, arrival = str(roles.time_column), int(now.timestamp() * 1e6)
    cells = given.cells[name]
    if name in roles.features:
        cells = list(cells)
        for row in given.absent.get(name, ()):
            cells[row] = arrival
        given.cells[name] = cells
    else:
        given.cells[name] = [arrival if cell is None else cell for cell in cells]


def _probe_cells(model: ServedModel) -> dict[str, Cells]:
    """Return rows of known and strange cells, with nulls, of every column."""
    draw = np.random.default_rng(0)
    levels = _levels(model.pipeline[0])
    cells: dict[str, Cells] = {}
    for name, column in model.columns.items():
        numbers = [float(x) for x in np.round(draw.normal(0, 10.0 ** draw.integers(0, 5), 8), 2)]
        of_type: dict[str, Cells] = {
            "number": [0, 1, -1, 2.5, 1e300, 12345, *numbers],
            "boolean": [True, False],
            "time": [0, 1_367_000_000_123_456, -86_400_000_000, 1_700_000_000_000_000],
            "text": ["", "strange", *levels.get(name, [])],
            "any": ["", "strange", 3, 2.5, True, *levels.get(name, [])],
        }
        values = of_type[column.type]
        picked = draw.integers(-1, len(values), _PROBES)
        cells[name] = [None if place < 0 else values[place] for place in picked]
    return cells


def _levels(encoder: Any) -> dict[str, list[str]]:
    found = {}
    for _, step, columns in getattr(getattr(encoder, "groups_", None), "transformers_", ()):
        first = step.steps[0][1] if hasattr(step, "steps") else step
        if isinstance(first, CategoryCodes):
            for name, levels in zip(columns, first.levels_, strict=True):
                found[str(name)] = [v for v in json.loads(levels) if v is not None]
    return found
