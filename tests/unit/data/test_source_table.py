from __future__ import annotations

import pyarrow as pa
import pytest

from tasks.base.errors import SourceError
from tasks.data.source_table import MAX_COLUMNS, SourceTable


def test_more_columns_than_can_be_worked_through_are_refused() -> None:
    table = pa.table({f"c{n}": pa.array([], pa.int8()) for n in range(MAX_COLUMNS + 1)})
    with pytest.raises(SourceError, match=f"{MAX_COLUMNS + 1:,} columns"):
        SourceTable(table)
    assert SourceTable(table.select(table.column_names[1:])).table.num_columns == MAX_COLUMNS
