"""Labels that are spelled in several ways: found, and joined as the pipeline file states."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from decimal import Context, Decimal, InvalidOperation
from typing import Any

from tasks.base.runtime.libraries import pa, pc
from tasks.base.source_notes import JoinedLabels, LabelTwins
from tasks.data.source_table import nearest
from tasks.data.typing.storage import integers_of

Labels = Mapping[str, Sequence[str]]
MOST_TWINS = 20


def plain_label(text: str) -> str:
    """Return a label without case, surplus space and final dots; numbers are alike however written.

    >>> plain_label(" Yes."), plain_label("YES"), plain_label("1.0"), plain_label("1")
    ('yes', 'yes', '1', '1')
    """
    folded = unicodedata.normalize("NFKC", text).casefold()
    words = " ".join(folded.split()).rstrip(". ")
    try:
        exact = Context(prec=len(words) or 1)
        plain = words.strip("+-.0123456789") == ""
        return f"{Decimal(words).normalize(exact):f}" if plain else words
    except InvalidOperation:
        return words


def twins_among(counts: Mapping[str, int], target: str) -> tuple[LabelTwins, ...]:
    """Return the labels that differ in case, space or a final dot only, the most frequent first."""
    groups: dict[str, dict[str, int]] = {}
    for label, rows in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        groups.setdefault(plain_label(label), {})[label] = rows
    alike = [spellings for spellings in groups.values() if len(spellings) > 1]
    return tuple(LabelTwins(target=target, spellings=spellings) for spellings in alike[:MOST_TWINS])


def joined(column: Any, labels: Labels, target: str) -> tuple[Any, JoinedLabels]:
    """Return a target column as text with spellings replaced by the names that `labels` give."""
    # The note has the rows of each spelling, and the spellings that neither occur nor differ from
    # one that occurs in case, space or a final dot only.
    texts = label_texts(column)
    counted = pc.value_counts(texts.drop_null())
    counts = dict(zip(counted.field(0).to_pylist(), counted.field(1).to_pylist(), strict=True))
    names = {old: new for new, spellings in labels.items() for old in spellings}
    found = {old: counts[old] for old in names if old in counts}
    if found:
        keys, values = pa.array(list(found), pa.string()), [names[old] for old in found]
        places = pc.index_in(texts, value_set=keys)
        texts = pc.coalesce(pc.take(pa.array(values, pa.string()), places), texts)
    known = {plain_label(label) for label in (*counts, *labels)}
    unknown = [old for old in names if old not in counts and plain_label(old) not in known]
    note = JoinedLabels(
        target=target, rows=found, unknown={old: nearest(old, list(counts)) for old in unknown}
    )
    return texts, note


def with_joined_labels(
    table: Any, target: str, labels: Labels
) -> tuple[Any, tuple[JoinedLabels, ...]]:
    """Return `table` with its target's labels joined, where there are any to join."""
    if not labels or target not in table.column_names:
        return table, ()
    column, note = joined(table[target], labels, target)
    notes = (note,) if table.num_rows else ()
    return table.set_column(table.column_names.index(target), target, column), notes


def label_texts(column: Any) -> Any:
    """Return labels as text: whole numbers without a fraction, booleans as True and False.

    >>> label_texts(pa.chunked_array([[1.0, 2.0, None]])).to_pylist()
    ['1', '2', None]
    """
    kind = column.type
    if pa.types.is_string(kind):
        return column
    if pa.types.is_boolean(kind):
        words = pc.if_else(column, "True", "False")
        return words.cast(pa.string())
    whole = integers_of(column) if pa.types.is_floating(kind) else None
    return (column if whole is None else whole).cast(pa.string())
