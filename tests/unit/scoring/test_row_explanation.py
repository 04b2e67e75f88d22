from __future__ import annotations

import pandas as pd
import pytest

from tasks.base.errors import UsageError
from tasks.scoring.row_explanation import _place


def test_a_row_is_found_by_its_id_and_by_several_id_columns() -> None:
    assert _place(pd.DataFrame({"id": ["a", "b"]}), "b", 2, ["id"]) == 1
    both = pd.DataFrame({"shop": [1, 1], "day": ["mon", "tue"]})
    assert _place(both, "1,tue", 2, ["shop", "day"]) == 1


def test_without_ids_a_row_is_named_by_its_place() -> None:
    assert _place(None, "3", 5, []) == 3
    for wrong in ("5", "-1", "x"):
        with pytest.raises(UsageError, match="place from 0 to 4"):
            _place(None, wrong, 5, [])


def test_a_row_that_is_not_there_is_a_mistake_of_the_person() -> None:
    with pytest.raises(UsageError, match="No row of the source has id = 'z'"):
        _place(pd.DataFrame({"id": ["a"]}), "z", 1, ["id"])
