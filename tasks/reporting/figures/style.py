"""The look of the figures, and how they become SVG.

Figures are drawn once, on nothing, in one dark ink. In a page the ink becomes ``currentColor``, so
that its light or dark text colour shows through; a file of its own is dark on white.
"""

from __future__ import annotations

import io
import re
import threading
import warnings
from html import escape
from typing import Any

from tasks.base.runtime.libraries import mpl
from tasks.base.text.phrases import one_line, shortened

LIBRARIES = ("matplotlib.figure", "matplotlib.backends.backend_svg")
"""Modules that drawing imports."""
INK = "#1b1f24"
# Legible on white and on near black; distinct to the colour-blind (after Okabe and Ito 2008).
BLUE, ORANGE, GREEN, PURPLE, GREY = "#2f7fc8", "#d9660a", "#0f9d76", "#a56cc9", "#8a8f98"
COLOURS = (BLUE, ORANGE, GREEN, PURPLE, "#c0708f", "#b58900")
LONGEST = 26
_SIZE = 9
_LONG_NAME = 34

# Settings of matplotlib hold for the whole process while it writes.
_WRITING = threading.Lock()


def plain(text: object, longest: int = LONGEST) -> str:
    """Return `text` as a label: one line, shortened in the middle, no mathematics.

    >>> plain("a" * 40, 9)
    'aaaa…aaaa'
    """
    return shortened(str(text), longest).replace("$", r"\$")


def compact(value: float, _place: int | None = None) -> str:
    """Return a tick's label, short.

    >>> compact(0.25), compact(150_000.0), compact(-2_500_000.0)
    ('0.25', '150k', '-2.5M')
    """
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if size <= abs(value) < 1e12:
            return f"{value / (1e3 if unit == 'k' else size):g}{unit}"
    return f"{value:.6g}"


def canvas(width: float = 4.4, height: float = 3.3) -> tuple[mpl.figure.Figure, mpl.axes.Axes]:
    """Return an empty figure with one set of axes; width and height in inches."""
    figure, (axes,) = panels(1, 1, height, width=width)
    axes.tick_params(labelsize=_SIZE)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(mpl.ticker.FuncFormatter(compact))
        axis.set_major_locator(mpl.ticker.MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]))
    return figure, axes


def panels(
    count: int, across: int, height: float, *, width: float = 4.4
) -> tuple[mpl.figure.Figure, list[mpl.axes.Axes]]:
    """Return an empty figure of some size with small sets of axes, `across` in a row."""
    figure = mpl.figure.Figure(figsize=(width, height), layout="constrained", facecolor="none")
    made = []
    for place in range(count):
        axes = figure.add_subplot(-(-count // across), across, place + 1, facecolor="none")
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
        for side in ("left", "bottom"):
            axes.spines[side].set(color=INK, alpha=0.5, linewidth=0.8)
        axes.tick_params(colors=INK, labelsize=8, length=3, width=0.8)
        axes.yaxis.set_major_locator(mpl.ticker.MaxNLocator(4))
        axes.set_axisbelow(True)
        made.append(axes)
    return figure, made


def grid(axes: mpl.axes.Axes, which: Any = "both") -> None:
    """Draw faint lines at the ticks of `which` axis."""
    axes.grid(visible=True, axis=which, color=INK, alpha=0.14, linewidth=0.8)


def name_axes(axes: mpl.axes.Axes, x: str = "", y: str = "") -> None:
    """Name the axes."""
    # A long name starts below the labels of the rows instead of leaving the figure.
    axes.set_xlabel(x, color=INK, fontsize=_SIZE, loc="right" if len(x) > _LONG_NAME else "center")
    axes.set_ylabel(y, color=INK, fontsize=_SIZE)


def legend(axes: mpl.axes.Axes, **where: Any) -> None:
    """Draw a legend without a frame."""
    axes.legend(fontsize=_SIZE - 1, labelcolor=INK, frameon=False, handlelength=1.4, **where)


def to_svg(figure: mpl.figure.Figure, name: str, title: str) -> str:
    """Return the figure as an SVG element with an id unique in its page and a text alternative."""
    raw = _written(figure, name)
    body = raw[raw.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    body = re.sub(r"<style type=\"text/css\">.*?</style>", "", body, flags=re.DOTALL)
    body = re.sub(r"<!--.*?-->", "", body, flags=re.DOTALL)
    for wordy in (r'<g id="[^"]*"/>', r' transform="rotate\(-0 [^"]*"', r"font-family: [^;\"]*; "):
        body = re.sub(wordy, "", body)
    body = re.sub(r'<g id="[^"]*">', "<g>", body)
    body = re.sub(r"\n\s*", "\n", body).replace(INK, "currentColor")
    box = re.search(r'viewBox="[^"]*"', body)
    attributes = (
        'xmlns="http://www.w3.org/2000/svg"',
        'xmlns:xlink="http://www.w3.org/1999/xlink"',
        box[0] if box else "",
        'font-family="system-ui, sans-serif"',
        f'role="img" aria-label="{escape(one_line(title))}"',
    )
    return f"<svg {' '.join(attributes)}>" + body[body.index(">") + 1 :].strip()


def as_file(element: str) -> str:
    """Return an SVG element of a page as a file of its own: dark on white, 660 pixels wide."""
    box = re.search(r'viewBox="0 0 ([0-9.]+) ([0-9.]+)"', element)
    ratio = float(box[2]) / float(box[1]) if box else 1.0
    looks = f'width="660" height="{660 * ratio:.0f}" style="background: white; color: {INK}"'
    return element.replace("<svg ", f"<svg {looks} ", 1)


def _written(figure: mpl.figure.Figure, salt: str) -> str:
    target = io.StringIO()
    settings = mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": salt})
    with _WRITING, settings, warnings.catch_warnings():
        # A label in a script that the bundled font lacks is no fault of the figure.
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        warnings.filterwarnings("ignore", message="Matplotlib currently does not support")
        metadata = {"Date": None}
        figure.savefig(target, format="svg", metadata=metadata, transparent=True, dpi=150)
    return target.getvalue()
