"""Ports for servers of tests that can only be told a number, and bind it later."""

from __future__ import annotations

import random
import socket

# The system gives none of these to a connection that another test makes meanwhile.
_PORTS = range(12_000, 30_000)
_CHOICE = random.SystemRandom()


def free_port() -> int:
    """Return a port of loopback on which nothing listens, and which nobody is given by chance."""
    while True:
        port = _CHOICE.choice(_PORTS)
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)):
                return port
