"""Columns of bytes: text, UUIDs, and numbers that a driver stored as they lay in memory."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from tasks.base.runtime.libraries import pa, pc

_CONTROL = r"[\x00-\x08\x0e-\x1f]"
_UUID_BYTES = 16
_UUID_TEXT = re.compile(rb"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


def text_of(column: Any) -> Any | None:
    """Return a binary column as strings; None where a cell is not UTF-8 or holds control signs."""
    try:
        texts = column.cast(pa.string())
    except pa.ArrowInvalid:
        return None
    return None if pc.any(pc.match_substring_regex(texts, _CONTROL)).as_py() else texts


def uuids_of(column: Any) -> Any:
    """Return a column of UUIDs, 16 bytes or their text, in their usual text form."""
    return pa.chunked_array(
        [[None if b is None else _uuid(b) for b in c.to_pylist()] for c in column.chunks],
        pa.string(),
    )


def _uuid(cell: bytes) -> str:
    if len(cell) != _UUID_BYTES:
        return cell.decode("ascii").lower()
    digits = cell.hex()
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def look_like_uuids(column: Any) -> bool:
    """Return whether all cells have 16 bytes with a UUID's version and variant (RFC 9562, 4)."""
    # The nil and the max UUID, which have neither, may stand among others. Where some files hold
    # UUIDs as text, the 16 bytes of the others need no version.
    cells = column.drop_null()
    lengths = pc.binary_length(cells)
    of_uuids = pa.array([_UUID_BYTES, 36], pa.int32())
    if not len(cells) or not pc.all(pc.is_in(lengths, value_set=of_uuids)).as_py():
        return False
    texts = cells.filter(pc.not_equal(lengths, _UUID_BYTES)).to_pylist()
    if texts:
        return all(map(_UUID_TEXT.fullmatch, texts))
    digits = [cell.hex() for cell in cells[:1000].to_pylist()]
    versioned = [d for d in digits if set(d) not in ({"0"}, {"f"})]
    return bool(versioned) and all(d[12] in "12345678" and d[16] in "89ab" for d in versioned)


def numbers_of(cells: Sequence[Any]) -> tuple[list[Any], str] | None:
    r"""Return bytes among `cells` as the numbers they are, and of which type; None otherwise.

    NumPy's integers, booleans and 32-bit floats reach a database that has no type for them as
    their bytes in memory. Bytes are taken for whole numbers where all have one width and none
    uses its highest byte, which the bytes of text, digests or pictures do.
    >>> numbers_of([b"\x04\0\0\0\0\0\0\0", None, 7])
    ([4, None, 7], '64-bit integers')
    """
    raw = [bytes(cell) for cell in cells if isinstance(cell, bytes | bytearray | memoryview)]
    widths = {len(cell) for cell in raw}
    if len(widths) != 1 or not widths <= {1, 2, 4, 8}:
        return None
    width = widths.pop()
    found: Sequence[float] | None = _integers(raw, width)
    name = f"{8 * width}-bit integers"
    if found is None and width == np.dtype(np.float32).itemsize:
        found, name = _floats(raw), "32-bit floats"
    if found is None:
        return None
    numbers = dict(zip(raw, found, strict=True))
    return [
        numbers[bytes(cell)] if isinstance(cell, bytes | bytearray | memoryview) else cell
        for cell in cells
    ], name


def _integers(raw: list[bytes], width: int) -> list[int] | None:
    values = np.frombuffer(b"".join(raw), f"<i{width}")
    most = 2 ** (8 * width - 9) if width > 1 else 1
    return values.tolist() if bool((np.abs(values.astype(np.int64)) <= most).all()) else None


def _floats(raw: list[bytes]) -> list[float] | None:
    values = np.frombuffer(b"".join(raw), "<f4")
    size = np.abs(values.astype(np.float64))
    usual = (size == 0) | ((size > 1e-6) & (size < 1e9))
    return values.tolist() if bool(usual.all()) else None
