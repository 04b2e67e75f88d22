"""Rich consoles that escape unsafe text."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.markup import escape as without_markup
from rich.segment import Segment
from rich.text import Text

from tasks.base.text.terminal import visible

_WIDTH = 80


class SafeConsole(Console):
    """A console that escapes control characters and line breaks."""

    def render_str(self, text: str, **how: Any) -> Text:
        """Return safe text from a string."""
        return super().render_str(visible(text), **how)

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """Render text that was made elsewhere safely too; one that has to be changed is plain."""
        return super().render(
            safe(renderable) if isinstance(renderable, Text) else renderable, options
        )


def safe(text: Text) -> Text:
    """Return `text`, or where something in it steers a terminal a plain text that shows it."""
    shown = visible(text.plain)
    return text if shown == text.plain else Text(shown, text.style)


def results_console() -> Console:
    """Return the console of a command's results, on stdout, at most 100 columns wide."""
    console = SafeConsole(highlight=False, soft_wrap=False)
    console.width = min(console.width, 100) if console.is_terminal else _WIDTH
    return console


def escape(text: str) -> str:
    """Return `text` for a console, which then reads no markup in it."""
    return without_markup(visible(text))
