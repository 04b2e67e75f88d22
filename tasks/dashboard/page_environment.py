"""Common look and escaping of the pages of this package."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from pathlib import Path

from jinja2 import Environment

from tasks.base.settings.evaluation import greater_is_better
from tasks.base.text import numbers as figures
from tasks.base.text import phrases
from tasks.base.text.commands import command
from tasks.dashboard.charts import is_settled, shown_value
from tasks.history.entries import performed
from tasks.policy.gain_sentences import gain_sentence
from tasks.reporting.report.page_environment import filled, page_environment
from tasks.reporting.report.report_rows import code

_TEMPLATES = Path(__file__).parent / "templates"


def render(template: str, **values: object) -> str:
    """Return a page: every value in it is escaped, an absent one is an error."""
    return filled(_environment(), template, **values)


@cache
def _environment() -> Environment:
    environment = page_environment(
        _TEMPLATES,
        "page.css",
        brief=phrases.brief,
        code=code,
        day=phrases.day,
        direction=_direction,
        harm=phrases.harm_words,
        elapsed=phrases.elapsed,
        metric=figures.metric_words,
        minute=phrases.minute,
        number=figures.number,
        performed=performed,
        gained=gain_sentence,
        settled=is_settled,
        shown_value=shown_value,
        plural=phrases.plural,
        share=phrases.share,
        size=figures.size,
        span=phrases.span,
        valued=phrases.valued,
    )
    environment.globals |= {"command": command, "unrecorded": phrases.UNRECORDED}
    return environment


def _direction(metric: str) -> str:
    return "higher is better" if greater_is_better(metric) else "lower is better"


_FILE = Path(__file__).parent / "templates" / "age.js"


@cache
def page_script() -> str:
    """Return the script; no value of any kind is put into it."""
    return _FILE.read_text(encoding="utf-8")


def script_source() -> str:
    """Return the content security policy that allows this script and no other."""
    digest = hashlib.sha256(page_script().encode("utf-8")).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"
