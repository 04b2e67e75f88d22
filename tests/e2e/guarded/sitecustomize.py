"""Watches every Python process that finds this folder on PYTHONPATH: nothing leaves the machine.

Writes a line for each process, one for each address that it binds a socket to, and one for each
connection or lookup of a name that would leave this machine, which is refused.
"""

import os
import socket
import sys

_FILE = os.environ.get("KEEPFIT_TEST_GUARD", "")
_LOCAL = {"", "localhost", "ip6-localhost", "::1", "0.0.0.0", "::", socket.gethostname()}  # noqa: S104


def _note(*words):
    line = " ".join(str(word).replace("\n", " ") for word in (os.getpid(), *words))
    descriptor = os.open(_FILE, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(descriptor, f"{line}\n".encode("utf-8", "replace"))
    os.close(descriptor)


def _is_local(host):
    name = host.decode("latin-1") if isinstance(host, bytes) else str(host or "")
    return name in _LOCAL or name.startswith(("127.", "::ffff:127."))


def _watch(event, args):
    if event in ("socket.connect", "socket.sendto", "socket.sendmsg"):
        one, address = args[0], args[1]
        if one.family in (socket.AF_INET, socket.AF_INET6) and address:
            _refuse(event, address[0])
    elif event == "socket.bind":
        one, address = args
        place = address[0] if isinstance(address, tuple) else str(address).rpartition("/")[2]
        module = sys.argv[0].rpartition("/")[2]
        _note("bound", one.family.name, place, module, *sys.argv[1:2])
    elif event in ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr"):
        _refuse(event, args[0])


def _refuse(event, host):
    if not _is_local(host):
        _note("left", event, host)
        raise OSError(f"the guard refuses {event} of {host}")


if _FILE:
    _note("began")
    os.register_at_fork(after_in_child=lambda: _note("began"))
    sys.addaudithook(_watch)
