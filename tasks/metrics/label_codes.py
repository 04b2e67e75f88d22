"""Labels as positions in the schema's classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from tasks.base.arrays import Array, Ints
from tasks.base.errors import EvidenceError
from tasks.base.runtime.libraries import pd


def encode(labels: ArrayLike, classes: Sequence[str]) -> Ints:
    """Return the position of each label in `classes`, shape (rows,); len(classes) if unknown.

    Labels are native: booleans, integers or text; classes are text, in the model's order.

    >>> encode([True, False], ("False", "True"))
    array([1, 0])
    """
    values: Array = np.asarray(labels)
    codes, found = pd.factorize(values)
    places = {name: place for place, name in enumerate(classes)}
    unknown = len(classes)
    lookup = [places.get(_text(label, places), unknown) for label in found]
    # A null label has the code -1, which is the last place.
    return np.asarray([*lookup, unknown], dtype=np.int64)[codes]


def encode_truth(labels: ArrayLike, classes: Sequence[str]) -> Ints:
    """Return the position of each true label in `classes`, (rows,), or raise EvidenceError."""
    codes = encode(labels, classes)
    if (codes == len(classes)).any():
        first = np.asarray(labels)[codes == len(classes)][0]
        raise EvidenceError(
            f"every true label must be one of the {len(classes)} known classes; got {first!r}.",
            "Run with --fresh, so that the classes are read from the data again.",
        )
    return codes


def _text(label: Any, places: dict[str, int]) -> str:
    text = str(label)
    if text not in places and isinstance(label, float) and label.is_integer():
        return str(int(label))
    return text
