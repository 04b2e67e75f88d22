"""The account of this machine at the other end of a connection over loopback."""

from __future__ import annotations

import ipaddress
import os
import socket
import struct

from starlette.types import Scope

_ROOT = 0
_SOCK_DIAG, _BY_FAMILY, _REQUEST, _ANY = 4, 20, 1, 0xFFFFFFFF
_HEADER = struct.Struct("=IHHII")
_UID_AT = _HEADER.size + 4 + 48 + 12
_MOST_BYTES = 8_192


def is_of_this_user(scope: Scope) -> bool:
    """Return whether the request comes from a process of this account, or of root's."""
    # False as well where the kernel does not report it.
    return account_of(scope) in {_ROOT, os.getuid()}


def account_of(scope: Scope) -> int | None:
    """Return the user id at the other end of a request; None where it is unknown."""
    client, server = scope.get("client"), scope.get("server")
    if not client or not server or not server[1]:
        return None
    try:
        return owner_of((client[0], client[1]), (server[0], server[1]))
    except (OSError, ValueError, struct.error):
        return None


def owner_of(client: tuple[str, int], server: tuple[str, int]) -> int | None:
    """Return the user id that owns the socket at `client` of a connection to `server`."""
    # None where there is no such connection, or no process holds that end any more: whoever asked
    # and closed at once would pass for root. The kernel looks up this one (sock_diag(7)):
    # `/proc/net/tcp` would list every connection of the last minute.
    family = socket.AF_INET6 if ":" in client[0] else socket.AF_INET
    ends = b"".join(
        ipaddress.ip_address(host).packed.ljust(16, b"\0") for host, _ in (client, server)
    )
    ports = struct.pack("!HH", client[1], server[1])
    request = struct.pack("=BBBBI", family, socket.IPPROTO_TCP, 0, 0, _ANY) + ports + ends
    request += struct.pack("=III", 0, _ANY, _ANY)
    header = _HEADER.pack(_HEADER.size + len(request), _BY_FAMILY, _REQUEST, 1, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _SOCK_DIAG) as kernel:
        kernel.send(header + request)
        answer = kernel.recv(_MOST_BYTES)
    if _HEADER.unpack_from(answer)[1] != _BY_FAMILY:
        return None
    owner, inode = struct.unpack_from("=II", answer, _UID_AT)
    return int(owner) if inode else None
