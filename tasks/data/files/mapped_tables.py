"""Tables mapped from disk: of what memory runs short of, the system drops the pages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tasks.base.errors import InfrastructureError
from tasks.base.runtime.files import private_folder
from tasks.base.runtime.libraries import pa
from tasks.base.runtime.temporary import temporary_folder

_BATCH_ROWS = 1 << 18


def mapped(table: Any, scratch: Path) -> Any:
    """Return `table` as it is, mapped from a file in `scratch` that is gone with the last use."""
    try:
        with temporary_folder(private_folder(scratch)) as folder:
            path = str(folder / "table.arrow")
            with pa.OSFile(path, "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
                writer.write_table(table, max_chunksize=_BATCH_ROWS)
            # The file has no name from here on; what is mapped stays.
            return pa.ipc.open_file(pa.memory_map(path)).read_all()
    except OSError as error:
        raise InfrastructureError(
            f"{scratch}: {table.nbytes:,} bytes of the table cannot be written there "
            f"({error.strerror or error}).",
            "Free space there, or set `state` to another folder.",
        ) from None
