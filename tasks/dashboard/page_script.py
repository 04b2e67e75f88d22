"""The one script of keepfit's page, which shows how old the page is; allowed by its hash."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from pathlib import Path

_FILE = Path(__file__).parent / "templates" / "age.js"


@cache
def page_script() -> str:
    """Return the script; no value of any kind is put into it."""
    return _FILE.read_text(encoding="utf-8")


def script_source() -> str:
    """Return the content security policy that allows this script and no other."""
    digest = hashlib.sha256(page_script().encode("utf-8")).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"
