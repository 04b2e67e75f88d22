"""Arrow files mapped from disk, whose pages a process can let go while it keeps their tables."""

from __future__ import annotations

import mmap
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from weakref import WeakSet

from tasks.base.runtime.libraries import pa

_mapped: WeakSet[mmap.mmap] = WeakSet()
_lock = threading.Lock()
_LARGE_BYTES = 64_000_000
_SECONDS = 0.1


def mapped_table(path: str | Path) -> Any:
    """Return the table of an Arrow file; its values are read from disk as they are needed.

    Raises OSError where the file cannot be opened, `pyarrow.ArrowInvalid` where it is no whole
    Arrow file.
    """
    with Path(path).open("rb") as file:
        try:
            pages = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except ValueError as error:  # an empty file
            raise pa.ArrowInvalid(str(error)) from None
    with _lock:
        _mapped.add(pages)
    # Of each batch this reads the description alone, and nothing around it.
    pages.madvise(mmap.MADV_RANDOM)
    table = pa.ipc.open_file(pa.py_buffer(pages)).read_all()
    pages.madvise(mmap.MADV_NORMAL)
    return table


def prefetch(table: Any) -> None:
    """Have what the columns of a mapped table hold read from disk, and nothing that lies between.

    Left to page faults, the system reads as much around each as it would read ahead, up to 8 MB: of
    a column that lies in many batches it would read the others too.
    """
    with _lock:
        living = [(pa.py_buffer(pages).address, pages) for pages in _mapped]
    for column in table.columns:
        for chunk in column.chunks:
            for buffer in filter(None, chunk.buffers()):
                for base, pages in living:
                    first = buffer.address - base
                    if 0 <= first < len(pages):
                        start = first - first % mmap.PAGESIZE
                        pages.madvise(mmap.MADV_WILLNEED, start, first + buffer.size - start)


def let_mapped_pages_go() -> None:
    """Take the pages of all mapped tables out of this process; they come back when needed."""
    # The system keeps them as long as it has room. Until then they would count as this process's,
    # and a table that was read once from end to end would weigh as if it had been copied.
    with _lock:
        living = list(_mapped)
    for pages in living:
        pages.madvise(mmap.MADV_DONTNEED)


@contextmanager
def pages_let_go(values: Any) -> Iterator[None]:
    """Let the pages of a mapped array go again and again, while a library reads it from end to end.

    Without, all of a large array would count as this process's until the library is done with it.
    """
    mapped = getattr(values, "_mmap", None)
    if mapped is None or len(mapped) < _LARGE_BYTES:
        yield
        return
    ended = threading.Event()

    def let_go() -> None:
        while not ended.wait(_SECONDS):
            mapped.madvise(mmap.MADV_DONTNEED)

    meanwhile = threading.Thread(target=let_go, daemon=True)
    meanwhile.start()
    try:
        yield
    finally:
        ended.set()
        meanwhile.join()
        mapped.madvise(mmap.MADV_DONTNEED)
