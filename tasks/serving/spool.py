"""Predicted rows in files before the response leaves, until the ledger has them.

A record survives the end of the process as soon as it is written, and that of the machine a second
later, when its segment is synchronised. A segment is a file of records, each with its length and
checksum. A server appends to one, which it holds locked, and gives it up every second: whoever
finds a segment that nobody holds may bring it to the ledger and remove it. What a killed server
left is found the same way.
"""

from __future__ import annotations

import fcntl
import os
import struct
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from tasks.base.runtime.files import private_folder
from tasks.base.training_records import Record, Schema
from tasks.data.typing.storage import ColumnForm

SUFFIX = ".spool"
_HEAD = struct.Struct("<II")
_REST_SECONDS = 1.0
_ROOM_BYTES = 65_536


class SpooledVersion(Record):
    """Facts that the ledger needs about a version whose predictions are spooled."""

    run_id: str
    roles: Schema
    forms: dict[str, ColumnForm]  # column to kind and storage of its cells


class SegmentHeldError(Exception):
    """A segment is being written or delivered, or is gone."""


class Spool:
    """Spool of one server's predictions in the folder of a pipeline, which several may share."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._descriptor: int | None = None
        self._written = 0
        self._since = 0.0

    def write(self, records: Sequence[bytes]) -> None:
        """Write records, all or none of them: from then on a kill of the process loses none."""
        # The disk is awaited when the segment is given up, at the latest. Raises OSError.
        start = 0
        try:
            descriptor = self._segment()
            start = self._written
            view = memoryview(
                b"".join(_HEAD.pack(len(record), zlib.crc32(record)) + record for record in records)
            )
            while view:
                count = os.write(descriptor, view)
                view, self._written = view[count:], self._written + count
        except OSError:
            self._undo(start)
            raise

    def check(self) -> None:
        """Raise OSError where the disk takes no more records; leaves nothing behind."""
        private_folder(self.folder)
        with tempfile.TemporaryFile(dir=self.folder, buffering=0) as file:
            if file.write(bytes(_ROOM_BYTES)) < _ROOM_BYTES:
                file.write(b"0")  # states why the disk took less

    def finished(self) -> Callable[[], None] | None:
        """Return what gives up a segment that is a second old; None where there is none."""
        # What is written from now on goes to another one. It waits for the disk: for a thread.
        descriptor = self._descriptor
        if descriptor is None or time.monotonic() - self._since < _REST_SECONDS:
            return None
        self._descriptor = None
        return partial(_give_up, descriptor, self.folder)

    def close(self) -> None:
        """Give the segment up."""
        if self._descriptor is not None:
            descriptor, self._descriptor = self._descriptor, None
            _give_up(descriptor, self.folder)

    def _undo(self, start: int) -> None:
        """Take back records whose responses are refused; where that fails, stop behind them."""
        if self._descriptor is None:
            return
        try:
            os.ftruncate(self._descriptor, start)
            self._written = start
        except OSError:
            self.close()

    def _segment(self) -> int:
        if self._descriptor is None:
            private_folder(self.folder)
            name = f"{time.time_ns()}-{os.getpid()}{SUFFIX}"
            flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC
            # Locked before it has its name: else it could be taken for one that nobody holds.
            beside = self.folder / f".{name}"
            descriptor = os.open(beside, flags, 0o600)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            beside.rename(self.folder / name)
            self._descriptor, self._written, self._since = descriptor, 0, time.monotonic()
        return self._descriptor


def _give_up(descriptor: int, folder: Path) -> None:
    try:
        os.fdatasync(descriptor)
        # Its name too: a segment under the hidden one that it had first is never delivered.
        place = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(place)
        finally:
            os.close(place)
    finally:
        os.close(descriptor)


def segments(folder: Path) -> list[Path]:
    """Return the segments in a folder, oldest first."""
    return sorted(path for path in folder.glob(f"*{SUFFIX}") if not path.name.startswith("."))


def backlog_bytes(folder: Path) -> int:
    """Return the amount that waits to be delivered to the ledger."""
    total = 0
    for path in segments(folder):
        try:
            total += path.stat().st_size
        except FileNotFoundError:
            continue
    return total


@contextmanager
def taken(segment: Path) -> Iterator[list[bytes]]:
    """Hold a segment that nobody writes, else SegmentHeldError, and give its records."""
    # A record that was cut off by a kill, and whose response never left, ends it.
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
            data = file.read()
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
