"""One picture a pipeline: performance over drift over columns, window by window."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from markupsafe import Markup

from tasks.base.monitoring_records import Performance
from tasks.base.text.numbers import metric_words
from tasks.base.text.phrases import day, plural, shortened, span, valued
from tasks.base.training_records import MetricValue
from tasks.dashboard.svg import Scale, element, fitted, fitting, path, ticks
from tasks.history.series import Mark, Point, finding, moving_columns, relative

_HEADING, _PERFORMANCE, _DRIFT, _ROW, _GAP, _FOOT = 20.0, 140.0, 84.0, 15.0, 30.0, 20.0
_HIGHEST_RATIO = 4.0


@dataclass(frozen=True)
class Layout:
    """Sizes of a picture, in its own units."""

    width: float
    left: float
    windows: int  # at most so many of the newest windows are drawn
    columns: int


WIDE = Layout(width=760.0, left=112.0, windows=60, columns=8)
NARROW = Layout(width=350.0, left=86.0, windows=26, columns=6)


@dataclass(frozen=True)
class _Sheet:
    layout: Layout
    shown: tuple[Point, ...]

    @property
    def step(self) -> float:
        return (self.layout.width - self.layout.left - 6) / max(len(self.shown), 4)

    def edge(self, place: float) -> float:
        return self.layout.left + place * self.step

    def middle(self, place: int) -> float:
        return self.edge(place + 0.5)


def story(
    points: Sequence[Point],
    marks: Sequence[Mark],
    layout: Layout,
    address: Callable[[Point], str | None],
) -> Markup:
    """Return the newest windows as an SVG element; `marks` of versions count all `points`."""
    skipped = max(0, len(points) - layout.windows)
    sheet = _Sheet(layout, tuple(points[skipped:]))
    columns = moving_columns(sheet.shown, layout.columns)
    top = _HEADING + 14
    drift_top = top + _PERFORMANCE + _GAP
    rows_top = drift_top + _DRIFT + _GAP
    bottom = rows_top + len(columns) * _ROW if columns else drift_top + _DRIFT
    parts = [
        *_versions(sheet, marks, skipped, top, bottom),
        *_performance(sheet, top),
        *_drift(sheet, drift_top),
        *_columns(sheet, columns, rows_top),
        *_dates(sheet, bottom),
        *_windows(sheet, top, bottom, address),
    ]
    height = bottom + _FOOT
    return element(
        "svg", *parts, viewBox=f"0 0 {layout.width:g} {height:g}", role="img",
        aria_label=_summary(sheet.shown), class_="story",
    )  # fmt: skip


def _summary(shown: Sequence[Point]) -> str:
    drifted = sum(bool(p.drift and p.drift.alarm) for p in shown)
    worse = sum(bool(p.performance and p.performance.worse) for p in shown)
    return (
        f"Performance and drift of {plural(len(shown), 'window')}: drift above its limit in "
        f"{drifted}, performance worse than the reference in {worse}."
    )


def _heading(text: str, y: float) -> Markup:
    return element("text", text, x=0, y=y, class_="heading")


def _versions(
    sheet: _Sheet, marks: Sequence[Mark], skipped: int, top: float, bottom: float
) -> list[Markup]:
    """Draw the moves of the alias as lines through all panels, the versions over them."""
    placed: dict[float, Mark] = {}
    for mark in marks:
        placed[float(max(0, mark.place - skipped))] = mark
    parts, free = [], 0.0
    for place, mark in sorted(placed.items()):
        x = sheet.edge(min(place, len(sheet.shown)))
        tone = "move back" if mark.back else "move"
        parts.append(element("path", d=path([(x, top - 16), (x, bottom)]), class_=tone))
        label = f"v{shortened(mark.version, 6)}" + (" ↩" if mark.back else "")
        ending = x > sheet.layout.width - 34
        if x >= free:
            parts.append(
                element(
                    "text", label, x=x - 4 if ending else x + 4, y=top - 8,
                    class_=tone, text_anchor="end" if ending else "start",
                )
            )  # fmt: skip
            free = x + 8 + 7 * len(label)
    return parts


def _axis(sheet: _Sheet, scale: Scale, values: Sequence[float]) -> list[Markup]:
    right = sheet.layout.width - 6
    parts = []
    for value in values:
        y = scale(value)
        parts.append(element("path", d=path([(sheet.layout.left, y), (right, y)]), class_="grid"))
        parts.append(
            element("text", f"{value:g}", x=sheet.layout.left - 6, y=y + 4, class_="tick",
                    text_anchor="end")
        )  # fmt: skip
    return parts


def _performance(sheet: _Sheet, top: float) -> list[Markup]:
    known = [(k, p.performance) for k, p in enumerate(sheet.shown) if p.performance is not None]
    name = metric_words(known[-1][1].metric) if known else "performance"
    parts = [_heading(name[:1].upper() + name[1:], _HEADING - 8)]
    values = [v for _, p in known for m in (p.reference, p.realised) for v in _numbers(m)]
    values += [v for _, p in known if not is_settled(p) for v in _numbers(p.estimated)]
    values += [p.limit for _, p in known if p.limit is not None]
    if not values:
        middle = (sheet.layout.left + sheet.layout.width) / 2
        nothing = element("text", "No performance known yet", x=middle, y=top + _PERFORMANCE / 2,
                          class_="heading", text_anchor="middle")  # fmt: skip
        return [*parts, nothing]
    scale = fitted(values, top + _PERFORMANCE, top)
    parts += _axis(sheet, scale, ticks(scale))
    for place, found in known:
        parts += _reference(sheet, place, found, scale)
    parts += _line(sheet, known, scale)
    for place, found in known:
        parts += _stated_point(sheet, place, found, scale)
    return parts


def is_settled(found: Performance) -> bool:
    """Return whether realised performance is known well enough to stand for the window."""
    return found.mature and found.realised is not None and found.realised.value is not None


def _numbers(metric: MetricValue | None) -> list[float]:
    if metric is None:
        return []
    return [v for v in (metric.value, metric.low, metric.high) if v is not None]


def _reference(sheet: _Sheet, place: int, found: Performance, scale: Scale) -> list[Markup]:
    numbers = _numbers(found.reference)
    if not numbers:
        return []
    x, width = sheet.edge(place), sheet.step + 0.3
    low, high = scale(min(numbers)), scale(max(numbers))
    y = scale(numbers[0])
    parts = [
        element("rect", x=x, y=high, width=width, height=max(low - high, 0.5), class_="band"),
        element("path", d=path([(x, y), (x + width, y)]), class_="reference"),
    ]
    if found.limit is not None:
        y = scale(found.limit)
        parts.append(element("path", d=path([(x, y), (x + width, y)]), class_="bound"))
    return parts


def _line(sheet: _Sheet, known: Sequence[tuple[int, Performance]], scale: Scale) -> list[Markup]:
    """Join neighbours of one version; a window between them that nobody looked at parts them."""
    parts = []
    for (a, first), (b, second) in pairwise(known):
        ends = [shown_value(first).value, shown_value(second).value]
        one, other = sheet.shown[a].window, sheet.shown[b].window
        adjoin = one is None or other is None or one.end >= other.start
        joined = adjoin and first.version == second.version
        if b - a == 1 and joined and None not in ends:
            y, z = (scale(v) for v in ends if v is not None)
            sure = is_settled(first) and is_settled(second)
            line = path([(sheet.middle(a), y), (sheet.middle(b), z)])
            parts.append(element("path", d=line, class_="join" if sure else "join guess"))
    return parts


def shown_value(found: Performance) -> MetricValue:
    """Return the value drawn for a window: realised where settled, else estimated."""
    value = found.realised if is_settled(found) else found.estimated or found.realised
    return value or MetricValue(value=None)


def _stated_point(sheet: _Sheet, place: int, found: Performance, scale: Scale) -> list[Markup]:
    value = shown_value(found)
    if value.value is None:
        return []
    x, y = sheet.middle(place), scale(value.value)
    tone = ("real" if is_settled(found) else "guess") + (" worse" if found.worse else "")
    parts = []
    if value.low is not None and value.high is not None:
        ends = path([(x, scale(value.low)), (x, scale(value.high))])
        parts.append(element("path", d=ends, class_=f"whisker {tone}"))
    size = 4.0 if sheet.step > 12 else 3.0
    if found.worse:
        parts.append(element("path", d=_diamond(x, y, size + 1.5), class_=f"point {tone}"))
    else:
        parts.append(element("circle", cx=x, cy=y, r=size, class_=f"point {tone}"))
    return parts


def _diamond(x: float, y: float, size: float) -> str:
    return path([(x, y - size), (x + size, y), (x, y + size), (x - size, y)]) + "Z"


def _drift(sheet: _Sheet, top: float) -> list[Markup]:
    parts = [_heading("Drift, as a multiple of its limit", top - 10)]
    ratios = [p.ratio for p in sheet.shown]
    highest = min(_HIGHEST_RATIO, max([1.5, *(r for r in ratios if r is not None)]))
    scale = Scale(0.0, highest * 1.05, top + _DRIFT, top)
    parts += _axis(sheet, scale, [v for v in (0.0, 1.0, 2.0, 3.0, 4.0) if v <= scale.high])
    for place, point in enumerate(sheet.shown):
        parts.append(_bar(sheet, place, point, scale))
    y = scale(1.0)
    line = path([(sheet.layout.left, y), (sheet.layout.width - 6, y)])
    return [*parts, element("path", d=line, class_="limit")]


def _bar(sheet: _Sheet, place: int, point: Point, scale: Scale) -> Markup:
    x, width = sheet.edge(place) + 0.15 * sheet.step, 0.7 * sheet.step
    middle = sheet.middle(place)
    if point.stopped:
        y, size = scale(0.0) - 8, min(4.5, 0.4 * sheet.step)
        cross = path([(middle - size, y - size), (middle + size, y + size)])
        cross += path([(middle - size, y + size), (middle + size, y - size)])
        return element("path", d=cross, class_="stopped")
    if point.ratio is None:
        return element("text", "?", x=middle, y=scale(0.0) - 4, class_="unjudged",
                       text_anchor="middle")  # fmt: skip
    y = scale(point.ratio)
    tone = "bar above" if point.drift and point.drift.alarm else "bar"
    return element("rect", x=x, y=y, width=width, height=max(scale(0.0) - y, 0.8), class_=tone)


def _columns(sheet: _Sheet, columns: Sequence[str], top: float) -> list[Markup]:
    if not columns:
        return []
    parts = [_heading("Columns that moved most", top - 10)]
    for row, column in enumerate(columns):
        y = top + row * _ROW
        parts.append(
            element("text", fitting(column, sheet.layout.left - 6), x=sheet.layout.left - 6,
                    y=y + 11, class_="tick", text_anchor="end")
        )  # fmt: skip
        for place, point in enumerate(sheet.shown):
            found = finding(point, column)
            if found is None:
                continue
            parts.append(
                element("rect", x=sheet.edge(place) + 0.5, y=y + 1, width=max(sheet.step - 1, 1),
                        height=_ROW - 2, class_=_heat(relative(found.statistic, found.threshold),
                                                      drifted=found.drifted))
            )  # fmt: skip
    return parts


def _heat(ratio: float | None, *, drifted: bool) -> str:
    if drifted:
        return "cell d2" if ratio is not None and ratio >= 2 else "cell d1"
    if ratio is None:
        return "cell h0"
    return f"cell h{min(3, int(ratio / 0.4) + 1)}"


def _dates(sheet: _Sheet, bottom: float) -> list[Markup]:
    if not sheet.shown:
        return []
    room = int((sheet.layout.width - sheet.layout.left) / 84)
    every = max(1, -(-len(sheet.shown) // max(1, room)))
    return [
        element("text", day(sheet.shown[place].starts), x=sheet.edge(place), y=bottom + 15,
                class_="tick")
        for place in range(0, len(sheet.shown), every)
        if sheet.edge(place) < sheet.layout.width - 66
    ]  # fmt: skip


def _windows(
    sheet: _Sheet, top: float, bottom: float, address: Callable[[Point], str | None]
) -> list[Markup]:
    """Lay a transparent strip over each window that shows its numbers and opens its page."""
    parts = []
    for place, point in enumerate(sheet.shown):
        strip = element(
            "rect", element("title", said(point)), x=sheet.edge(place), y=top, class_="strip",
            width=sheet.step, height=bottom - top,
        )  # fmt: skip
        target = address(point)
        parts.append(strip if target is None else element("a", strip, href=target, tabindex="-1"))
    return parts


def said(point: Point) -> str:
    """Return the text about one window, in a few lines."""
    head = span(point.window) if point.window else day(point.at)
    lines = [head + (f", v{point.version}" if point.version else "")]
    if point.stopped:
        return f"{lines[0]}\nstopped: its rows broke the contract"
    if point.rows is not None:
        lines.append(plural(point.rows, "row"))
    if point.drift is not None:
        drifted = [c.column for c in point.drift.drifted]
        lines.append(
            "drift: not enough data"
            if point.ratio is None
            else f"drift: {point.ratio:.2f} times its limit"
        )
        lines += [f"moved: {shortened(', '.join(drifted), 80)}"] if drifted else []
    if (found := point.performance) is not None:
        how = "realised" if is_settled(found) else "estimated"
        lines.append(f"{metric_words(found.metric)} {how}: {valued(shown_value(found))}")
    return "\n".join(lines)
