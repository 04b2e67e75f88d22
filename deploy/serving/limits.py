"""Limits of requests: the bytes of a body, and a client's request rate."""

from __future__ import annotations

import time
from collections import OrderedDict

from starlette.requests import Request

_CLIENTS = 10_000


class TooLargeError(Exception):
    """The body has more bytes than are read."""


async def body_of(request: Request, most: int) -> bytes:
    """Return the body of a request; TooLargeError, at most `most` bytes read, beyond them."""
    stated = request.headers.get("content-length", "")
    if stated.isdecimal() and int(stated) > most:
        raise TooLargeError
    parts: list[bytes] = []
    size = 0
    async for part in request.stream():
        size += len(part)
        if size > most:
            raise TooLargeError
        parts.append(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


class RateLimit:
    """A bucket of tokens per client: `rate` requests a second, two seconds' worth at most."""

    def __init__(self, rate: float | None) -> None:
        self._rate = rate
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def seconds_to_wait(self, client: str) -> float:
        """Take a token; return 0, or the seconds until there is one."""
        if self._rate is None:
            return 0.0
        most, now = max(1.0, 2 * self._rate), time.monotonic()
        left, since = self._buckets.pop(client, (most, now))
        left = min(most, left + (now - since) * self._rate)
        wait = 0.0 if left >= 1 else (1 - left) / self._rate
        self._buckets[client] = (left if wait else left - 1, now)
        if len(self._buckets) > _CLIENTS:
            self._buckets.popitem(last=False)
        return wait
