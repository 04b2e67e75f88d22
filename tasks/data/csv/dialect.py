"""One pass over the bytes of a CSV file: is it text, in which encoding, how divided."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import re
import zlib
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import IO, cast

from tasks.base.errors import SourceError
from tasks.base.runtime.libraries import charset_normalizer
from tasks.data.csv.preamble import below, find_preamble, stated_separator

CHUNK = 1 << 22
SAMPLE = 1 << 20
MAX_FIELD = 1 << 24
_SAMPLE_KEPT = 1 << 18  # characters: headers and delimiters show in these
DELIMITERS = (",", ";", "\t", "|")
NO_DELIMITER = "\x1f"  # the ASCII unit separator: a file of one column
# Text seldom packs better than 100 to 1; a bomb reaches 1000.
RATIOS = ((1 << 28, 300), (1 << 30, 100))
_BOMS = (
    (b"\xef\xbb\xbf", "utf-8-sig"),
    (b"\xff\xfe\x00\x00", "utf-32"),
    (b"\x00\x00\xfe\xff", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)
_UNPACK = "Unpack it, or pack it with gzip, which is read."
_MAGIC = (
    (b"PAR1", "a Parquet file", "Write `kind: parquet`."),
    (b"PK\x03\x04", "a zip archive or an Excel workbook", "Unpack it, or save it as CSV."),
    (b"\xd0\xcf\x11\xe0", "an old Excel workbook", "Save it as CSV."),
    (b"SQLite format 3", "an SQLite database", "Write `kind: sql` with its URL."),
    (b"%PDF", "a PDF", "Save the table as CSV."),
    (b"BZh", "a bzip2 file", _UNPACK),
    (b"\x28\xb5\x2f\xfd", "a zstd file", _UNPACK),
    (b"\xfd7zXZ\x00", "an xz file", _UNPACK),
)
_CONTROL = re.compile(rb"[\x01-\x08\x0e-\x1f\x7f]")
_WORD = re.compile(rb"[A-Za-z\x80-\xff]{4,}")


@dataclass(frozen=True)
class Survey:
    """Properties of a file's bytes."""

    encoding: str  # Python's name
    guessed: bool  # an assumption that deserves a sentence
    sample: str  # the first characters, whole lines
    quotes: int
    lines: int  # line ends
    size: int  # bytes after decompression


def open_bytes(path: Path) -> IO[bytes]:
    """Open a file for reading, through gzip where its first bytes are gzip's."""
    with path.open("rb") as handle:
        packed = handle.read(2) == b"\x1f\x8b"
    return cast("IO[bytes]", gzip.open(path, "rb")) if packed else path.open("rb")


class DamagedError(SourceError):
    """A packed file cannot be unpacked: it was cut short, or is still written."""


def survey(path: Path, max_bytes: int, encoding: str | None = None) -> Survey:
    """Read `path` once and return what its bytes show; refuse what is no text in `encoding`."""
    try:
        stat = path.stat()
        return _known(path, max_bytes, encoding, (stat.st_size, stat.st_mtime_ns))
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DamagedError(
            f"{path.name}: the gzip file is damaged ({error}).",
            "It may be cut short: fetch or write it again.",
        ) from None
    except OSError as error:
        raise SourceError(f"{path.name}: cannot be read ({error.strerror or error}).") from None


@lru_cache(maxsize=128)
def _known(path: Path, max_bytes: int, encoding: str | None, _version: tuple[int, int]) -> Survey:
    # Names, rows and a later look at the same file share one pass over it.
    with open_bytes(path) as handle:
        return _survey(handle, path, max_bytes, encoding)


def _survey(handle: IO[bytes], path: Path, max_bytes: int, encoding: str | None) -> Survey:
    head = handle.read(SAMPLE)
    _refuse_foreign(head, path)
    encoding = next((name for mark, name in _BOMS if head.startswith(mark)), encoding)
    guessed = False
    plain = (encoding or "").replace("_", "-").lower()
    counts = _Counts(path, max_bytes, nul_allowed=plain.startswith(("utf-16", "utf-32")))
    chunk, valid_utf8, odd = head, Utf8Check(), b""
    while chunk:
        counts.add(chunk)
        if not valid_utf8.add(chunk) and len(odd) < SAMPLE:
            odd += b"\n".join(line for line in chunk.splitlines() if not line.isascii())[:SAMPLE]
        chunk = handle.read(CHUNK)
    if encoding is None:
        encoding, guessed = ("utf-8", False) if valid_utf8.close() else _guess(odd or head)
    return Survey(
        encoding, guessed, _decode(head, encoding, path), counts.quotes, counts.lines, counts.size
    )


