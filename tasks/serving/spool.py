"""Answered rows on disk before the answer leaves, until the ledger has them.

A segment is a file of records, each with its length and checksum. A server appends to one segment,
which it holds locked, and gives it up every second: whoever finds a segment that nobody holds may
bring it to the ledger and remove it. What a killed server left is found the same way.
"""

from __future__ import annotations

import fcntl
import os
import queue
import struct
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path

from tasks.base.runtime.files import private_folder

SUFFIX = ".spool"
_HEAD = struct.Struct("<II")
_MOST_BYTES = 256_000_000
_REST_SECONDS = 1.0

Written = Callable[[BaseException | None], None]


class SegmentHeldError(Exception):
    """A segment is being written or delivered, or is gone."""


class Spool:
    """Where one server keeps what it answered; a thread of its own writes it.

    Records that come together are written and synchronised together.

    Parameters
    ----------
    folder
        Of the pipeline; several servers may share it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._waiting: queue.SimpleQueue[tuple[bytes, Written] | None] = queue.SimpleQueue()
        self._descriptor: int | None = None
        self._written = 0
        self._since = 0.0
        self._thread = threading.Thread(target=self._run, name="spool", daemon=True)
        self._thread.start()

    def append(self, record: bytes, written: Written) -> None:
        """Write a record; `written` is called, in another thread, once it is on disk or failed."""
        self._waiting.put((record, written))

    def write(self, record: bytes) -> None:
        """Write a record, and return once it is on disk.

        Raises
        ------
        OSError
            When it could not be written.
        """
        done: Future[None] = Future()
        self.append(
            record,
            lambda error: done.set_exception(error) if error else done.set_result(None),
        )
        done.result()

    def close(self) -> None:
        """Write what waits, and give the segment up."""
        self._waiting.put(None)
        self._thread.join()

    def _run(self) -> None:
        going = True
        while going:
            given, going = self._next()
            if given:
                self._store(given)
            if self._descriptor is not None and (
                not going or time.monotonic() - self._since > _REST_SECONDS
            ):
                self._give_up()

    def _next(self) -> tuple[list[tuple[bytes, Written]], bool]:
        """Return all records that wait, at least one unless none comes for a while."""
        given: list[tuple[bytes, Written]] = []
        try:
            one = self._waiting.get(timeout=_REST_SECONDS / 2)
            while one is not None:
                given.append(one)
                one = self._waiting.get_nowait()
        except queue.Empty:
            return given, True
        return given, False

    def _store(self, given: list[tuple[bytes, Written]]) -> None:
        error: BaseException | None = None
        start = self._written
        try:
            descriptor = self._segment()
            start = self._written
            data = b"".join(
                _HEAD.pack(len(record), zlib.crc32(record)) + record for record, _ in given
            )
            view = memoryview(data)
            while view:
                count = os.write(descriptor, view)
                view, self._written = view[count:], self._written + count
            os.fdatasync(descriptor)
        except OSError as failed:
            error = failed
            self._undo(start)
        for _, written in given:
            written(error)

    def _undo(self, start: int) -> None:
        """Take back records whose answers are refused; where that fails, stop behind them."""
        if self._descriptor is None:
            return
        try:
            os.ftruncate(self._descriptor, start)
            self._written = start
        except OSError:
            self._give_up()

    def _segment(self) -> int:
        if self._descriptor is None:
            private_folder(self.folder)
            name = f"{time.time_ns()}-{os.getpid()}{SUFFIX}"
            flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC
            # Locked before it has its name: else it could be taken for one that nobody holds.
            beside = self.folder / f".{name}"
            self._descriptor = os.open(beside, flags, 0o600)
            fcntl.flock(self._descriptor, fcntl.LOCK_EX)
            beside.rename(self.folder / name)
            _sync_folder(self.folder)
            self._written, self._since = 0, time.monotonic()
        return self._descriptor

    def _give_up(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def segments(folder: Path) -> list[Path]:
    """Return the segments in a folder, oldest first."""
    return sorted(path for path in folder.glob(f"*{SUFFIX}") if not path.name.startswith("."))


def backlog_bytes(folder: Path) -> int:
    """Return how much waits to be brought to the ledger."""
    total = 0
    for path in segments(folder):
        try:
            total += path.stat().st_size
        except FileNotFoundError:
            continue
    return total


@contextmanager
def taken(segment: Path) -> Iterator[list[bytes]]:
    """Hold a segment that nobody writes, and give its records.

    A record that was cut off by a kill, and whose answer never left, ends it.

    Raises
    ------
    SegmentHeldError
        When somebody holds the segment, or has brought it to the ledger.
    """
    try:
        descriptor = os.open(segment, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise SegmentHeldError(segment.name) from None
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SegmentHeldError(segment.name) from None
        if not segment.exists():
            raise SegmentHeldError(segment.name)
        with os.fdopen(os.dup(descriptor), "rb") as file:
            data = file.read(_MOST_BYTES)
        yield list(_records(data))
    finally:
        os.close(descriptor)


def _records(data: bytes) -> Iterator[bytes]:
    place = 0
    while place + _HEAD.size <= len(data):
        length, checksum = _HEAD.unpack_from(data, place)
        record = data[place + _HEAD.size : place + _HEAD.size + length]
        if len(record) < length or zlib.crc32(record) != checksum:
            return
        yield record
        place += _HEAD.size + length
