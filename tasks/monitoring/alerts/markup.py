"""Text for messages: hostile names made harmless, one draft rendered as plain text and Markdown."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit, urlunsplit

TITLE_LENGTH = 80
_OPEN, _CLOSE = "\x02", "\x03"  # around what is shown as code; no cleaned text holds them
_MARKS = re.compile(r"([\\`*_\[\]~|])")
_INERT = str.maketrans({"<": "‹", ">": "›", "`": "'"})
_GAP = "\u200b"  # keeps a name from becoming a mention or an address


def cleaned(text: object, most: int = 300) -> str:
    """Return `text` on one line, cut to `most` characters, with nothing that a channel acts on.

    >>> cleaned("dest <!channel>")
    'dest ‹!channel›'
    >>> cleaned("a long name", 6)
    'a lon…'
    """
    kept = "".join(
        c if unicodedata.category(c)[0] != "C" else " " if c.isspace() else "" for c in str(text)
    )
    line = " ".join(kept.split()).translate(_INERT)
    if len(line) > most:
        line = line[: most - 1] + "…"
    return line.replace("@", f"@{_GAP}").replace("://", f":{_GAP}//")


def code(text: object, most: int = 60) -> str:
    """Return a name or a command, cleaned and marked to be shown as code."""
    return f"{_OPEN}{cleaned(text, most) or '(no name)'}{_CLOSE}"


def listed(items: Sequence[str]) -> str:
    """Return `items` as lines of a list."""
    return "".join(f"\n- {item}" for item in items)


def title(pipeline: str, rest: str) -> str:
    """Return a title of at most 80 characters; a long name gives way first.

    >>> title("flights", "training failed")
    'flights: training failed'
    """
    rest = cleaned(rest, TITLE_LENGTH - 10)
    if len(rest) > TITLE_LENGTH - 10:
        # What keeps a mention from acting makes it longer.
        rest = f"{rest[: TITLE_LENGTH - 11]}…"
    room = TITLE_LENGTH - len(rest) - 2
    return f"{cleaned(pipeline, room)}: {rest}"


def as_text(parts: Sequence[tuple[str, str]], links: Mapping[str, str]) -> str:
    """Return the labelled `parts` and the `links` as plain text, a paragraph each."""
    lines = [f"{label}: {content}" for label, content in parts]
    lines += [f"{cleaned(name, 30)}: {address}" for name, address in _opened(links)]
    return "\n".join(lines).replace(_OPEN, "`").replace(_CLOSE, "`")


def as_markdown(parts: Sequence[tuple[str, str]], links: Mapping[str, str]) -> str:
    """Return the labelled `parts` and the `links` as Markdown; only keepfit's own marks act."""
    lines = [f"**{label}** {_escaped(content)}" for label, content in parts]
    opened = [
        f"[{_escaped(cleaned(name, 30))}]({address})"
        if address.startswith("http")
        else f"{_escaped(cleaned(name, 30))}: `{address}`"
        for name, address in _opened(links)
    ]
    return "\n\n".join([*lines, " · ".join(opened)] if opened else lines)


def _escaped(content: str) -> str:
    """Escape what Markdown acts on, outside what is shown as code."""
    pieces = re.split(f"{_OPEN}(.*?){_CLOSE}", content)
    return "".join(
        f"`{piece}`" if i % 2 else _MARKS.sub(r"\\\1", piece) for i, piece in enumerate(pieces)
    )


def _opened(links: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return the links to show: pages without credentials, and files."""
    found = []
    for name, target in links.items():
        address = "".join(c for c in target if c.isprintable() and c not in "`<>\"'\\")[:500]
        if address.startswith(("http://", "https://")):
            found.append((name, _without_user(address)))
        elif address and "://" not in address:
            found.append((name, address))
    return found


def _without_user(address: str) -> str:
    try:
        parts = urlsplit(address)
    except ValueError:
        return ""
    plain = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
    return plain.replace(" ", "%20").replace("(", "%28").replace(")", "%29")
