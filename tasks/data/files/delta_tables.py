"""Delta tables: a folder of Parquet files, with a log of the ones that are valid now."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from tasks.base.errors import SourceError

LOG = "_delta_log"
_PLAIN_READER = 1


def delta_files(folder: Path) -> tuple[Path, ...]:
    """Return the files that make the table's newest version, sorted."""
    # A table that needs more than its files (deletion vectors, mapped columns) is refused.
    try:
        deltalake = import_module("deltalake")
    except ImportError:
        raise SourceError(
            f"{folder.name} is a Delta table: its folder also holds files that are not valid now.",
            "Install what reads its log: pip install 'keepfit[delta]'.",
        ) from None
    try:
        table = deltalake.DeltaTable(str(folder))
        needed = table.protocol().min_reader_version
        files = table.file_uris()
    except Exception as error:  # noqa: BLE001 - its exceptions share no base of their own
        raise SourceError(f"{folder.name}: the Delta log cannot be read: {error}.") from None
    if needed > _PLAIN_READER:
        raise SourceError(
            f"{folder.name}: the Delta table needs a reader of version {needed}, for deletion "
            f"vectors or mapped columns; keepfit reads version {_PLAIN_READER}.",
            "Write a copy without them: deltalake.write_deltalake, or REORG TABLE … APPLY (PURGE).",
        )
    if not files:
        raise SourceError(f"{folder.name}: the Delta table has no file: it is empty.")
    return tuple(sorted(Path(file) for file in files))
