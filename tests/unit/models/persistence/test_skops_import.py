from __future__ import annotations

import json
import subprocess
import sys

import pytest
from sklearn.linear_model import LogisticRegression

from tasks.models.persistence.skops_io import skops_io

_CODE = """
import json, sys
{how}
mine = any(n.startswith("skops") for n in sys.modules)
swept = [n for n in ("sklearn.datasets", "sklearn.utils._testing") if n in sys.modules]
from skops.io import _trusted_types as types
trusted = {{n: len(v) for n, v in vars(types).items() if n.endswith("_NAMES")}}
print(json.dumps([mine, swept, trusted]))
"""


def _facts(how: str) -> tuple[bool, list[str], dict[str, int]]:
    command = [sys.executable, "-c", _CODE.format(how=how)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    mine, swept, trusted = json.loads(done.stdout)
    return mine, swept, trusted


@pytest.mark.slow
def test_skops_of_others_stays_as_it_is() -> None:
    _, _, plain = _facts("import skops.io")
    mine, swept, trusted = _facts(
        "from tasks.models.persistence.skops_io import skops_io; skops_io()"
    )
    assert not mine
    assert not swept
    assert trusted == plain
    assert plain["SKLEARN_ESTIMATOR_TYPE_NAMES"] > 50


def test_it_trusts_no_type_that_is_not_listed() -> None:
    data = skops_io().dumps(LogisticRegression())
    with pytest.raises(Exception, match="LogisticRegression"):
        skops_io().loads(data)


def test_a_skops_that_was_imported_before_is_another_one() -> None:
    import skops.io

    data = skops_io().dumps(LogisticRegression(C=3.0))
    assert sys.modules["skops.io"] is skops.io is not skops_io()
    assert skops.io.loads(data).C == 3.0
