"""A person's feature function on the rows of a request, as a scoring applies it to a batch."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tasks.base.errors import ConfigError
from tasks.base.pipeline_file import Pipeline
from tasks.base.runtime.libraries import pa, pd
from tasks.base.training_records import ModelVersion
from tasks.data.sources.frames import typed_frame
from tasks.data.typing.storage import READ_AS, ColumnForm, storage_of
from tasks.plugins.features import Features, added_columns, feature_function
from tasks.plugins.versions import given_to_features
from tasks.serving.request_columns import Cells, Column, Fault, RequestColumns, cells_of


@dataclass(frozen=True)
class FeatureHook:
    """The function that makes some of a version's features."""

    name: str
    function: Features
    given: pa.Schema  # the source's columns at the training, and how they were stored

    @classmethod
    def of(cls, pipeline: Pipeline, version: ModelVersion) -> FeatureHook | None:
        """Return the function of a version; None without one."""
        # It is None also where the version does not record what the function received, as older
        # ones do not: then its columns are sent.
        name, given = pipeline.config.hooks.features, given_to_features(version)
        if name is None or not given:
            return None
        schema = pa.ipc.read_schema(pa.py_buffer(b64decode(given)))
        return cls(name, feature_function(name, pipeline.base), schema)

    def form_of(self, column: str) -> ColumnForm:
        """Return the storage of a column that is in no contract."""
        storage = storage_of(self.given.field(column))
        return ColumnForm(READ_AS[storage], storage)

    def add(self, given: RequestColumns, columns: Mapping[str, Column]) -> None:
        """Add the features that the function makes; a row on which it fails is at fault."""
        made = [column for name, column in columns.items() if name not in given.cells]
        places = given.good()
        good = given.taken(places)
        found: dict[str, Cells] = {column.name: [None] * given.rows for column in made}
        for start, cells in self._made(good, made, 0, given, places):
            for name, values in cells.items():
                for place, value in zip(places[start:], values, strict=False):
                    found[name][place] = value
        given.cells.update(found)

    def _made(
        self,
        rows: RequestColumns,
        made: Sequence[Column],
        start: int,
        out: RequestColumns,
        places: Sequence[int],
    ) -> list[tuple[int, dict[str, Cells]]]:
        """Return made cells and where they start; of rows that fail together each half alone."""
        if not rows.rows:
            return []
        try:
            return [(start, self._cells(rows, made))]
        except (ConfigError, ValueError, TypeError, OverflowError) as error:
            message = error.message if isinstance(error, ConfigError) else str(error)
        if rows.rows == 1:
            remedy = "Send values that the function accepts, or fix the function."
            out.add(places[start], Fault(None, "features", message[:500], remedy))
            return []
        half = rows.rows // 2
        first = rows.taken(range(half))
        last = rows.taken(range(half, rows.rows))
        return [
            *self._made(first, made, start, out, places),
            *self._made(last, made, start + half, out, places),
        ]

    def _cells(self, rows: RequestColumns, made: Sequence[Column]) -> dict[str, Cells]:
        frame = pa.table([self._array(rows, f) for f in self.given], self.given.names).to_pandas()
        added = added_columns(self.name, self.function, frame)
        absent = [column.name for column in made if column.name not in added]
        if absent:
            raise ConfigError(f"`hooks.features: {self.name}` did not make {absent[0]!r}.")
        plain = pd.DataFrame({c.name: pd.Series(added[c.name].to_pandas()) for c in made})
        typed = typed_frame(plain, {column.name: column.form for column in made})
        return {column.name: cells_of(typed[column.name], column.type) for column in made}

    def _array(self, rows: RequestColumns, field: pa.Field) -> Any:
        """Return cells as the source stores them, where they can be."""
        cells = rows.cells[field.name]
        if pa.types.is_temporal(field.type):
            return pa.array(cells, pa.timestamp("us")).cast(field.type, safe=False)
        try:
            return pa.array(cells, field.type)
        except (pa.ArrowInvalid, pa.ArrowTypeError):
            return pa.array(cells)
