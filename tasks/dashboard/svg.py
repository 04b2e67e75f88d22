"""Elements of SVG as escaped text, and the scales that place them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import floor, isfinite, log10

from markupsafe import Markup, escape

from tasks.base.text.phrases import shortened


def element(name: str, *inside: str, **attributes: str | float | None) -> Markup:
    """Return an element; every text in it and every attribute is escaped.

    >>> element("text", "a < b", x=1.25, class_="tick")
    Markup('<text x="1.2" class="tick">a &lt; b</text>')
    """
    given = {k.rstrip("_").replace("_", "-"): v for k, v in attributes.items() if v is not None}
    written = "".join(f' {k}="{escape(_plain(v))}"' for k, v in given.items())
    body = "".join(escape(part) for part in inside)
    return Markup(f"<{name}{written}>{body}</{name}>")  # noqa: S704 - all parts are escaped


def _plain(value: str | float) -> str:
    if isinstance(value, str):
        return value
    return f"{value:.1f}".removesuffix(".0")


def path(points: Sequence[tuple[float, float]]) -> str:
    """Return the commands of a line through `points`.

    >>> path([(0, 1), (2.5, 3)])
    'M0 1L2.5 3'
    """
    return "".join(
        f"{'L' if place else 'M'}{_plain(float(x))} {_plain(float(y))}"
        for place, (x, y) in enumerate(points)
    )


@dataclass(frozen=True)
class Scale:
    """A straight scale from values to places; `top` is where `high` lies."""

    low: float
    high: float
    bottom: float
    top: float

    def __call__(self, value: float) -> float:
        """Return the place of `value`, kept inside."""
        share = (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)
        return self.bottom + share * (self.top - self.bottom)


def fitted(values: Sequence[float], bottom: float, top: float) -> Scale:
    """Return a scale that holds the finite ones of `values` with some room."""
    known = [v for v in values if isfinite(v)]
    low, high = (min(known), max(known)) if known else (0.0, 1.0)
    room = 0.08 * (high - low) or 0.05 * abs(high) or 0.5
    return Scale(low - room, high + room, bottom, top)


def ticks(scale: Scale, most: int = 4) -> tuple[float, ...]:
    """Return round values inside the scale.

    >>> ticks(Scale(0.63, 0.72, 100, 0))
    (0.65, 0.675, 0.7)
    """
    rough = (scale.high - scale.low) / most
    power = 10.0 ** floor(log10(rough))
    step = next(power * m for m in (1, 2, 2.5, 5, 10) if power * m >= rough * 0.999)
    first = floor(scale.low / step)
    placed = (step * (first + k) for k in range(2 * most + 3))
    slack = 1e-9 * step
    digits = max(0, 2 - floor(log10(step)))
    return tuple(round(v, digits) for v in placed if scale.low - slack <= v <= scale.high + slack)


def fitting(text: str, room: float) -> str:
    """Return `text` on one line, shortened in the middle so that it fits into `room` units.

    Widths are those of a wide sans serif of 12 units, so that narrower fonts fit too.

    >>> fitting("temperature", 106), fitting("WINDOW_AVERAGE_MAX", 106)
    ('temperature', 'WINDO…E_MAX')
    """
    line = shortened(text, 200)
    most = len(line)
    while most > 1 and sum(map(_width, line)) > room:
        most -= 1
        line = shortened(text, most)
    return line


def _width(letter: str) -> float:
    if letter in "ijlI.,:;|!'ft()[] ":
        return 4.9
    if letter in "mwMW@%" or ord(letter) > 0x2E80:
        return 12.0
    return 9.0 if letter.isupper() else 7.7
