"""Column types from a Parquet file's surroundings: pandas' metadata and folder names."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from tasks.base.runtime.libraries import pa

_NULL_KEY = "__HIVE_DEFAULT_PARTITION__"
_WHOLE = re.compile(r"^(?:0|-?[1-9][0-9]{0,17})$")
_MOST_INT32 = 2**31 - 1


def unnamed_index(schema: Any) -> tuple[str, ...]:
    """Return the columns that hold a data frame's index without a name, by pandas' metadata."""
    try:
        described = json.loads((schema.metadata or {}).get(b"pandas", b"{}"))
        index = [name for name in described.get("index_columns", ()) if isinstance(name, str)]
        unnamed = {
            column.get("field_name")
            for column in described.get("columns", ())
            if column.get("name") is None
        }
    except (ValueError, AttributeError, TypeError):
        return ()
    return tuple(name for name in index if name in unnamed and name in schema.names)


def partition_keys(files: Sequence[Path]) -> dict[str, Any]:
    """Return the keys of folders called ``key=value`` above `files`, and their types."""
    # Values are text, as leading zeros and letters are part of a code. Only where all of a key's
    # values are plain whole numbers are they integers.
    values: dict[str, set[str]] = {}
    for path in files:
        for part in path.parent.parts:
            name, sign, value = part.partition("=")
            if sign and name:
                values.setdefault(name, set()).add(unquote(value))
    return {name: _type_of(found - {_NULL_KEY}) for name, found in values.items()}


def _type_of(values: set[str]) -> Any:
    if not values or not all(map(_WHOLE.match, values)):
        return pa.string()
    narrow = all(abs(int(value)) <= _MOST_INT32 for value in values)
    return pa.int32() if narrow else pa.int64()