class Utf8Check:
    """Whether bytes that come in chunks are UTF-8."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self.valid = True

    def add(self, chunk: bytes) -> bool:
        """Take the next bytes; return whether all is valid so far."""
        # Plain ASCII needs no decoding unless a character of the last chunk is unfinished.
        if self.valid and not (chunk.isascii() and not self._decoder.getstate()[0]):
            try:
                self._decoder.decode(chunk)
            except UnicodeDecodeError:
                self.valid = False
        return self.valid

    def close(self) -> bool:
        """Return whether the whole was valid, its end included."""
        return self.valid and not self._decoder.getstate()[0]


class _Counts:
    """Running totals, with the limits that stop the reading."""

    def __init__(self, path: Path, max_bytes: int, *, nul_allowed: bool) -> None:
        self.path, self.max_bytes, self.nul_allowed = path, max_bytes, nul_allowed
        self.packed = path.stat().st_size
        self.size = self.quotes = self.lines = 0

    def add(self, chunk: bytes) -> None:
        if not self.nul_allowed and (at := chunk.find(b"\0")) >= 0:
            line = self.lines + chunk.count(b"\n", 0, at) + 1
            raise SourceError(
                f"{self.path.name}, line {line}: a NUL byte; CSV is text.",
                "Save it as UTF-8 text, or state source.encoding (utf-16 holds NUL bytes).",
            )
        self.size += len(chunk)
        self.quotes += chunk.count(b'"')
        self.lines += chunk.count(b"\n") or chunk.count(b"\r")
        if self.size > self.max_bytes:
            raise SourceError(
                f"{self.path.name}: more than {self.max_bytes:,} bytes once read, "
                "which is what source.max_bytes allows.",
                "Raise source.max_bytes, or split the file.",
            )
        for size, ratio in RATIOS:
            if self.size > max(size, ratio * self.packed):
                raise SourceError(
                    f"{self.path.name}: unpacks to more than {ratio} times its size, "
                    f"{self.size:,} bytes so far.",
                    "If that is meant, unpack it yourself and name the unpacked file.",
                )


def _refuse_foreign(head: bytes, path: Path) -> None:
    if not head.strip(b"\xef\xbb\xbf \t\r\n"):
        raise SourceError(
            f"{path.name}: the file is empty.",
            "Wait until it is written, remove it, or name a file with a header line.",
        )
    for magic, what, remedy in _MAGIC:
        if head.startswith(magic):
            raise SourceError(f"{path.name}: this is {what}, not CSV.", remedy)
    strange = _CONTROL.findall(head)
    if len(strange) > len(head) / 100:
        first = head.index(strange[0])
        line = head.count(b"\n", 0, first) + 1
        raise SourceError(
            f"{path.name}, line {line}: binary data (byte 0x{head[first]:02X}), not text.",
            "Name a text file of comma-separated values.",
        )


def _guess(data: bytes) -> tuple[str, bool]:
    # Words of western languages hold few bytes above 127. Where most of a word's bytes are, the
    # script is another one, which charset_normalizer identifies.
    letters = b"".join([w for w in _WORD.findall(data) if not w.isascii()][:5000])
    if sum(byte > 127 for byte in letters) > 0.5 * len(letters):
        best = charset_normalizer.from_bytes(data[:200_000]).best()
        if best is not None:
            return best.encoding, True
    try:
        data.decode("cp1252")
    except UnicodeDecodeError:
        return "latin-1", True
    return "cp1252", True


def _decode(head: bytes, encoding: str, path: Path) -> str:
    try:
        "".encode(encoding)
        text = head.decode(encoding, errors="replace")
    except LookupError:
        raise SourceError(
            f"source.encoding: no encoding is called {encoding!r}.",
            "Use utf-8, latin-1, cp1252 or another name of Python's.",
        ) from None
    except UnicodeError as error:
        raise SourceError(f"{path.name}: not text in {encoding} ({error}).") from None
    whole = len(head) < SAMPLE and len(text) <= _SAMPLE_KEPT
    text = text[:_SAMPLE_KEPT]
    if not whole and "\n" in text:
        text = text[: text.rindex("\n") + 1]
    return text


def detect_delimiter(sample: str) -> str:
    r"""Return the delimiter under which the lines of `sample` agree best.

    >>> detect_delimiter("a;b\n1,5;2\n2,5;3\n")
    ';'
    """
    stated = stated_separator(sample)
    if stated is not None:
        return stated
    rests = {d: below(sample, find_preamble(sample, d).lines) for d in DELIMITERS}
    scored = [(_agreement(rests[d], d), -rank, d) for rank, d in enumerate(DELIMITERS)]
    best = max(scored)
    return best[2] if best[0][1] > 1 else NO_DELIMITER


def _agreement(sample: str, delimiter: str) -> tuple[float, int]:
    """Return how far the lines agree (0 to 1.5) and in how many fields."""
    reader = csv.reader(io.StringIO(sample[:200_000], newline=""), delimiter=delimiter)
    try:
        rows = list(islice(filter(None, reader), 200))
    except csv.Error:
        return (0.0, 0)
    if not rows:
        return (0.0, 0)
    fields, often = Counter(map(len, rows)).most_common(1)[0]
    if fields == 1 or _divides_otherwise(rows[0], delimiter):
        return (0.0, 0)
    return (round(often / len(rows), 1) + (0.5 if len(rows[0]) == fields else 0.0), fields)


def _divides_otherwise(header: list[str], delimiter: str) -> bool:
    """Return whether all names stand in the first field, divided by another sign."""
    others = [sign for sign in DELIMITERS if sign != delimiter and sign in header[0]]
    return len(header) > 1 and bool(others) and not any(name.strip() for name in header[1:])


def header_of(sample: str, delimiter: str) -> tuple[int, list[str]]:
    """Return the fields of the first line that is not blank, and how many lines are above it."""
    csv.field_size_limit(MAX_FIELD)
    reader, above = csv.reader(io.StringIO(sample, newline=""), delimiter=delimiter), 0
    for row in reader:
        if row and (len(row) > 1 or row[0].strip()):
            return above, row
        above = reader.line_num
    return above, []
