"""Types for columns of text: numbers, booleans, times, or text after all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tasks.base.errors import DataError
from tasks.base.runtime.libraries import pa, pc
from tasks.base.source_notes import AmountsRead, ReadingNote, SeveralUnits
from tasks.base.text.phrases import listed
from tasks.base.training_records import Kind
from tasks.data.typing import numbers as number_text
from tasks.data.typing import times as time_text
from tasks.data.typing.amounts import LOOK, UnitError, Writing, taken_apart
from tasks.data.typing.distinct_values import Distinct, is_sorted, some_cells
from tasks.data.typing.precision import kept_numbers
from tasks.data.typing.text_rules import SOFT_NULL_TOKENS, Notes, TextRules, parse_booleans

_LONG = 100_000
_MOSTLY = 0.9
_ORDERS = {"day_first": "day before month", "month_first": "month before day"}
_TEXTUAL: tuple[Kind, ...] = ("categorical", "text", "identifier")


class Typing:
    """One reading of a table's text columns."""

    # While it reads it collects `detected` options of the source, `findings` for a person, how
    # columns are `written` (see `ColumnForm`), and the columns `rewritten`, whose whole numbers are
    # in other words than a number's own: blanks around them, a sign between thousands, a mark for
    # no value.

    def __init__(
        self,
        rules: TextRules,
        expected: Mapping[str, Kind] | None = None,
        written: Mapping[str, str] | None = None,
    ) -> None:
        self.rules = rules
        self.expected = expected or {}
        self.declared = written or {}
        self.written: dict[str, str] = {}
        self.findings: list[ReadingNote] = []
        self.notes = Notes()
        self.detected: dict[str, Any] = {}
        self.rewritten: set[str] = set()
        self._allowed = number_text.styles_allowed(rules.decimal, rules.thousands)
        if not rules.loose:
            self._allowed = (number_text.PLAIN,)
        self._decimal, self._proved = rules.decimal or ".", rules.decimal is not None
        self._units: dict[str, str] = {}
        self._settled = False
        self._ambiguous: dict[str, tuple[Distinct, time_text.Times]] = {}
        self._orders: set[time_text.Order] = set()
        self._second_header: list[str] = []

    def columns(self, columns: dict[str, Any]) -> Any:
        """Return a table of typed `columns`, which is emptied on the way to bound the memory."""
        if not self._settled:
            self.settle_decimal(columns)
        typed: dict[str, Any] = {}
        for name in list(columns):
            column = columns.pop(name)
            typed[name] = column
            if pa.types.is_string(column.type):
                typed[name] = self._column(column, name)
                if pa.types.is_floating(typed[name].type):
                    typed[name] = kept_numbers(typed[name], column, name, self.findings)
            self._check_unit(typed[name], name)
        self._settle_dates(typed)
        for name in self._second_header:
            self.notes.add(
                "numbers but for the first row, which looks like a second line of names; "
                "remove that line to read them as numbers", name
            )  # fmt: skip
        return pa.table(typed)

    def settle_decimal(self, columns: Mapping[str, Any]) -> None:
        """Decide by `columns` of text which sign stands before decimals, where any prove it."""
        self._settled = True
        rules = self.rules
        if not rules.loose or rules.decimal is not None:
            return
        votes: dict[str, list[str]] = {".": [], ",": []}
        for name, column in columns.items():
            if self.expected.get(name) in _TEXTUAL:
                continue
            cells = some_cells(column, rules.missing)
            amounts = taken_apart(cells)
            sign = number_text.decimal_evidence(cells if amounts is None else amounts.numbers)
            if sign is not None:
                votes[sign].append(name)
        commas, points = votes[","], votes["."]
        if commas or points:
            self._decimal = "," if len(commas) > len(points) else "."
            self._proved = not (commas and points)
        else:
            self._decimal = "," if rules.delimiter == ";" else "."
        if commas and self._decimal == ",":
            if not points:  # stated for all columns, it would forbid those that prove a point
                self.detected["decimal"] = ","
            self.notes.add("decimal comma (`source.decimal` changes it)", listed(commas))

    def _column(self, column: Any, name: str) -> Any:
        kind = self.expected.get(name)
        form = self.rules.date_formats.get(name)
        if form is not None:
            return self._by_format(column, name, form)
        if kind in _TEXTUAL:
            return self._text(column, name)
        if column.null_count == len(column):
            return pa.chunked_array([pa.nulls(len(column), pa.float64())])
        if self.declared.get(name) and kind in ("numeric", "datetime"):
            known = self._as_written(Distinct(column, self.rules.missing), name)
            if known is not None:
                return known
        plain = self._plain(column, name) if kind in (None, "numeric", "constant") else None
        if plain is not None:
            return plain
        if not self._may_have_type(column, kind) or self._plainly_text(column, name, kind):
            return self._text(column, name)
        return self._by_distinct(column, name, kind)

    def _as_written(self, distinct: Distinct, name: str) -> Any | None:
        """Return the column as an earlier reading knew it to be written; None where it is not."""
        values, text = distinct.values, self.declared[name]
        writing, typed = Writing.of(text), None
        if not len(values):
            return None
        if writing is None:
            typed = time_text.parse_format(values, text) if "%" in text else None
        elif writing.style in self._amount_styles():
            amounts = taken_apart(values, asked=True)
            numbers = values if amounts is None else amounts.numbers
            unit = "" if amounts is None else amounts.unit
            if unit in ("", writing.unit) and number_text.fitting(numbers, (writing.style,)):
                typed = number_text.convert(numbers, writing.style)
                self._units[name] = unit
        if typed is None:
            return None
        self.written[name] = text
        return distinct.spread(typed)

    def _amount_styles(self) -> tuple[number_text.Style, ...]:
        return self._allowed if self.rules.loose else number_text.STYLES

    def _check_unit(self, typed: Any, name: str) -> None:
        """Refuse numbers in another unit than an earlier reading of the column had."""
        # An amount without a currency may be in the known one; per cents may be shares, and are
        # not. Noughts alone are the same in both.
        if name not in self.declared or (not pa.types.is_floating(typed.type) and not (
            pa.types.is_integer(typed.type)
        )) or typed.null_count == len(typed):  # fmt: skip
            return
        writing = Writing.of(self.declared[name])
        known, found = ("" if writing is None else writing.unit), self._units.get(name, "")
        if known == found or (not (known and found) and not {known, found} & set("%‰")):
            return
        if not (known and found) and pc.all(pc.equal(typed, 0)).as_py():
            return
        raise UnitError(name, found, known)

    def _may_have_type(self, column: Any, kind: Kind | None) -> bool:
        """Return whether a few cells leave open that the column is no text."""
        if kind is not None:
            return True
        some = pc.ascii_trim_whitespace(column[:500])
        some = some.filter(pc.invert(pc.is_in(some, value_set=pa.array(self.rules.missing))))
        look = r"(?i)^(?:[+-]?[.,]?[0-9]|yes$|no$|true$|false$|[yntf]$|[?*.-]+$|[+-]?inf)"
        some = some.drop_null()
        likely = pc.or_(pc.match_substring_regex(some, look), pc.match_substring_regex(some, LOOK))
        hits = pc.sum(likely).as_py() or 0
        return bool(hits >= 0.5 * len(some))

    def _plainly_text(self, column: Any, name: str, kind: Kind | None) -> bool:
        """Return whether a long column of a typed source is text already by its ends."""
        # Looking at every distinct cell of a few million ids is slower than reading them.
        if self.rules.loose or kind is not None or len(column) < _LONG:
            return False
        ends = pa.chunked_array([some_cells(column, self.rules.missing)])
        if not len(ends):
            return False
        probe = Typing(self.rules, {}).columns({name: ends})
        return bool(pa.types.is_string(probe[name].type))

    def _plain(self, column: Any, name: str) -> Any | None:
        typed = number_text.plain_numbers(column)
        if typed is not None and self._codes(column, typed, name):
            return self._text(column, name)
        if typed is None or (self._decimal == "." and number_text.PLAIN in self._allowed):
            if typed is not None and not self.rules.loose:
                return self._numbers_of_text_source(column, typed, name)
            return typed
        dotted = pc.any(pc.match_substring(column, ".")).as_py()
        if not dotted or self.declared.get(name) == "":
            return typed
        cells = column.drop_null()
        grouped = number_text.Style(",", ".")
        if grouped in self._allowed and number_text.fitting(cells, (grouped,)):
            self.notes.add("a point between thousands (`source.thousands` changes it)", name)
            self.written[name] = str(Writing("", grouped))
            return number_text.convert(column, grouped)
        return typed if number_text.PLAIN in self._allowed else None

    def _codes(self, cells: Any, typed: Any, name: str) -> bool:
        """Return whether cells such as 1E5 or +4915112345678 are codes, with a note."""
        if self.expected.get(name) is not None:
            return False
        example = number_text.plus_code(cells)
        if example is None and pa.types.is_floating(typed.type):
            example = number_text.bare_power(cells)
        if example is not None:
            self.notes.add(
                f"kept as text: {example!r} may be a code (`kinds: {{column: numeric}}` reads "
                "it as a number)", name
            )  # fmt: skip
        return example is not None

    def _numbers_of_text_source(self, column: Any, typed: Any, name: str) -> Any:
        # Whole numbers that a typed source keeps as text are codes more often than amounts.
        if pa.types.is_integer(typed.type) and self.expected.get(name) != "numeric":
            return column
        self.notes.add("text that holds numbers only, read as numbers", name)
        return typed

    def _by_distinct(self, column: Any, name: str, kind: Kind | None) -> Any:
        distinct = Distinct(column, self.rules.missing)
        if not len(distinct.values):
            return pa.chunked_array([pa.nulls(len(column), pa.float64())])
        for reader in self._readers(kind):
            typed = reader(distinct, name)
            if typed is not None:
                return typed
        if kind is None:
            self._say_nearly(distinct, name)
        return self._text(column, name)

    def _readers(self, kind: Kind | None) -> tuple[Callable[[Distinct, str], Any | None], ...]:
        if kind == "boolean":
            return (self._booleans,)
        if kind == "datetime":
            return (self._times,)
        if not self.rules.loose:
            return (self._numbers,) if kind == "numeric" else (self._numbers, self._times)
        if kind == "numeric":
            return (self._numbers, self._time_of_day)
        return (self._booleans, self._numbers, self._times, self._time_of_day)

    def _booleans(self, distinct: Distinct, name: str) -> Any | None:
        asked = self.expected.get(name) == "boolean"
        found = parse_booleans(distinct.values, asked=asked)
        if found is None:
            return None
        if not asked and found[1] != "True/False":
            self.notes.add(
                f"{found[1]} read as true/false (`kinds: {{column: categorical}}` keeps the words)",
                name,
            )
        return distinct.spread(found[0])

    def _numbers(self, distinct: Distinct, name: str) -> Any | None:
        found = number_text.fitting(distinct.values, self._allowed)
        if not found and self.rules.null_values is None:
            soft = [v for v in SOFT_NULL_TOKENS if v in set(distinct.values[:5000].to_pylist())]
            if soft and len(soft) < len(distinct.values):
                distinct = distinct.without(tuple(soft))
                found = number_text.fitting(distinct.values, self._allowed)
                if found:
                    nulls = " or ".join(map(repr, soft))
                    self.notes.add(
                        f"{nulls} among numbers read as missing (`source.null_values` changes it)",
                        name,
                    )
        if not found:
            return self._amounts(distinct, name)
        style, both = number_text.choose(found, self._decimal)
        typed = number_text.convert(distinct.values, style)
        if typed is None or self._codes(distinct.values, typed, name):
            return None
        if not self.rules.loose:
            return self._numbers_of_typed_source(distinct, typed, name)
        if pa.types.is_integer(typed.type):
            self.rewritten.add(name)
        self._say_style(distinct, name, style, both)
        if style != number_text.PLAIN and _any(distinct.values, "[., '\u2019\u00a0\u202f]"):
            self.written[name] = str(Writing("", style))
        return distinct.spread(typed)

    def _amounts(self, distinct: Distinct, name: str) -> Any | None:
        """Return amounts such as $1,234.50, 7.3% or (7) as numbers, with a note."""
        asked = self.expected.get(name) == "numeric"
        found = taken_apart(distinct.values, asked=asked)
        if found is None and self.rules.null_values is None:
            distinct = distinct.without(SOFT_NULL_TOKENS)
            found = taken_apart(distinct.values, asked=asked)
        if found is None:
            return None
        if found.unit is None:
            self.findings.append(SeveralUnits(column=name, units=tuple(sorted(found.units))))
            return None
        styles = number_text.fitting(found.numbers, self._amount_styles())
        if not styles:
            return None
        style, both = number_text.choose(styles, self._decimal)
        typed = number_text.convert(found.numbers, style)
        if typed is None:
            return None
        self._say_style(distinct, name, style, both)
        self.findings.append(
            AmountsRead(
                column=name,
                example=distinct.values[found.marked].as_py()[:40],
                number=typed[found.marked].as_py(),
                unit=found.unit,
            )
        )
        self._units[name] = found.unit
        self.written[name] = str(Writing(found.unit, style))
        self.rewritten.add(name)
        return distinct.spread(typed)

    def _numbers_of_typed_source(self, distinct: Distinct, typed: Any, name: str) -> Any | None:
        if pa.types.is_integer(typed.type) and self.expected.get(name) != "numeric":
            return None
        self.notes.add("text that holds numbers and blanks only, read as numbers and nulls", name)
        return distinct.spread(typed)

    def _say_style(
        self, distinct: Distinct, name: str, style: number_text.Style, both: bool
    ) -> None:
        signs = pc.match_substring_regex(distinct.values, "[.,]")
        if both and not self._proved and pc.any(signs).as_py():
            example = distinct.values.filter(signs)[0].as_py()
            number = number_text.convert(pa.array([example]), style)
            read = example if number is None else number[0].as_py()
            self.notes.add(
                f"{example!r} read as {read} here and alike in its column; "
                "`source.decimal` and `source.thousands` change it", name
            )  # fmt: skip
        elif style.thousands and style.thousands != self.rules.thousands:
            self.notes.add(
                f"{style.thousands!r} between thousands (`source.thousands` changes it)", name
            )

    def _times(self, distinct: Distinct, name: str) -> Any | None:
        times = time_text.parse_times(distinct.values)
        if times is None or (times.order != "iso" and not self.rules.loose):
            return None
        if times.order == "ambiguous":
            self._ambiguous[name] = (distinct, times)
        else:
            self._orders.add(times.order)
            if times.order != "iso":
                kind = _ORDERS[times.order]
                self.notes.add(
                    f"dates read with the {kind} (`source.date_formats` changes it)", name
                )
            self._keep_format(name, distinct, times.order)
        return distinct.spread(times.values)

    def _keep_format(self, name: str, distinct: Distinct, order: time_text.Order) -> None:
        form = time_text.format_of(distinct.values, order)
        if form is not None:
            self.detected.setdefault("date_formats", {})[name] = form
            self.written[name] = form

    def _time_of_day(self, distinct: Distinct, name: str) -> Any | None:
        typed = time_text.parse_time_of_day(distinct.values)
        if typed is None:
            return None
        self.notes.add("times of day read as seconds since midnight", name)
        return distinct.spread(typed)

    def _settle_dates(self, typed: dict[str, Any]) -> None:
        """Decide dates such as 01/02/2013 by the other columns, else by their order."""
        for name, (distinct, times) in self._ambiguous.items():
            month_first = distinct.spread(times.other)
            proved = self._orders & {"day_first", "month_first"}
            why = "as in the other columns"
            if len(proved) != 1:
                sorted_so = [is_sorted(typed[name]), is_sorted(month_first)]
                proved = {"month_first"} if sorted_so == [False, True] else {"day_first"}
                why = "the rows are in order so" if sum(sorted_so) == 1 else "an assumption"
            order = next(iter(proved))
            if order == "month_first":
                typed[name] = month_first
            self._keep_format(name, distinct, order)
            self.notes.add(
                f"dates can be read two ways; read with the {_ORDERS[order]} ({why}); "
                "state `source.date_formats` to be sure", name
            )  # fmt: skip

    def _by_format(self, column: Any, name: str, form: str) -> Any:
        distinct = Distinct(column, self.rules.missing)
        typed = time_text.parse_format(distinct.values, form)
        if typed is None:
            bad = next(
                v for v in distinct.values.to_pylist()
                if time_text.parse_format(pa.array([v]), form) is None
            )  # fmt: skip
            raise DataError(
                f"column {name!r}, row {distinct.first_row(bad) + 1}: {bad!r} is not written "
                f"{form!r}.",
                f"Change source.date_formats.{name}, or fix the cell.",
            )
        return distinct.spread(typed)

    def _say_nearly(self, distinct: Distinct, name: str) -> None:
        style = max(self._allowed, key=lambda s: number_text.numbers_in(distinct.values, s))
        good = pc.match_substring_regex(distinct.values, style.pattern)
        bad = distinct.values.filter(pc.invert(good))
        numbers, others = distinct.cells(distinct.values.filter(good)), distinct.cells(bad)
        if not others or numbers < _MOSTLY * (numbers + others):
            return
        example = bad[0].as_py()
        if others == 1 and distinct.first_row(example) == 0 and numbers > 10:
            self._second_header.append(name)
            return
        self.notes.add(
            f"kept as text: {others:,} of {numbers + others:,} cells are no numbers (such as "
            f"{example[:40]!r} in row {distinct.first_row(example) + 1:,}); list them in "
            "`source.null_values` if they mean no value", name
        )  # fmt: skip

    def _text(self, column: Any, name: str) -> Any:
        if not self.rules.loose:
            return column
        missing = pa.array(self.rules.missing, pa.string())
        nulls = pc.is_in(pc.ascii_trim_whitespace(column), value_set=missing)
        if not pc.any(nulls).as_py():
            return column
        words = pc.unique(pc.ascii_trim_whitespace(column.filter(nulls))).drop_null().to_pylist()
        words = sorted(word for word in words if word)
        if words and self.rules.null_values is None:
            tokens = ", ".join(map(repr, words))
            self.notes.add(f"{tokens} read as missing (`source.null_values` changes it)", name)
        return pc.if_else(nulls, pa.scalar(None, pa.string()), column)


def _any(values: Any, pattern: str) -> bool:
    return bool(pc.any(pc.match_substring_regex(values, pattern)).as_py())
