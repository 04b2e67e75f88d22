from __future__ import annotations

import pytest

from tasks.base.text.numbers import seconds, size


@pytest.mark.parametrize(
    ("said", "text"),
    [(size(999), "999 B"), (size(999_600), "1 MB"), (size(999_600_000), "1 GB"),
     (seconds(0.9996), "1.0 s"), (seconds(59.97), "1 min 0 s")],
)  # fmt: skip
def test_what_rounds_to_a_thousand_is_one_of_the_next_unit(said: str, text: str) -> None:
    assert said == text
