"""Keys that sign versions and keys that are trusted, kept outside of every store.

A private key is a seed of 32 bytes, a public key its Ed25519 point; both are written as 64 hex
digits. The signing key is that of ``KEEPFIT_SIGNING_KEY``, by which several hosts share one, else
the one in the configuration folder, which is made when it is first needed. Trusted are its public
key and those in the file `trusted_keys` and in ``KEEPFIT_TRUSTED_KEYS``.

References
----------
Josefsson and Liusvaara (2017), RFC 8032, Edwards-Curve Digital Signature Algorithm.
"""

from __future__ import annotations

import os
import re
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from tasks.base.errors import ConfigError, InfrastructureError
from tasks.base.runtime.files import private_folder, require_trusted, write_whole
from tasks.base.runtime.locks import locked

SIGNING_VARIABLE = "KEEPFIT_SIGNING_KEY"
TRUSTED_VARIABLE = "KEEPFIT_TRUSTED_KEYS"
KEY_FILE, TRUSTED_FILE = "signing_key", "trusted_keys"
_HEX = re.compile(r"[0-9a-f]{64}")


def configuration_folder() -> Path:
    """Return the folder of a user's keys: ``$XDG_CONFIG_HOME/keepfit``, or below ``~/.config``."""
    stated = os.environ.get("XDG_CONFIG_HOME", "")
    base = Path(stated) if Path(stated).is_absolute() else Path.home() / ".config"
    return base / "keepfit"


def sign(message: bytes) -> tuple[str, bytes]:
    """Return the public key of this host, which is made if there is none, and its signature."""
    private = _private(_seed() or _make_seed())
    return _public(private), private.sign(message)


def is_signed(message: bytes, key: str, signature: bytes) -> bool:
    """Return whether `signature` is that of `message` by the public key `key`."""
    try:
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(key)).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def own_key() -> str | None:
    """Return the public key that this host signs by; None before there is one."""
    seed = _seed()
    return None if seed is None else _public(_private(seed))


def trusted_keys() -> frozenset[str]:
    """Return the public keys that a signature may be of."""
    stated = os.environ.get(TRUSTED_VARIABLE, "").replace(",", " ").split()
    kept = {*map(_key_in, _trusted_lines())} - {""}
    for key in (*stated, *kept):
        _check(key, f"{TRUSTED_VARIABLE} or {_path(TRUSTED_FILE)}")
    own = own_key()
    return frozenset({*stated, *kept, *([own] if own else [])})


def trust(key: str) -> None:
    """Trust the public key of another host; raises ConfigError when it is no public key."""
    _check(key, "a public key")
    with _alone():
        _trust(key)


def _trust(key: str) -> None:
    lines = _trusted_lines()
    if key not in map(_key_in, lines):
        _write(TRUSTED_FILE, "\n".join([*lines, key]) + "\n")


def distrust(key: str) -> bool:
    """Trust a public key no longer; return whether the file named it."""
    with _alone():
        lines = _trusted_lines()
        kept = [line for line in lines if _key_in(line) != key]
        if len(kept) != len(lines):
            _write(TRUSTED_FILE, "".join(f"{line}\n" for line in kept))
    return len(kept) != len(lines)


def rotate() -> tuple[str | None, str]:
    """Sign by a new key unless the environment states one; return the former and the new one."""
    if os.environ.get(SIGNING_VARIABLE):
        raise ConfigError(
            f"{SIGNING_VARIABLE} names the signing key, so it is not this host's to change.",
            f"Name the former public key in {TRUSTED_VARIABLE}, set {SIGNING_VARIABLE} to what "
            "`openssl rand -hex 32` prints, and sign again with `keepfit keys sign all`.",
        )
    with _alone():
        try:
            former = own_key()
        except ConfigError:  # others can read it, or it is none: trusted no longer
            former = None
        if former is not None:
            _trust(former)
        return former, _public(_private(_new_seed()))


def where() -> str:
    """Return where the signing key is, for people."""
    return SIGNING_VARIABLE if os.environ.get(SIGNING_VARIABLE) else str(_path(KEY_FILE))


def _seed() -> str | None:
    stated = os.environ.get(SIGNING_VARIABLE, "").strip()
    if stated:
        if not _HEX.fullmatch(stated):
            # Its value is a secret and is not repeated.
            raise ConfigError(
                f"{SIGNING_VARIABLE} must be 64 hex digits in lower case.",
                "Make one with `openssl rand -hex 32`.",
            )
        return stated
    path = _path(KEY_FILE)
    try:
        with path.open(encoding="ascii") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            text = file.read(200).strip()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        raise InfrastructureError(f"{path}: the signing key cannot be read ({error}).") from None
    if mode & 0o077:
        raise ConfigError(
            f"{path}: others may read or write the signing key (mode {mode:04o}).",
            f"If nobody did: `chmod 600 {path}`. Else `keepfit keys rotate` and sign again.",
        )
    if not _HEX.fullmatch(text):
        raise ConfigError(f"{path} holds no signing key.", "Restore it, or `keepfit keys rotate`.")
    return text


def _make_seed() -> str:
    with _alone():
        return _seed() or _new_seed()


def _new_seed() -> str:
    seed = secrets.token_hex(32)
    _write(KEY_FILE, seed + "\n")
    return seed


def _write(name: str, text: str) -> None:
    with _writing():
        private_folder(configuration_folder())
        write_whole(_path(name), text)


@contextmanager
def _alone() -> Iterator[None]:
    """Let no other process make a key meanwhile."""
    with _writing():
        private_folder(configuration_folder())
        descriptor = os.open(_path("keys.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    os.close(descriptor)
    with locked(_path("keys.lock")):
        yield


@contextmanager
def _writing() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InfrastructureError(
            f"{configuration_folder()}: the signing key cannot be kept there ({error.strerror}).",
            f"Set {SIGNING_VARIABLE}, or XDG_CONFIG_HOME to a folder of yours.",
        ) from None


def _trusted_lines() -> list[str]:
    path = _trusted(_path(TRUSTED_FILE))
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except (FileNotFoundError, NotADirectoryError):
        return []
    except (OSError, UnicodeDecodeError) as error:
        raise InfrastructureError(
            f"{path}: the trusted keys cannot be read ({error}).",
            "It is a text file with a key a line: restore it, or remove it and trust them again.",
        ) from None


def _key_in(line: str) -> str:
    """Return the key of a line of the trusted ones; what follows # is for people."""
    return line.partition("#")[0].strip()


def _path(name: str) -> Path:
    return _trusted(configuration_folder()) / name


def _trusted(path: Path) -> Path:
    """Return the path of what nobody else can write: neither a group of this account."""
    require_trusted(path, "set XDG_CONFIG_HOME to a folder of yours", others=0o022)
    return path


def _check(key: str, named: str) -> None:
    if not _HEX.fullmatch(key):
        raise ConfigError(
            f"{named}: {key[:80]!r} is no public key: it must be 64 hex digits in lower case.",
            "`keepfit keys` shows that of a host.",
        )


def _private(seed: str) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(bytes.fromhex(seed))


def _public(private: Ed25519PrivateKey) -> str:
    return private.public_key().public_bytes_raw().hex()
